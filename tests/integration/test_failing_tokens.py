"""Tokens that fail as SoftHSM cannot: locked, pulled out, logged out, held by others. Each is told apart.

The module underneath is SoftHSM; a fault is put between it and ``Tokens``, where a real token would fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pkcs11 import TokenFlag
from pkcs11 import exceptions as p11

from teraferry.builder.sign import sign_kit
from teraferry.builder.signing_room import SigningRoom
from teraferry.bundles.errors import BuildError
from teraferry.bundles.progress import Silent
from teraferry.keys.roots.change import RoleChange, change_root
from teraferry.keys.signers import KeyRing
from teraferry.keys.signers.token_errors import CAUSES
from tests.fakes.failing_token import Fault, loader
from tests.lab.house import NOW, House, no_pin
from tests.lab.softhsm import LabKey, SoftHsm


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    made = SoftHsm(tmp_path_factory.mktemp("hsm")).create()
    made.token_with_key("alice")
    return made


@pytest.fixture(autouse=True)
def seen_by_modules(hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", str(hsm.configuration))


@pytest.fixture
def alice(hsm: SoftHsm) -> LabKey:
    return hsm.key("alice", "alice")


def refused(alice: LabKey, fault: Fault, *, uri: str | None = None, pin: str = "123456") -> BuildError:
    """Open the key and sign once; return what the fault was told as."""
    with KeyRing(lambda _: pin, load_module=loader(fault)) as ring, pytest.raises(BuildError) as caught:
        ring.open(uri or alice.uri).sign_sha256(b"sums")
    error = caught.value
    assert error.exit_status == 31
    assert "alice" in error.message
    assert "expected" in error.message
    assert error.hint
    return error


FAILURES: list[tuple[str, p11.PKCS11Error, str]] = [
    ("tokens", p11.TokenNotRecognised(), "token-not-recognised"),
    ("tokens", p11.SlotIDInvalid(), "device-gone"),
    ("login", p11.PinLocked(), "pin-locked"),
    ("login", p11.PinIncorrect(), "pin-wrong"),
    ("login", p11.PinExpired(), "pin-expired"),
    ("login", p11.UserPinNotInitialized(), "pin-not-set"),
    ("login", p11.TokenNotPresent(), "device-gone"),
    ("login", p11.SessionCount(), "token-busy"),
    ("login", p11.AnotherUserAlreadyLoggedIn(), "token-busy"),
    ("login", p11.TokenWriteProtected(), "token-write-protected"),
    ("find", p11.SessionHandleInvalid(), "session-closed"),
    ("find", p11.DeviceRemoved(), "device-gone"),
    ("sign", p11.DeviceRemoved(), "device-gone"),
    ("sign", p11.DeviceError(), "device-gone"),
    ("sign", p11.SessionClosed(), "session-closed"),
    ("sign", p11.UserNotLoggedIn(), "session-closed"),
    ("sign", p11.FunctionRejected(), "token-declined"),
    ("sign", p11.MechanismInvalid(), "key-type-unsupported"),
    ("sign", p11.DeviceMemory(), "token-out-of-memory"),
    ("sign", p11.GeneralError(), "token-failed"),
]


@pytest.mark.parametrize(("step", "raised", "reference"), FAILURES)
def test_each_failure_is_told_by_its_own_reference(
    alice: LabKey, step: str, raised: p11.PKCS11Error, reference: str
) -> None:
    assert refused(alice, Fault(step, raised)).reference == reference


def test_a_number_that_nobody_named_is_shown(alice: LabKey) -> None:
    error = refused(alice, Fault("sign", p11.PKCS11Error("Unmapped error code 0x80000001")))

    assert error.reference == "token-failed"
    assert "0x80000001" in error.message


def test_a_token_that_cannot_say_that_it_keeps_a_key_is_not_fit_for_production(alice: LabKey) -> None:
    with KeyRing(no_pin, load_module=loader(Fault("flags", p11.AttributeTypeInvalid()))) as ring:
        evidence = ring.open(alice.uri).evidence

    assert not evidence.is_fit_for_production
    assert not any(evidence.flags.values())


def test_the_last_try_is_announced_in_words(alice: LabKey) -> None:
    fault = Fault("login", p11.PinIncorrect(), flags_afterwards=int(TokenFlag.USER_PIN_FINAL_TRY))

    error = refused(alice, fault, uri=alice.uri_without_pin, pin="000000")

    assert error.reference == "pin-wrong"
    assert "ONE try" in error.hint


def test_the_try_that_locks_the_token_is_told_as_locked(alice: LabKey) -> None:
    fault = Fault("login", p11.PinIncorrect(), flags_afterwards=int(TokenFlag.USER_PIN_LOCKED))

    assert refused(alice, fault, uri=alice.uri_without_pin, pin="000000").reference == "pin-locked"


def test_a_token_that_locked_is_not_tried_again(alice: LabKey) -> None:
    fault = Fault("login", p11.PinIncorrect(), flags_afterwards=int(TokenFlag.USER_PIN_LOCKED))
    with KeyRing(no_pin, load_module=loader(fault)) as ring:
        for _ in range(2):
            with pytest.raises(BuildError) as caught:
                ring.open(alice.uri)
            assert caught.value.reference == "pin-locked"

    assert fault.seen["login"] == 1


@pytest.mark.parametrize("after", range(1, 5))
def test_a_token_that_goes_in_the_middle_leaves_a_kit_that_can_be_signed_again(
    tmp_path: Path, alice: LabKey, after: int
) -> None:
    house = House(tmp_path).open()
    house.change(RoleChange("release", add=alice.uri), "root-1", "root-2")
    kit = house.build()
    house.sign(kit, "release-1", desk=False)

    def sign(**how: Any) -> None:
        with KeyRing(no_pin, **how) as ring:
            room = SigningRoom(house.trust, ring, Silent(), NOW)
            sign_kit(kit, room, keys=[alice.uri], desk_key=house.uris["desk"])

    # Three signatures: over SHA256SUMS, the evidence, the targets.
    if after <= 3:
        with pytest.raises(BuildError) as caught:
            sign(load_module=loader(Fault("sign", p11.DeviceRemoved(), after=after - 1)))
        assert caught.value.reference == "device-gone"
        assert not (kit.folder / "metadata" / "timestamp.json").exists()
    sign()

    assert len(house.verify(kit)["signers"]) == 2  # type: ignore[arg-type]


def test_a_token_that_goes_in_a_root_ceremony_leaves_the_root_as_it_was(tmp_path: Path, alice: LabKey) -> None:
    house = House(tmp_path).open()
    house.change(RoleChange("root", add=alice.uri), "root-1", "root-2")
    before = house.trust.load_roots()

    # Its first signature is the proof that it can sign, the second the root.
    with (
        KeyRing(no_pin, load_module=loader(Fault("sign", p11.DeviceRemoved(), after=1))) as ring,
        pytest.raises(BuildError) as caught,
    ):
        change_root(house.trust, None, ring, root_keys=[house.uris["root-1"], alice.uri], now=NOW)

    assert caught.value.reference == "device-gone"
    assert house.trust.load_roots() == before


def test_every_error_of_a_token_belongs_to_one_cause() -> None:
    kinds = [kind for group, _ in CAUSES for kind in group]

    assert len(set(kinds)) == len(kinds)
    assert all(issubclass(kind, p11.PKCS11Error) for kind in kinds)
    references = [cause.reference for _, cause in CAUSES]
    assert len(set(references)) == len(references)
