"""Ask gpgv about a detached signature. The judgement of what it says is ``keys.openpgp.judge``'s.

gpgv and not gpg: it needs no home of its own, no agent, no trust database, fetches nothing, and
is on systems without gpg, since their package manager needs it. It sees three things and
nothing else: the bytes on its standard input, and key and signature in a folder made for this call.

gpgv asks the system clock what is expired. A site that knows its clock to be behind therefore
gets no verdict at all: a key that expired in between would look good.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from teraferry.bundles.errors import Fact, TrustError
from teraferry.bundles.layout import OPENPGP_SIGNATURE
from teraferry.bundles.system.process import run
from teraferry.keys.openpgp.judge import HINT_OWNER, TOLERANCE, OpenPgpSignature, judge_status
from teraferry.keys.openpgp.key import MAX_PUBLIC_KEY_BYTES, fingerprint_of_key, parse_public_key

GPGV: Final = "gpgv"
_SECONDS: Final = 60.0
"""One signature over one kilobyte takes milliseconds."""


@dataclass(frozen=True, slots=True)
class OpenPgpKey:
    """A public key, and the fingerprint that a person pinned and that it has."""

    fingerprint: str
    keyring: bytes


def load_openpgp_key(path: Path, fingerprint: str | None) -> OpenPgpKey:
    """Return the public key in ``path``.

    Only root may write the file: an older copy of the key would not know that it was revoked since.

    Args:
        path: Of the file, armored or binary.
        fingerprint: The pinned one; None takes the key that is there, where a person chose the file.

    Raises:
        TrustError: 23; ``openpgp-key-missing``, ``openpgp-key-exposed``, ``openpgp-key-unreadable``,
            ``openpgp-key-differs``: without the key nothing can be decided.
    """
    content = _read_key(path)
    try:
        keyring = parse_public_key(content)
        found = fingerprint_of_key(keyring)
    except ValueError as error:
        raise _key_refused("openpgp-key-unreadable", path, str(error), "what gpg --export writes") from error
    if fingerprint is not None and found != fingerprint:
        raise _key_refused("openpgp-key-differs", path, f"key {found}", f"{fingerprint}, as pinned")
    return OpenPgpKey(found, keyring)


def has_gpgv() -> bool:
    """Tell whether this machine can check OpenPGP signatures at all."""
    return shutil.which(GPGV) is not None


def require_gpgv() -> None:
    """Refuse a machine that could not check a demanded signature.

    Raises:
        TrustError: ``openpgp-no-verifier``, 23.
    """
    if not has_gpgv():
        raise _no_verifier("not in PATH")


def require_openpgp_signature(
    content: bytes, signature: bytes | None, key: OpenPgpKey, *, now: datetime, proven_past: datetime
) -> OpenPgpSignature:
    """Refuse unless ``key`` signed ``content``.

    Args:
        content: ``SHA256SUMS``, the bytes that are used and not read again.
        signature: ``SHA256SUMS.asc``; None when it is missing.
        key: The pinned key.
        now: System clock, which gpgv will ask too.
        proven_past: The newest date that this site knows to be past.

    Raises:
        TrustError: 20 ``openpgp-missing``; 23 ``openpgp-clock-behind``, ``openpgp-no-verifier``,
            ``openpgp-undecided``; or see ``keys.openpgp.judge.judge_status``.
    """
    if not signature:
        raise TrustError(
            "openpgp-missing",
            f"file {OPENPGP_SIGNATURE}: {'missing' if signature is None else 'empty'}, expected a signature by "
            f"{key.fingerprint}",
            hint="The kit is not signed by the OpenPGP key yet. Ask the release's owner for a signed one.",
            exit_status=20,
            facts={"file": OPENPGP_SIGNATURE},
        )
    if now + TOLERANCE < proven_past:
        raise _undecided(
            "openpgp-clock-behind",
            f"this machine's clock says {now:%Y-%m-%d}, expected {proven_past:%Y-%m-%d} or later, which is proven past",
            "Set the clock (date --utc --set ...): a clock that is behind cannot tell which key is expired.",
        )
    status = _run_gpgv(content, signature, key)
    return judge_status(status, key.fingerprint, now=max(now, proven_past))


def _run_gpgv(content: bytes, signature: bytes, key: OpenPgpKey) -> str:
    with tempfile.TemporaryDirectory(prefix="tf-") as name:
        folder = Path(name)
        (folder / "key.gpg").write_bytes(key.keyring)
        (folder / OPENPGP_SIGNATURE).write_bytes(signature)
        # No shell, no name from outside; "-" is the content on standard input.
        argv = [GPGV, "--homedir", name, "--status-fd", "1", "--keyring", str(folder / "key.gpg")]
        try:
            done = run([*argv, str(folder / OPENPGP_SIGNATURE), "-"], stdin=content, timeout_seconds=_SECONDS)
        except OSError as error:
            raise _no_verifier(str(error.strerror)) from error
    # Its exit status decides nothing: see the module's first lines. A death by signal or time does.
    if done.status < 0 or done.status == 124:
        hint = "Try again. If it stays, look at this machine's memory and load."
        raise _undecided("openpgp-undecided", f"gpgv ended with {done.status}, expected an answer", hint)
    return done.text()


def _read_key(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            mode = stat.S_IMODE(status.st_mode)
            if status.st_uid not in (0, os.geteuid()) or mode & (stat.S_IWGRP | stat.S_IWOTH):
                found = f"owner {status.st_uid}, mode {mode:04o}"
                hint = f"Find out who changed it. Then type: chown root {path} && chmod go-w {path}"
                raise _key_refused("openpgp-key-exposed", path, found, "root's, writable by nobody else", hint=hint)
            content = file.read(MAX_PUBLIC_KEY_BYTES + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise _key_refused("openpgp-key-missing", path, str(error.strerror), "the public key") from error
    if not 0 < len(content) <= MAX_PUBLIC_KEY_BYTES:
        found = f"no regular file of 1..{MAX_PUBLIC_KEY_BYTES} bytes"
        raise _key_refused("openpgp-key-unreadable", path, found, "what gpg --export writes")
    return content


def _key_refused(reference: str, path: Path, found: str, expected: str, *, hint: str = "") -> TrustError:
    return TrustError(
        reference,
        f"OpenPGP key {path}: {found}, expected {expected}",
        hint=hint or "Ask the release's owner for the public key (gpg --export --armor FINGERPRINT), and put it there.",
        exit_status=23,
        facts={"path": str(path)},
    )


def _no_verifier(found: str) -> TrustError:
    return _undecided(
        "openpgp-no-verifier",
        f"gpgv: {found}, expected the program that checks OpenPGP signatures",
        "Install gpgv (Debian package gpgv, elsewhere part of gnupg2) on this machine, then type the same command "
        "again.",
    )


def _undecided(reference: str, message: str, hint: str = HINT_OWNER) -> TrustError:
    facts: dict[str, Fact] = {"file": OPENPGP_SIGNATURE}
    return TrustError(reference, message, hint=hint, exit_status=23, facts=facts)
