"""What every ``KeyStore`` must do: the fake, a TPM, a PKCS#11 token and a program, in one run."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.keys.continuity.judge import Comparison, KeyFacts
from teraferry.keys.continuity.watch import KeyWatch, WatchedKey
from teraferry.keys.continuity.wrapped_blobs import WrappedBlobs
from teraferry.keys.ports import KeyStore
from teraferry.keys.stores.command import CommandKey, CommandStore
from teraferry.keys.stores.pkcs11_token import Pkcs11Store, TokenKey
from teraferry.keys.stores.tpm import TpmKey, TpmStore
from teraferry.keys.uri import Pkcs11Uri, parse_key_uri
from tests.fakes.keys import FakeKeyStore
from tests.lab.nodes import Lab
from tests.lab.softhsm import SoftHsm
from tests.lab.swtpm import SEALED, SIGNING, TCTI, TWIN, LabTpm

KEY_PROGRAM = Path(__file__).parents[1] / "lab" / "key_program.py"
KINDS = ("fake", "fake-hmac", "tpm", "tpm-twin", "pkcs11", "pkcs11-ed25519", "command", "command-hmac")


@dataclass(frozen=True)
class Rig:
    """One key in one store, and what can happen to it."""

    store: KeyStore
    lose: Callable[[], None]
    replace: Callable[[], None]  # another key under the same name
    restart: Callable[[], None]
    cut_off: Callable[[], None]  # the store cannot be asked any more


def nothing() -> None:
    """It has no restart of its own."""


def fake_rig(proof: str) -> Rig:
    store = FakeKeyStore("hmac" if proof == "hmac" else "signature")
    return Rig(
        store,
        lambda: setattr(store, "is_there", False),
        store.replace,
        nothing,
        lambda: setattr(store, "can_be_asked", False),
    )


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabTpm]:
    folder = tmp_path_factory.mktemp("tpm")
    with Lab(folder / "lab", {"site": "10.77.9.2", "vol-1": "10.77.9.3"}) as lab:
        yield LabTpm(lab.node("vol-1"), folder / "tpm").create()


def tpm_rig(tpm: LabTpm, *, twin: bool) -> Rig:
    runner = CommandTransport("vol-1", tpm.node.prefix)
    auth = str(tpm.auth)
    handle = SEALED if twin else SIGNING
    tpm.evict_all()
    if twin:
        key = TpmKey("Company_Key", "vol-1", handle, twin=TWIN, twin_auth=auth, tcti=TCTI)
        tpm.add_twin()
    else:
        key = TpmKey("Signing_Key", "vol-1", handle, auth=auth, tcti=TCTI)
    make = tpm.add_sealed_secret if twin else tpm.add_signing_key
    make()

    def replace() -> None:
        tpm.evict(handle)
        make()

    return Rig(TpmStore(key, runner), lambda: tpm.evict(handle), replace, tpm.reboot, tpm.stop)


def pkcs11_rig(folder: Path, kind: str) -> Rig:
    hsm = SoftHsm(folder / "hsm").create()
    key = hsm.token_with_key("vault", kind)
    runner = CommandTransport("vol-1", ("env", *(f"{name}={value}" for name, value in hsm.environment.items())))
    uri = parse_key_uri(key.uri)
    assert isinstance(uri, Pkcs11Uri)
    hsm.add_key("vault", "neighbour", kind, key_id="02")  # listed beside it, and must never stand in for it

    def lose() -> None:
        for each in ("privkey", "pubkey"):
            hsm.tool("vault", "--delete-object", "--type", each, "--id", "01")

    def replace() -> None:
        lose()
        hsm.add_key("vault", "vault", kind)

    return Rig(
        Pkcs11Store(TokenKey("Vault", "vol-1", uri), runner),
        lose,
        replace,
        nothing,
        lambda: shutil.rmtree(hsm.tokens),
    )


def command_rig(folder: Path, proof: str) -> Rig:
    box = folder / "box"
    box.mkdir()
    argv = [sys.executable, str(KEY_PROGRAM), str(box), proof]
    runner = CommandTransport("vol-1", ())

    def make() -> None:
        (box / "key").write_bytes(os.urandom(32))

    make()
    store = CommandStore(CommandKey("Enclave_Key", "vol-1", argv, "key"), runner)
    return Rig(store, (box / "key").unlink, make, nothing, lambda: shutil.rmtree(box))


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    kind, _, more = request.param.partition("-")
    if kind == "fake":
        yield fake_rig(more)
    elif kind == "tpm":
        tpm: LabTpm = request.getfixturevalue("tpm")
        yield tpm_rig(tpm, twin=more == "twin")
        if not tpm.properties():
            tpm.start()
    elif kind == "pkcs11":
        yield pkcs11_rig(tmp_path, more or "p256")
    else:
        yield command_rig(tmp_path, more or "signature")


class Watched:
    """The key of a rig under watch, recorded."""

    def __init__(self, rig: Rig, blobs: Sequence[str] = ()) -> None:
        here = CommandTransport("vol-1", ())
        key = WatchedKey("Key", "vol-1", "any", "any", rig.store, WrappedBlobs("key Key", blobs, here))
        self.watch = KeyWatch([key], nonce=lambda: os.urandom(32))
        self.recorded: dict[str, KeyFacts] = {"Key": self.watch.record("Key")}

    def now(self) -> Comparison:
        return self.watch.compare(self.recorded)


def test_key_that_nobody_touched_is_kept(rig: Rig) -> None:
    watched = Watched(rig)

    assert [finding.name for finding in watched.now().kept] == ["Key"]
    assert watched.now().is_intact


def test_key_is_kept_over_a_restart_on_its_state(rig: Rig) -> None:
    watched = Watched(rig)
    rig.restart()

    assert watched.now().is_intact


def test_two_looks_say_the_same(rig: Rig) -> None:
    assert rig.store.look() == rig.store.look()


def test_key_that_is_gone_is_lost(rig: Rig) -> None:
    watched = Watched(rig)
    rig.lose()

    assert [finding.name for finding in watched.now().lost] == ["Key"]
    assert rig.store.look() is None
    assert rig.store.answer(os.urandom(32)) is None


def test_key_that_was_replaced_under_its_name_is_changed(rig: Rig) -> None:
    watched = Watched(rig)
    rig.replace()

    assert [finding.name for finding in watched.now().changed] == ["Key"]


def test_store_that_cannot_be_asked_is_undecided_and_never_lost(rig: Rig) -> None:
    watched = Watched(rig)
    rig.cut_off()
    now = watched.now()

    assert ([finding.name for finding in now.undecided], now.lost, now.kept) == (["Key"], (), ())
    for question in (rig.store.look, lambda: rig.store.answer(b"x" * 32)):
        with pytest.raises(RefusedError) as caught:
            question()
        assert caught.value.exit_status == 40


def test_key_that_is_gone_cannot_be_recorded(rig: Rig) -> None:
    watched = Watched(rig)
    rig.lose()

    with pytest.raises(RefusedError) as caught:
        watched.watch.record("Key")
    assert (caught.value.reference, caught.value.exit_status) == ("key-absent", 40)


def test_backup_is_for_its_owner_alone(tmp_path: Path) -> None:
    blob = tmp_path / "key.wrapped"
    blob.write_bytes(b"wrapped")
    watched = Watched(fake_rig(""), [str(blob)])
    watched.watch.back_up(tmp_path / "backups")
    (copy,) = (tmp_path / "backups").iterdir()

    assert (copy.read_bytes(), stat.S_IMODE(copy.stat().st_mode)) == (b"wrapped", 0o600)
