"""P-256, P-384, RSA-PSS and Ed25519 on tokens, all four on one kit of a production root, judged by everybody.

By a site's own verification, by python-tuf's client, and by the lines that the kit's page tells a person to
type into stock OpenSSL. What each token said of its key lies beside it, signed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signature

from teraferry.builder.kit import locate_kit
from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.system.clock import now_utc
from teraferry.keys.roots.ceremony import init_trust
from teraferry.keys.signers import KeyRing
from tests.integration.test_openssl_verify import typed
from tests.lab.house import House, no_pin
from tests.lab.oracle import ask_ngclient
from tests.lab.softhsm import KEY_TYPES, SoftHsm

SIGNERS = {f"release-{at}": kind for at, kind in enumerate(KEY_TYPES, start=1)}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    hsm = SoftHsm(folder / "hsm").create()
    kinds = {"root-1": "ed25519", "root-2": "rsa", "root-3": "p384", "desk": "ed25519", **SIGNERS}
    made = House(folder, release_threshold=3)
    made.uris = {name: hsm.token_with_key(name, kind).uri for name, kind in kinds.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(hsm.configuration))
        with KeyRing(no_pin) as ring:
            init_trust(made.trust, replace(made.plan, production=True), ring, now=now_utc())
        yield made


@pytest.fixture(scope="module")
def signed(house: House) -> Path:
    kit = house.build()
    # One after the other, as people would.
    for name in SIGNERS:
        house.sign(kit, name, desk=False, now=now_utc())
    house.sign(kit, now=now_utc())
    return kit.folder


def test_a_site_counts_all_four(house: House, signed: Path) -> None:
    assert len(house.judge(locate_kit(signed), now=now_utc()).signers) == 4
    assert house.verify(locate_kit(signed), now=now_utc())["version"] == "1.0.0"


def test_python_tuf_accepts_what_tokens_signed(house: House, signed: Path) -> None:
    assert ask_ngclient(signed, house.root, target="demo-1.0.0.tar.gz") == "accepted"


def test_stock_openssl_accepts_each_by_the_printed_line(house: House, signed: Path, tmp_path: Path) -> None:
    done = typed(house, signed, tmp_path, "copy", "keys", r"verify-\w+", "sums")

    assert done.status == 0, done.stderr
    assert done.text().count("Verified OK") == 3
    assert done.text().count("Signature Verified Successfully") == 1


@pytest.mark.parametrize("name", SIGNERS)
def test_one_flipped_bit_in_any_tokens_signature_is_refused(
    house: House, signed: Path, tmp_path: Path, name: str
) -> None:
    kit, key_id = Path(shutil.copytree(signed, tmp_path / "kit")), house.key_id(name)
    path = kit / "metadata" / "targets.json"
    document = json.loads(path.read_bytes())
    for one in document["signatures"]:
        if one["keyid"] == key_id:
            one["sig"] = one["sig"][:-1] + f"{int(one['sig'][-1], 16) ^ 1:x}"
    path.write_text(json.dumps(document))

    with pytest.raises(TeraFerryError) as caught:
        house.judge(locate_kit(kit), now=now_utc())
    assert (caught.value.exit_status, caught.value.reference) == (20, "signature-invalid")


def test_each_token_leaves_signed_evidence_of_where_its_key_lies(house: House, signed: Path) -> None:
    root = house.trust.load_root().signed
    for name in SIGNERS:
        key = root.keys[house.key_id(name)]
        document = json.loads((signed / "metadata" / "evidence" / f"{key.keyid[:8]}.json").read_bytes())
        said = document["signed"]

        key.verify_signature(Signature(key.keyid, document["signature"]), str(encode_canonical(said)).encode())
        assert (said["kind"], said["facts"]["token"], said["key_id"]) == ("pkcs11", name, key.keyid)
        assert said["facts"]["serial"]
        flags = {flag for flag, is_set in said["flags"].items() if is_set}
        assert flags == {"local", "sensitive", "always_sensitive", "never_extractable"}
