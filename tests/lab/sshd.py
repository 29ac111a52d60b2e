"""A real sshd, on loopback or on a node of the lab, with keys of its own; ended by its process id."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from teraferry.installer.adapters.transport.ssh import SshAddress
from tests.lab.nodes import Node, wait_until

SSHD = "/usr/sbin/sshd"
LISTENS = b"Server listening on"


def make_key(path: Path) -> Path:
    """Make an Ed25519 key pair; return the private half's path."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60)
    return path


class LabSshd:
    """One sshd that lets one key in as one user. Use as a context.

    Args:
        folder: Holds its keys and its log.
        forced: A command that the server runs around every other, which is in $SSH_ORIGINAL_COMMAND.
        node: Where it runs, on port 22; None for a free port of this machine's loopback.
        user: Who is let in; this user by default.
    """

    def __init__(
        self, folder: Path, *, forced: str | None = None, node: Node | None = None, user: str | None = None
    ) -> None:
        self._folder = folder
        self._forced = forced
        self._prefix: Sequence[str] = node.prefix if node else ()
        self._host = node.address if node else "127.0.0.1"
        self._user = user or getpass.getuser()
        # Read as the user who is to be let in, who may not look into our folders.
        self._authorized = node.folder / "run" / "authorized" if node else folder / "authorized"
        self._authorized_there = Path("/run/authorized") if node else self._authorized
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 22 if node else 0

    def __enter__(self) -> LabSshd:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(self._folder / "host")
        self.identity = make_key(self._folder / "identity")
        self.let_in(self.identity)
        if not self.port:
            with socket.socket() as free:
                free.bind((self._host, 0))
                self.port = free.getsockname()[1]
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> SshAddress:
        """How to reach it."""
        host_key = " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])
        return SshAddress(self._user, self._host, self.port, host_key=host_key, identity=self.identity)

    def let_in(self, identity: Path) -> None:
        """Let the holder of that key in, and nobody else."""
        options = "restrict" + (f',command="{self._forced}"' if self._forced else "")
        self.identity = identity
        self._authorized.write_text(f"{options} {identity.with_suffix('.pub').read_text()}")

    def start(self) -> None:
        """Start it and wait until it listens."""
        settings = {
            "ListenAddress": f"{self._host}:{self.port}",
            "HostKey": self.host_key,
            "AuthorizedKeysFile": self._authorized_there,
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
        }
        file, log = self._folder / "sshd_config", self._folder / "log"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        said_before = log.read_bytes().count(LISTENS) if log.exists() else 0
        start = f"mkdir -p -m 755 /run/sshd && exec {SSHD} -D -e -f {file}"
        with log.open("ab") as sink:
            self._process = subprocess.Popen([*self._prefix, "sh", "-c", start], stdout=sink, stderr=sink)
        wait_until("sshd to listen", lambda: log.read_bytes().count(LISTENS) > said_before)

    def stop(self) -> None:
        """End it, and the connections it serves."""
        if self._process is not None:
            self.cut()
            _kill(self._listener())
            self._process.wait()
            self._process = None

    def cut(self) -> int:
        """End every connection it serves as a lost route would, and say how many; what they started runs on."""
        sessions = list(_sshd_below(self._listener()))
        for pid in sessions:
            _kill(pid)
        return len(sessions)

    def _listener(self) -> int:
        """Return its process; what brings us into a node's processes waits for it there."""
        if self._process is None:
            raise RuntimeError("sshd: not started")
        return _children(self._process.pid)[0] if self._prefix else self._process.pid


def _sshd_below(pid: int) -> Iterator[int]:
    """Return the sessions of a server: sshd itself, and under another user one more."""
    for child in _children(pid):
        with suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == "sshd\n":
                yield child
                yield from _sshd_below(child)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
