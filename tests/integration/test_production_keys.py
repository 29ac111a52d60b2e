"""A production root takes no key that may have left its token: at init, at every change, at every signing.

Made on real tokens: SoftHSM lets a key be generated readable or exportable and be closed afterwards, and
takes an import. It cannot make a key that lacks LOCAL alone; that flag alone is tried on evidence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)
from pkcs11 import Attribute
from pkcs11.util.ec import decode_ec_private_key, decode_ec_public_key

from teraferry.bundles.errors import TeraFerryError
from teraferry.keys.roots.ceremony import TrustPlan, init_trust
from teraferry.keys.roots.change import RoleChange, change_root
from teraferry.keys.signers import KeyRing
from teraferry.keys.signers.signer import SignerEvidence
from teraferry.keys.trust_folder import TrustFolder
from tests.lab.house import NOW, House, no_pin
from tests.lab.softhsm import LabKey, SoftHsm
from tests.lab.token_keys import generate, open_token

FLAGS: Final = ("local", "sensitive", "always_sensitive", "never_extractable")


def exportable_once(session: Any, name: str) -> None:
    generate(session, name, extractable=True)[Attribute.EXTRACTABLE] = False


def readable_once(session: Any, name: str) -> None:
    generate(session, name, sensitive=False)[Attribute.SENSITIVE] = True


def readable(session: Any, name: str) -> None:
    generate(session, name, sensitive=False)


def imported(session: Any, name: str, der: bytes | None = None) -> None:
    key = ec.generate_private_key(ec.SECP256R1()) if der is None else load_der_private_key(der, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    private = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    place = {Attribute.LABEL: name, Attribute.ID: name.encode(), Attribute.TOKEN: True}
    closed = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True, Attribute.SIGN: True}
    session.create_object({**decode_ec_private_key(private), **place, **closed})
    session.create_object({**decode_ec_public_key(public), **place})


FLAWS: dict[str, tuple[Callable[[Any, str], None], set[str]]] = {
    "imported": (imported, {"local", "always_sensitive", "never_extractable"}),
    "readable": (readable, {"sensitive", "always_sensitive"}),
    "readable-once": (readable_once, {"always_sensitive"}),
    "exportable-once": (exportable_once, {"never_extractable"}),
}
"""How a key became unfit, and the flags that it then lacks."""


@dataclass
class Safe:
    """Good keys on one token and flawed ones on another."""

    hsm: SoftHsm
    good: dict[str, LabKey]
    flawed: dict[str, LabKey]

    def make(self, name: str, into: Callable[[Any, str], None]) -> LabKey:
        """Put one more key onto the token ``flawed``."""
        with open_token(self.hsm, "flawed") as session:
            into(session, name)
        self.flawed[name] = self.hsm.key("flawed", name)
        return self.flawed[name]

    def plan(self, **changes: Any) -> TrustPlan:
        keys = {name: key.uri for name, key in self.good.items()}
        asked = {"root_keys": [keys["root"]], "release_keys": [keys["release"]], "desk_key": keys["desk"], **changes}
        return TrustPlan(product="demo", root_threshold=1, release_threshold=1, production=True, **asked)


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Safe]:
    hsm = SoftHsm(tmp_path_factory.mktemp("hsm")).create()
    hsm.add_token("good")
    hsm.add_token("flawed")
    good = {name: hsm.add_key("good", name, key_id=f"0{at}") for at, name in enumerate(("root", "release", "desk"))}
    made = Safe(hsm, good, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(hsm.configuration))
        for name, (into, _) in FLAWS.items():
            made.make(name, into)
        yield made


@pytest.fixture
def folder(safe: Safe, tmp_path: Path) -> TrustFolder:
    """A production folder, founded with good keys."""
    made = TrustFolder(tmp_path / "trust")
    with KeyRing(no_pin) as ring:
        init_trust(made, safe.plan(), ring, now=NOW)
    return made


def refused(action: Callable[[KeyRing], object]) -> TeraFerryError:
    with KeyRing(no_pin) as ring, pytest.raises(TeraFerryError) as caught:
        action(ring)
    assert (caught.value.exit_status, caught.value.reference) == (31, "key-not-production")
    return caught.value


@pytest.mark.parametrize("role", ["root_keys", "release_keys", "desk_key"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_root_is_not_founded_with_a_key_that_lacks_a_flag(safe: Safe, tmp_path: Path, flaw: str, role: str) -> None:
    uri = safe.flawed[flaw].uri
    plan = safe.plan(**{role: uri if role == "desk_key" else [uri]})
    folder = TrustFolder(tmp_path / "trust")

    error = refused(lambda ring: init_trust(folder, plan, ring, now=NOW))

    flags = error.facts["flags"]
    assert isinstance(flags, list)
    assert set(FLAGS) - set(flags) == FLAWS[flaw][1]
    assert not folder.path.exists()


@pytest.mark.parametrize("role", ["root", "release", "desk"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_key_that_lacks_a_flag_does_not_join(safe: Safe, folder: TrustFolder, flaw: str, role: str) -> None:
    change = RoleChange(role, add=safe.flawed[flaw].uri)

    refused(lambda ring: change_root(folder, change, ring, root_keys=[safe.good["root"].uri], now=NOW))

    assert sorted(folder.load_roots()) == [1]


def test_a_file_key_neither_founds_nor_joins(safe: Safe, folder: TrustFolder, tmp_path: Path) -> None:
    house = House(tmp_path / "house").open()
    change = RoleChange("release", add=house.uris["release-1"])

    refused(lambda ring: change_root(folder, change, ring, root_keys=[safe.good["root"].uri], now=NOW))
    plan = safe.plan(release_keys=[house.uris["release-1"]])
    refused(lambda ring: init_trust(TrustFolder(tmp_path / "other"), plan, ring, now=NOW))


@pytest.fixture
def copied(safe: Safe, tmp_path: Path) -> House:
    """A production folder whose keys are known to lie on tokens as imported copies as well.

    Founded for development, since no key that can be copied would be let in; the copies have the very
    key ids that the root names.
    """
    house = House(tmp_path).open()
    state = house.folder / "trust" / "trust.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "production": True}))
    for name in ("root-2", "release-1", "desk"):
        into = partial(imported, der=der_of(house.uris[name]))
        house.uris[f"copy-{name}"] = safe.make(f"copy-{name}", into).uri
    return house


def der_of(uri: str) -> bytes:
    key = load_pem_private_key(Path(uri.removeprefix("file:")).read_bytes(), None)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def test_a_copy_of_a_trusted_key_signs_no_release_and_no_root(safe: Safe, copied: House) -> None:
    kit = copied.build()

    for names, desk in ((("copy-release-1",), False), ((), True)):
        copied.uris["desk"] = copied.uris["copy-desk"]
        with pytest.raises(TeraFerryError) as caught:
            copied.sign(kit, *names, desk=desk)
        assert (caught.value.exit_status, caught.value.reference) == (31, "key-not-production")
    with pytest.raises(TeraFerryError) as caught:
        copied.change(None, "copy-root-2")
    assert (caught.value.exit_status, caught.value.reference) == (31, "key-not-production")
    assert not (kit.folder / "SHA256SUMS").exists()


@pytest.mark.parametrize("lacking", FLAGS)
def test_each_flag_alone_is_demanded(lacking: str) -> None:
    flags = {flag: flag != lacking for flag in FLAGS}

    assert SignerEvidence("pkcs11", {}, dict.fromkeys(FLAGS, True)).is_fit_for_production
    assert not SignerEvidence("pkcs11", {}, flags).is_fit_for_production
    assert not SignerEvidence("pkcs11", {}, {flag: True for flag in FLAGS if flag != lacking}).is_fit_for_production
    assert not SignerEvidence("file", {}, dict.fromkeys(FLAGS, True)).is_fit_for_production
