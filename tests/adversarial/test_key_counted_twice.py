"""One key under two ids: python-tuf's own counting is satisfied by it (tried), ours is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import Signature, SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from teraferry.bundles.errors import TrustError
from teraferry.keys.metadata import read_metadata
from teraferry.keys.signers import KeyRing
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor
from teraferry.keys.tuf_metadata import signed_bytes
from tests.lab.house import NOW, House, no_pin

ALIAS = "f" * 64


def test_one_key_under_two_ids_does_not_meet_a_threshold_of_two(tmp_path: Path) -> None:
    house = House(tmp_path).open()
    kit = house.kit()
    root: Root = house.trust.load_root().signed
    with KeyRing(no_pin) as ring:
        signer = ring.open(house.uris["release-1"])
        key = signer.key
        # The same key, written in another way: PEM may hold any line ends.
        value = {"public": key.keyval["public"].replace("\n", "\r\n")}
        alias = SSlibKey(ALIAS, key.keytype, key.scheme, value)
        root.keys[ALIAS] = alias
        root.roles["targets"].keyids = [key.keyid, ALIAS]
        path = kit.folder / "metadata" / "targets.json"
        targets: Metadata[Targets] = Metadata.from_bytes(path.read_bytes())
        signature = signer.sign_metadata(signed_bytes(targets))
    targets.signatures = {key.keyid: signature, ALIAS: Signature(ALIAS, signature.signature)}
    path.write_bytes(targets.to_bytes())
    trusted = house.sign_root(root, "root-1", "root-2")

    root.verify_delegate("targets", signed_bytes(targets), targets.signatures)
    with pytest.raises(TrustError) as caught:
        verify_release(read_metadata(kit.folder, after_root=1), trusted_root=trusted, floor=Floor(), now=NOW)

    assert (caught.value.exit_status, caught.value.facts["have"]) == (20, 1)
