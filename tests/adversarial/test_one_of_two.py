"""A bought or careless signer below the threshold: everything is signed, but by too few."""

from __future__ import annotations

from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp

from teraferry.bundles.errors import TrustError
from teraferry.keys.signers import KeyRing
from teraferry.keys.tuf_metadata import signed_bytes
from tests.lab.house import NOW, House, no_pin


def test_one_signer_and_a_bought_desk_are_still_one_of_two(tmp_path: Path) -> None:
    house = House(tmp_path).open()
    kit = house.build()
    house.sign(kit, "release-1", desk=False)
    expires = house.trust.load_root().signed.expires
    snapshot = Metadata(Snapshot(version=1, expires=expires, meta={"targets.json": MetaFile(1)}))
    timestamp = Metadata(Timestamp(version=1, expires=expires, snapshot_meta=MetaFile(1)))
    with KeyRing(no_pin) as ring:
        desk = ring.open(house.uris["desk"])
        snapshot.signatures[desk.key.keyid] = desk.sign_metadata(signed_bytes(snapshot))
        timestamp.signatures[desk.key.keyid] = desk.sign_metadata(signed_bytes(timestamp))
    (kit.folder / "metadata" / "snapshot.json").write_bytes(snapshot.to_bytes())
    (kit.folder / "metadata" / "timestamp.json").write_bytes(timestamp.to_bytes())

    with pytest.raises(TrustError) as caught:
        house.judge(kit, now=NOW)

    assert (caught.value.exit_status, caught.value.reference) == (20, "threshold-not-met")
    assert (caught.value.facts["have"], caught.value.facts["need"]) == (1, 2)


def test_the_desk_key_cannot_sign_a_release(tmp_path: Path) -> None:
    house = House(tmp_path).open()
    kit = house.kit()
    path = kit.folder / "metadata" / "targets.json"
    targets: Metadata[Timestamp] = Metadata.from_bytes(path.read_bytes())
    targets.signatures.popitem()
    with KeyRing(no_pin) as ring:
        signature = ring.open(house.uris["desk"]).sign_metadata(signed_bytes(targets))
    targets.signatures[signature.keyid] = signature
    path.write_bytes(targets.to_bytes())

    with pytest.raises(TrustError) as caught:
        house.judge(kit)

    assert (caught.value.exit_status, caught.value.facts["have"]) == (20, 1)
