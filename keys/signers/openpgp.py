"""Sign ``SHA256SUMS`` with an OpenPGP key, by python-gnupg: an extra for people whose policy asks for it.

The key stays in its signer's own GnuPG home (``GNUPGHOME``, else ``~/.gnupg``), behind the signer's own
agent: it may be a smart card's or an HSM's, and importing it elsewhere would mean to export it.
Nothing is imported into that home and nothing in it is changed. An agent that was running before
goes on; one that was started for this call is ended after it, by its own id, since it would
keep the passphrase.

Each signature is then checked as a site checks it, by gpgv in a folder of its own with nothing but
the public key: ``python-gnupg`` calls a signature by an expired key "valid".

The passphrase comes from a file, from the environment, or from the signer's own pinentry; gpg
reads it from a pipe, so it stands in no command line.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from teraferry.bundles.errors import BuildError, TrustError
from teraferry.bundles.system.process import clean_environment, run
from teraferry.keys.openpgp.gpgv import OpenPgpKey, require_openpgp_signature
from teraferry.keys.openpgp.key import fingerprint_of_key, parse_public_key

if TYPE_CHECKING:
    import gnupg

_SECONDS: Final = 20.0
"""For questions to an agent that is there."""

_MAX_SOCKET_BYTES: Final = 107
"""Linux, unix(7). Past it gpg-agent only says that there is no agent."""


def sign_detached(content: bytes, fingerprint: str, *, passphrase: str | None, now: datetime) -> bytes:
    """Return the armored detached signature of ``fingerprint`` over ``content``.

    Args:
        content: ``SHA256SUMS``.
        fingerprint: Of the primary key; gpg may sign with a subkey of it.
        passphrase: None lets gpg-agent's own pinentry ask.
        now: System clock, for reading the signature back.

    Raises:
        BuildError: 31; ``gpg-missing``, ``gpg-home-too-long``, ``openpgp-key-absent``, ``pin-wrong``,
            ``openpgp-sign-failed``.
    """
    environment = clean_environment()
    home = Path(environment.get("GNUPGHOME") or Path.home() / ".gnupg")
    _require_short(home)
    gpg = _open_gpg(home, environment)
    with _agent_as_it_was(home):
        public = _public_key(gpg, fingerprint)
        signature = _sign(gpg, content, fingerprint=fingerprint, passphrase=passphrase)
    try:
        require_openpgp_signature(content, signature, public, now=now, proven_past=now)
    except TrustError as error:
        raise _cannot_sign("openpgp-sign-failed", f"{error.message}, when it was read back", error.hint) from error
    return signature


def _open_gpg(home: Path, environment: Mapping[str, str]) -> gnupg.GPG:
    # Imported here: only the signer of an OpenPGP kit needs it.
    import gnupg

    if not home.is_dir():
        raise _cannot_sign(
            "openpgp-key-absent",
            f"GnuPG home {home}: not there, expected the home with the signer's key",
            "Set GNUPGHOME to the home that holds your OpenPGP key.",
        )
    try:
        return gnupg.GPG(gnupghome=str(home), env=dict(environment), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _cannot_sign(
            "gpg-missing",
            "gpg: not there or not usable, expected GnuPG 2.2 or newer",
            "Install gnupg, then type the same command again.",
        ) from error


def _public_key(gpg: gnupg.GPG, fingerprint: str) -> OpenPgpKey:
    armored = gpg.export_keys(fingerprint, minimal=True)
    try:
        keyring = parse_public_key(str(armored).encode())
        found = fingerprint_of_key(keyring)
    except ValueError:
        found = ""
    if found != fingerprint:
        raise _absent(fingerprint)
    return OpenPgpKey(fingerprint, keyring)


def _sign(gpg: gnupg.GPG, content: bytes, *, fingerprint: str, passphrase: str | None) -> bytes:
    # --local-user and not --default-key: that one falls back to whatever other key is there.
    options = ["--local-user", fingerprint, "--digest-algo", "SHA256", "--no-comments", "--no-emit-version"]
    done = gpg.sign_file(BytesIO(content), passphrase=passphrase, detach=True, clearsign=False, extra_args=options)
    if done.returncode == 0 and done.fingerprint:
        return bytes(done.data)
    told = f"{done.status or ''} {done.stderr or ''}".lower()
    if "bad passphrase" in told or "bad pin" in told:
        raise _cannot_sign(
            "pin-wrong",
            f"OpenPGP key {fingerprint}: it does not open with this passphrase or PIN, expected the right one",
            "Try it by hand: gpg --local-user FINGERPRINT --detach-sign FILE. A card locks after few wrong PINs.",
        )
    if "no secret key" in told or "invalid signer" in told:
        raise _absent(fingerprint)
    # gpg's own lines name files and keys, never a passphrase.
    last = next((line for line in reversed((done.stderr or "").splitlines()) if line.startswith("gpg: ")), "no word")
    raise _cannot_sign(
        "openpgp-sign-failed",
        f"OpenPGP key {fingerprint}: {last[:200]}, expected a signature",
        "Try it by hand: gpg --local-user FINGERPRINT --detach-sign FILE. Over SSH, type first: export GPG_TTY=$(tty)",
    )


@contextmanager
def _agent_as_it_was(home: Path) -> Iterator[None]:
    before = _agent_id(home)
    try:
        yield
    finally:
        started = _agent_id(home)
        if before is None and started is not None:
            with suppress(ProcessLookupError):
                os.kill(started, signal.SIGTERM)


def _agent_id(home: Path) -> int | None:
    """Return the process id of the agent of this home, if one runs."""
    argv = ["gpg-connect-agent", "--homedir", str(home), "--no-autostart", "GETINFO pid", "/bye"]
    try:
        answer = run(argv, timeout_seconds=_SECONDS).text().split()
    except OSError:
        return None
    return int(answer[1]) if answer[:1] == ["D"] and answer[1:2] and answer[1].isdecimal() else None


def _require_short(home: Path) -> None:
    """Refuse a home whose agent could not be reached: its socket lies there, or in /run/user where that exists."""
    try:
        done = run(["gpgconf", "--homedir", str(home), "--list-dirs", "agent-socket"], timeout_seconds=_SECONDS)
    except OSError:
        return  # without gpg, the next step says so
    socket_bytes = len(done.stdout.strip())
    if socket_bytes > _MAX_SOCKET_BYTES:
        raise _cannot_sign(
            "gpg-home-too-long",
            f"GnuPG home {home}: a socket name of {socket_bytes} bytes, expected at most {_MAX_SOCKET_BYTES}",
            "Set GNUPGHOME to a shorter path, for example a link to that folder.",
        )


def _absent(fingerprint: str) -> BuildError:
    return _cannot_sign(
        "openpgp-key-absent",
        f"OpenPGP key {fingerprint}: no secret key that may sign in this GnuPG home, expected one in use",
        "Look at: gpg --list-secret-keys. Set GNUPGHOME to the home that holds the key, or plug in the card.",
    )


def _cannot_sign(reference: str, message: str, hint: str) -> BuildError:
    return BuildError(reference, message, hint=hint, exit_status=31)
