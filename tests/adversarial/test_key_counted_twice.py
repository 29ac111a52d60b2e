"""One key under two ids: python-tuf's own counting is satisfied by it (tried), ours is not, in any role."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import Key, Signature, SSlibKey
from tuf.api.metadata import Metadata, Root

from teraferry.bundles.errors import TrustError
from teraferry.keys.metadata import read_metadata
from teraferry.keys.signers import KeyRing, KeySigner
from teraferry.keys.trust import verify_pinned_root, verify_release
from teraferry.keys.trusted import Floor
from teraferry.keys.tuf_metadata import signed_bytes
from tests.lab.house import NOW, House, no_pin

ALIAS = "f" * 64


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path).open()


def alias_of(key: Key) -> SSlibKey:
    """Return the same key under another id and in another notation: PEM may hold any line ends, hex capitals."""
    value = key.keyval["public"]
    other = value.upper() if key.keytype == "ed25519" else value.replace("\n", "\r\n")
    return SSlibKey(ALIAS, key.keytype, key.scheme, {"public": other})


def list_twice(root: Root, role: str, key: Key) -> None:
    """Make ``key`` and its alias the only keys of ``role``, both of which must sign."""
    root.keys[ALIAS] = alias_of(key)
    root.roles[role].keyids = [key.keyid, ALIAS]
    root.roles[role].threshold = 2


def sign_twice(document: Metadata, signer: KeySigner) -> None:  # type: ignore[type-arg]
    signature = signer.sign_metadata(signed_bytes(document))
    document.signatures = {signature.keyid: signature, ALIAS: Signature(ALIAS, signature.signature)}


@pytest.mark.parametrize(
    ("role", "holder"), [("targets", "release-1"), ("snapshot", "desk"), ("timestamp", "desk"), ("root", "root-1")]
)
def test_one_key_under_two_ids_does_not_meet_a_threshold_of_two(house: House, role: str, holder: str) -> None:
    kit = house.kit()
    root = house.next_root()
    root.version = 1
    with KeyRing(no_pin) as ring:
        signer = ring.open(house.uris[holder])
        list_twice(root, role, signer.key)
        if role == "root":
            trusted, successor = Metadata(root), Metadata(house.next_root())
            successor.signed.roles["root"].threshold = 1  # so that only the old root's threshold is in the way
            sign_twice(successor, signer)
            root.verify_delegate(role, signed_bytes(successor), successor.signatures)
            (kit.folder / "metadata" / "2.root.json").write_bytes(successor.to_bytes())
        else:
            trusted = Metadata[Root].from_bytes(house.sign_root(root, "root-1", "root-2"))
            path = kit.folder / "metadata" / f"{role}.json"
            document = Metadata.from_bytes(path.read_bytes())
            sign_twice(document, signer)
            root.verify_delegate(role, signed_bytes(document), document.signatures)
            path.write_bytes(document.to_bytes())

    with pytest.raises(TrustError) as caught:
        verify_release(read_metadata(kit.folder, after_root=1), trusted_root=trusted.to_bytes(), floor=Floor(), now=NOW)

    assert (caught.value.exit_status, caught.value.reference) == (20, "threshold-not-met")
    assert (caught.value.facts["role"], caught.value.facts["have"], caught.value.facts["need"]) == (role, 1, 2)


def test_a_root_whose_new_threshold_is_one_key_twice_is_not_followed(house: House) -> None:
    kit = house.kit()
    root = house.next_root()
    with KeyRing(no_pin) as ring:
        signers = [ring.open(house.uris[name]) for name in ("root-1", "root-2")]
        list_twice(root, "root", signers[0].key)
        successor = Metadata(root)
        sign_twice(successor, signers[0])
        # Enough of the old root's keys: only the successor's own threshold is feigned.
        successor.signatures[signers[1].key.keyid] = signers[1].sign_metadata(signed_bytes(successor))
    old = Metadata[Root].from_bytes(house.root).signed
    assert root.get_root_verification_result(old, signed_bytes(successor), successor.signatures).verified
    (kit.folder / "metadata" / "2.root.json").write_bytes(successor.to_bytes())

    with pytest.raises(TrustError) as caught:
        house.judge(kit)

    assert (caught.value.exit_status, caught.value.facts["have"]) == (20, 1)


def test_a_root_that_is_to_be_pinned_does_not_count_one_key_twice(house: House) -> None:
    root = house.next_root()
    with KeyRing(no_pin) as ring:
        signer = ring.open(house.uris["root-1"])
        list_twice(root, "root", signer.key)
        made = Metadata(root)
        sign_twice(made, signer)

    with pytest.raises(TrustError) as caught:
        verify_pinned_root(made.to_bytes())

    assert (caught.value.exit_status, caught.value.facts["have"]) == (20, 1)
