"""A real sshd on loopback, with keys of its own; ended by its process id."""

from __future__ import annotations

import getpass
import socket
import subprocess
from pathlib import Path

from teraferry.installer.adapters.transport.ssh import SshAddress
from tests.lab.nodes import wait_until

SSHD = "/usr/sbin/sshd"


def make_key(path: Path) -> Path:
    """Make an Ed25519 key pair; return the private half's path."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60)
    return path


class LabSshd:
    """One sshd that lets one key in as this user. Use as a context.

    Args:
        folder: Holds its keys and its log.
        forced: A command that the server runs around every other, which is in $SSH_ORIGINAL_COMMAND.
    """

    def __init__(self, folder: Path, *, forced: str | None = None) -> None:
        self._folder = folder
        self._forced = forced
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> LabSshd:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(self._folder / "host")
        self.identity = make_key(self._folder / "identity")
        options = "restrict" + (f',command="{self._forced}"' if self._forced else "")
        public = self.identity.with_suffix(".pub").read_text()
        (self._folder / "authorized").write_text(f"{options} {public}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> SshAddress:
        """How to reach it."""
        host_key = " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])
        return SshAddress(getpass.getuser(), "127.0.0.1", self.port, host_key=host_key, identity=self.identity)

    def start(self) -> None:
        """Start it and wait until it answers."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        settings = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": self.host_key,
            "AuthorizedKeysFile": self._folder / "authorized",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
        }
        file = self._folder / "sshd_config"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(file)], stdout=log, stderr=log)
        wait_until("sshd to listen", self._listens)

    def stop(self) -> None:
        """End it, and the connections it serves."""
        if self._process is not None:
            subprocess.run(["pkill", "-KILL", "-P", str(self._process.pid)], check=False, timeout=60)
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
