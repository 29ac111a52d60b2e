"""A real TPM 2.0 (swtpm): what is lost, changed or undecided there, and the last login is never spent."""

from __future__ import annotations

import hmac
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.keys.continuity.judge import KeyFacts
from teraferry.keys.continuity.live_proof import judge_answer
from teraferry.keys.continuity.watch import KeyWatch, WatchedKey
from teraferry.keys.continuity.wrapped_blobs import WrappedBlobs
from teraferry.keys.stores.tpm import TpmKey, TpmStore
from tests.lab.nodes import Lab
from tests.lab.swtpm import COUNTED, COUNTER, COUNTING, SEALED, SIGNING, TCTI, TWIN, LabTpm


class Spy:
    """A way to the node that remembers every argument list."""

    def __init__(self, tpm: LabTpm) -> None:
        self._transport = CommandTransport("vol-1", tpm.node.prefix)
        self.calls: list[tuple[str, ...]] = []

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        self.calls.append(tuple(argv))
        return self._transport.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    def logins(self) -> list[tuple[str, ...]]:
        return [call for call in self.calls if call[0] in ("tpm2_sign", "tpm2_hmac")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabTpm]:
    folder = tmp_path_factory.mktemp("tpm")
    with Lab(folder / "lab", {"site": "10.77.9.2", "vol-1": "10.77.9.3"}) as lab:
        yield LabTpm(lab.node("vol-1"), folder / "tpm").create()


@pytest.fixture
def tpm(made: LabTpm) -> LabTpm:
    """A TPM without keys and without failed logins."""
    if not made.properties():
        made.start()
    made.tool("tpm2_dictionarylockout", "-c")
    made.evict_all()
    return made


@pytest.fixture
def spy(tpm: LabTpm) -> Spy:
    return Spy(tpm)


def company_key(tpm: LabTpm) -> TpmKey:
    """``Company_Key`` sealed, with its twin, as a site would declare it."""
    tpm.add_sealed_secret()
    tpm.add_twin()
    return TpmKey("Company_Key", "vol-1", SEALED, twin=TWIN, twin_auth=str(tpm.auth), tcti=TCTI)


def counted_key(tpm: LabTpm) -> TpmKey:
    """A signing key whose wrong logins count."""
    tpm.add_signing_key(COUNTING, attributes=COUNTED)
    return TpmKey("Counted_Key", "vol-1", COUNTING, auth=str(tpm.auth), tcti=TCTI)


def watched(key: TpmKey, spy: Spy) -> tuple[KeyWatch, dict[str, KeyFacts]]:
    one = WatchedKey(key.name, key.node, "tpm", hex(key.handle), TpmStore(key, spy), WrappedBlobs(key.what, (), spy))
    watch = KeyWatch([one], nonce=lambda: os.urandom(32))
    return watch, {key.name: watch.record(key.name)}


def names(findings: Sequence[object]) -> list[str]:
    return [str(finding).partition(" ")[0] for finding in findings]


def test_name_is_what_the_tpm_itself_computes_over_the_public_area(tpm: LabTpm, spy: Spy) -> None:
    tpm.add_signing_key()
    look = TpmStore(TpmKey("K", "vol-1", SIGNING, auth=str(tpm.auth), tcti=TCTI), spy).look()

    tpm.tool("tpm2_readpublic", "-Q", "-c", hex(SIGNING), "-n", tpm.path("name"))
    assert look is not None
    assert look.marks["name"] == Path(tpm.path("name")).read_bytes().hex()


def test_signature_over_a_nonce_is_verified_by_openssl_too(tpm: LabTpm, spy: Spy, tmp_path: Path) -> None:
    tpm.add_signing_key()
    store = TpmStore(TpmKey("K", "vol-1", SIGNING, auth=str(tpm.auth), tcti=TCTI), spy)
    look, nonce = store.look(), os.urandom(32)
    signature = store.answer(nonce)

    assert look is not None
    assert signature is not None
    for name, content in (("key", look.public_key.encode()), ("nonce", nonce), ("signature", signature)):
        (tmp_path / name).write_bytes(content)
    argv = ["openssl", "dgst", "-sha256", "-verify", "key", "-signature", "signature", "nonce"]
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True).returncode == 0


@pytest.mark.parametrize("kind", ["rsa2048", "rsa2048:rsassa-sha256", "ecc384:ecdsa-sha384"])
def test_key_of_another_kind_proves_itself(tpm: LabTpm, spy: Spy, kind: str) -> None:
    tpm.add_signing_key(kind=kind)
    watch, recorded = watched(TpmKey("K", "vol-1", SIGNING, auth=str(tpm.auth), tcti=TCTI), spy)

    assert recorded["K"].proof == "signature"
    assert watch.compare(recorded).is_intact


def test_twin_answers_as_the_secret_itself_would_and_nothing_is_unsealed(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(company_key(tpm), spy)
    facts = recorded["Company_Key"]
    challenge = bytes.fromhex(facts.challenge)

    assert judge_answer(facts, challenge, hmac.digest(tpm.secret, challenge, "sha256")).value == "right"
    assert watch.compare(recorded).is_intact
    assert not any("unseal" in word for call in spy.calls for word in call)


def test_looking_leaves_nothing_in_the_tpm(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(company_key(tpm), spy)
    before = tpm.properties()
    for _ in range(4):
        assert watch.compare(recorded).is_intact

    rooms = ("TPM2_PT_HR_TRANSIENT_AVAIL", "TPM2_PT_HR_LOADED", "TPM2_PT_HR_ACTIVE", "TPM2_PT_LOCKOUT_COUNTER")
    assert {room: tpm.properties()[room] for room in rooms} == {room: before[room] for room in rooms}


@pytest.mark.parametrize("orderly", [True, False])
def test_key_survives_a_reboot_and_a_pulled_plug(tpm: LabTpm, spy: Spy, *, orderly: bool) -> None:
    key = company_key(tpm)
    tpm.reboot()  # making keys used their parent, whose logins count: then a pulled plug is one failure by itself
    watch, recorded = watched(key, spy)
    tpm.reboot(orderly=orderly)

    assert watch.compare(recorded).is_intact
    assert tpm.properties()["TPM2_PT_LOCKOUT_COUNTER"] == 0


def test_node_that_comes_back_with_a_blank_tpm_has_lost_its_key(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(company_key(tpm), spy)
    tpm.wipe()

    assert names(watch.compare(recorded).lost) == ["Company_Key"]


def test_sealed_key_that_was_evicted_is_lost_although_its_twin_still_answers(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(company_key(tpm), spy)
    tpm.evict(SEALED)

    assert names(watch.compare(recorded).lost) == ["Company_Key"]


def test_twin_that_was_evicted_or_replaced_is_told(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(company_key(tpm), spy)
    tpm.evict(TWIN)
    assert names(watch.compare(recorded).changed) == ["Company_Key"]

    tpm.add_twin(secret=b"t" * 32)
    assert names(watch.compare(recorded).changed) == ["Company_Key"]


def test_lost_is_said_only_when_the_list_of_handles_says_so_too(tpm: LabTpm) -> None:
    class Lying(Spy):
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
            if argv[0] == "tpm2_readpublic":
                return Completed(tuple(argv), 1, b"", b"ERROR: Esys_TR_FromTPMPublic(0x18B) - tpm:handle(1)")
            return super().run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    tpm.add_signing_key()
    with pytest.raises(RefusedError) as caught:
        TpmStore(TpmKey("K", "vol-1", SIGNING, tcti=TCTI), Lying(tpm)).look()
    assert caught.value.reference == "tpm-hierarchy-shut"


# ---- logins that count


def test_login_that_counts_is_tried_while_two_tries_are_left(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(counted_key(tpm), spy)
    tpm.fail_login()

    assert tpm.properties()["TPM2_PT_LOCKOUT_COUNTER"] == 1  # of 3
    assert watch.compare(recorded).is_intact


def test_last_try_is_never_spent(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(counted_key(tpm), spy)
    tpm.fail_login()
    tpm.fail_login()
    spy.calls.clear()

    now = watch.compare(recorded)

    assert (names(now.undecided), now.lost) == (["Counted_Key"], ())
    assert spy.logins() == []
    assert tpm.properties()["TPM2_PT_LOCKOUT_COUNTER"] == 2


def test_locked_tpm_is_undecided_and_not_lost(tpm: LabTpm, spy: Spy) -> None:
    key = counted_key(tpm)
    watch, recorded = watched(key, spy)
    for _ in range(3):
        tpm.fail_login()
    now = watch.compare(recorded)

    assert (names(now.undecided), now.lost, now.changed) == (["Counted_Key"], (), ())
    with pytest.raises(RefusedError) as caught:
        TpmStore(key, spy).answer(b"x" * 32)
    assert caught.value.reference == "tpm-login-not-risked"


def test_wrong_authorization_is_tried_once_and_then_no_more(tpm: LabTpm, spy: Spy) -> None:
    wrong = Path(tpm.path("wrong"))
    wrong.write_text("not it")
    store = TpmStore(replace(counted_key(tpm), auth=str(wrong)), spy)

    references = []
    for _ in range(3):
        with pytest.raises(RefusedError) as caught:
            store.answer(b"x" * 32)
        references.append(caught.value.reference)
    # The second try is allowed, since two are left; with one left nobody tries.
    assert references == ["tpm-login-failed", "tpm-login-failed", "tpm-login-not-risked"]
    assert len(spy.logins()) == 2


def test_key_whose_logins_count_is_not_logged_in_to_without_a_declared_authorization(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(replace(counted_key(tpm), auth=None), spy)

    assert recorded["Counted_Key"].proof == "presence"
    assert "no `auth`" in watch.said_of("Counted_Key")
    assert watch.compare(recorded).is_intact
    assert spy.logins() == []
    tpm.evict(COUNTING)
    assert names(watch.compare(recorded).lost) == ["Counted_Key"]


def test_authorization_value_is_in_no_argument_list_and_no_error(tpm: LabTpm, spy: Spy) -> None:
    watch, recorded = watched(company_key(tpm), spy)
    watch.compare(recorded)
    tpm.evict(TWIN)
    said = " ".join([*(word for call in spy.calls for word in call), *map(str, watch.compare(recorded).changed)])

    assert spy.logins()
    assert tpm.auth_value not in said
    assert tpm.secret.hex() not in said


# ---- the counter


def test_counter_that_grew_is_kept_and_one_made_anew_is_lost(tpm: LabTpm, spy: Spy) -> None:
    tpm.add_counter()
    tpm.increment()
    tpm.add_signing_key()
    key = TpmKey("K", "vol-1", SIGNING, auth=str(tpm.auth), counter=COUNTER, tcti=TCTI)
    watch, recorded = watched(key, spy)
    tpm.increment()

    assert watch.compare(recorded).is_intact
    tpm.remove_counter()
    assert names(watch.compare(recorded).lost) == ["K"]
    tpm.add_counter()
    assert names(watch.compare(recorded).lost) == ["K"]
    tpm.remove_counter()


def test_state_that_was_copied_back_shows_by_its_counter(tpm: LabTpm, spy: Spy, tmp_path: Path) -> None:
    tpm.add_counter()
    tpm.increment()
    tpm.add_signing_key()
    tpm.stop()
    older = {file.name: file.read_bytes() for file in tpm.state.iterdir()}
    tpm.start()
    tpm.increment()
    key = TpmKey("K", "vol-1", SIGNING, auth=str(tpm.auth), counter=COUNTER, tcti=TCTI)
    watch, recorded = watched(key, spy)
    tpm.stop()
    for name, content in older.items():
        (tpm.state / name).write_bytes(content)
    tpm.start()

    assert names(watch.compare(recorded).changed) == ["K"]
    tpm.remove_counter()
