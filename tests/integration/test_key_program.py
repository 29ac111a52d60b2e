"""A site's own key program is tried out: the good one conforms, and each broken rule is found."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.keys.continuity.watch import KeyWatch, WatchedKey
from teraferry.keys.continuity.wrapped_blobs import WrappedBlobs
from teraferry.keys.stores.command import CommandKey, CommandStore
from teraferry.keys.stores.conformance import Conformity, try_program
from teraferry.keys.stores.pkcs11_token import Pkcs11Store, TokenKey
from teraferry.keys.uri import Pkcs11Uri, parse_key_uri
from tests.lab.softhsm import SoftHsm

PROGRAM = Path(__file__).parents[1] / "lab" / "key_program.py"
FAULTS = (
    *("silent", "fails", "chatty", "restless", "no-marks", "never-absent", "other-key", "one-answer"),
    "understands-everything",
)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "key").write_bytes(os.urandom(32))
    return tmp_path


def tried(box: Path, proof: str, *fault: str) -> tuple[Conformity, ...]:
    key = CommandKey("Enclave_Key", "vol-1", [sys.executable, str(PROGRAM), str(box), proof, *fault], "key")
    return try_program(key, LocalTransport("vol-1"), nonce=lambda: os.urandom(32))


@pytest.mark.parametrize("proof", ["signature", "hmac"])
def test_good_program_conforms(box: Path, proof: str) -> None:
    assert [each for each in tried(box, proof) if each.problem] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_program_that_breaks_a_rule_does_not_conform(box: Path, fault: str) -> None:
    assert [each.name for each in tried(box, "hmac", fault) if each.problem]


def test_program_that_signs_with_another_key_than_it_shows_does_not_conform(box: Path) -> None:
    assert "the key proves itself" in [each.name for each in tried(box, "signature", "other-key") if each.problem]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"null",
        b'{"state":"present"}',
        b'{"state":"present","proof":"hmac","marks":{}}',
        b'{"state":"present","proof":"signature","marks":{"a":"b"},"public_key":"x"}',
        b'{"state":"absent","more":1}',
        b'{"state":"gone"}',
        b'{"state":"undecided","reason":"\\u001b[2J"}',
        b"[" * 100_000,
        b'{"state":"absent"}' + b" " * 70_000,
        b'{"state":"absent"}{"state":"absent"}',
    ],
)
def test_answer_that_breaks_the_protocol_is_undecided_and_not_repeated(said: bytes) -> None:
    class Runner:
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
            return Completed(tuple(argv), 0, said, b"a secret")

    with pytest.raises(RefusedError) as caught:
        CommandStore(CommandKey("K", "vol-1", ["enclave"], "key"), Runner()).look()
    assert caught.value.reference in ("key-store-unusable", "key-store-undecided")
    assert "\x1b" not in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "reference"), [(1, "key-store-unusable"), (124, "key-store-silent"), (127, "key-tool-missing")]
)
def test_program_that_fails_says_nothing_about_the_key(status: int, reference: str) -> None:
    class Runner:
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
            return Completed(tuple(argv), status, b'{"state":"absent"}', b"")

    store = CommandStore(CommandKey("K", "vol-1", ["enclave"], "key"), Runner())
    for question in (store.look, lambda: store.answer(b"x" * 32)):
        with pytest.raises(RefusedError) as caught:
            question()
        assert caught.value.reference == reference


@pytest.mark.parametrize("flag", ["user PIN count low", "final user PIN try", "user PIN locked"])
def test_token_whose_flags_warn_sees_no_login(flag: str) -> None:
    calls: list[tuple[str, ...]] = []

    class Runner:
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
            calls.append(tuple(argv))
            text = f"Slot 0 (0x1): x\n  token label        : vault\n  token flags        : login required, {flag}\n"
            return Completed(tuple(argv), 0, text.encode(), b"")

    uri = parse_key_uri("pkcs11:token=vault;object=k?module-path=/m.so&pin-source=file:/pin")
    assert isinstance(uri, Pkcs11Uri)
    with pytest.raises(RefusedError):
        Pkcs11Store(TokenKey("K", "vol-1", uri), Runner()).look()
    assert not any("--login" in call for call in calls)


def test_wrong_or_missing_pin_is_undecided(tmp_path: Path) -> None:
    hsm = SoftHsm(tmp_path / "hsm").create()
    key = hsm.token_with_key("vault")
    runner = LocalTransport("vol-1")
    references = []
    for content in (None, "", "999999\n", "123456\n"):
        pin = tmp_path / "pin"
        pin.unlink(missing_ok=True)
        if content is not None:
            pin.write_text(content)
        uri = parse_key_uri(f"{key.uri_without_pin}&pin-source=file:{pin}")
        assert isinstance(uri, Pkcs11Uri)
        store = Pkcs11Store(TokenKey("K", "vol-1", uri), _WithEnvironment(runner, hsm.environment))
        with pytest.raises(RefusedError) as caught:
            store.look()
        references.append(caught.value.reference)
        assert "999999" not in caught.value.message
    # A wrong PIN makes the token warn; from then on nobody logs in unattended, not even with the right one.
    assert references == ["pin-file-unreadable", "pin-file-unreadable", "pin-wrong", "pin-last-try"]


def test_rsa_key_on_a_token_proves_itself(tmp_path: Path) -> None:
    hsm = SoftHsm(tmp_path / "hsm").create()
    uri = parse_key_uri(hsm.token_with_key("vault", "rsa").uri)
    assert isinstance(uri, Pkcs11Uri)
    store = Pkcs11Store(TokenKey("K", "vol-1", uri), _WithEnvironment(LocalTransport("vol-1"), hsm.environment))
    watch = KeyWatch(
        [WatchedKey("K", "vol-1", "pkcs11", "x", store, WrappedBlobs("K", (), LocalTransport("vol-1")))],
        nonce=lambda: os.urandom(32),
    )
    assert watch.compare({"K": watch.record("K")}).is_intact


class _WithEnvironment:
    """A node whose PKCS#11 module is configured by the environment."""

    def __init__(self, inner: LocalTransport, environment: dict[str, str]) -> None:
        self._inner = inner
        self._words = ["env", *(f"{name}={value}" for name, value in environment.items())]

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        return self._inner.run([*self._words, *argv], stdin=stdin, timeout_seconds=timeout_seconds)
