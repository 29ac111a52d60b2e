"""Real OpenPGP keys in a GnuPG home of their own, and every way a signature can go wrong.

The home is a short folder of the system's temporary directory: gpg-agent's socket lies in it, and a
pytest folder's name is too long for one. ``close`` ends the agent by its id.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

from teraferry.bundles.system.process import Completed, run


class GpgHome:
    """A GnuPG home; a context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gh-"))
        self.folder.chmod(0o700)

    def __enter__(self) -> GpgHome:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this home."""
        return {"GNUPGHOME": str(self.folder)}

    def agent_id(self) -> int | None:
        """Return the process id of this home's agent, if one runs."""
        answer = self._run("gpg-connect-agent", "--no-autostart", "GETINFO pid", "/bye").text().split()
        return int(answer[1]) if answer[:1] == ["D"] else None

    def end_agent(self) -> None:
        """End the agent of this home."""
        pid = self.agent_id()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)

    def close(self) -> None:
        """End the agent and remove the home."""
        with suppress(ProcessLookupError):
            self.end_agent()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_key(
        self,
        name: str,
        *,
        expires: str = "never",
        at: datetime | None = None,
        passphrase: str = "",
        kind: str = "ed25519",
    ) -> str:
        """Generate a key that signs, and return its fingerprint."""
        made = ("--quick-gen-key", f"{name} <{name}@example.org>", kind, "sign", expires)
        self.gpg("--passphrase-fd", "0", *made, at=at, stdin=passphrase.encode() + b"\n")
        return self.fingerprint(f"{name}@example.org")

    def add_subkey(self, fingerprint: str) -> None:
        """Give a key a subkey that signs from now on in its place."""
        self.gpg("--passphrase", "", "--quick-add-key", fingerprint, "ed25519", "sign", "never")

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of the primary key of that name."""
        lines = self.gpg("--with-colons", "--list-keys", name).text().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def export(self, *names: str, armor: bool = False) -> bytes:
        """Return public keys."""
        return self.gpg(*(["--armor"] if armor else []), "--export", *names).stdout

    def sign(self, content: bytes, *names: str, at: datetime | None = None, options: Sequence[str] = ()) -> bytes:
        """Return an armored detached signature by each of ``names``."""
        users = [word for name in names for word in ("--local-user", name)]
        return self.gpg("--armor", *users, *options, "--detach-sign", at=at, stdin=content).stdout

    def sign_inline(self, content: bytes, name: str, *, clear: bool) -> bytes:
        """Return a message with the content in it, signed."""
        how = "--clearsign" if clear else "--sign"
        return self.gpg("--armor", "--local-user", name, how, stdin=content).stdout

    def dearmor(self, armored: bytes) -> bytes:
        """Return the packets in ``armored``."""
        return self.gpg("--dearmor", stdin=armored).stdout

    def revoke(self, fingerprint: str) -> None:
        """Revoke a key with the certificate that gpg made for it."""
        text = (self.folder / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text().replace("\n:---", "\n---")
        self.gpg("--import", stdin=text.encode())

    def gpg(self, *arguments: str, at: datetime | None = None, stdin: bytes = b"") -> Completed:
        """Run gpg, at another time if asked, and fail loudly."""
        when = ["--faked-system-time", at.strftime("%Y%m%dT%H%M%S")] if at is not None else []
        done = self._run("gpg", "--batch", "--yes", "--pinentry-mode", "loopback", *when, *arguments, stdin=stdin)
        if done.status != 0:
            raise RuntimeError(f"{done.replayable}: {done.stderr.decode(errors='replace')}")
        return done

    def _run(self, *argv: str, stdin: bytes = b"") -> Completed:
        return run(argv, stdin=stdin, timeout_seconds=60, environment=self.environment)
