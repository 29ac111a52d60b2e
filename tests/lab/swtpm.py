"""A software TPM 2.0 on a lab node, with keys as a site would have made them.

``swtpm`` listens on the node's own loopback. Stopping and starting it on the same state is a reboot.
"""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.nodes import Node, wait_until

PORT: Final = 2321  # the control port must be the next one
TCTI: Final = f"swtpm:host=127.0.0.1,port={PORT}"
PARENT, SIGNING, SEALED, TWIN, COUNTING = 0x81010000, 0x81010001, 0x81010002, 0x81010003, 0x81010004
COUNTER = 0x01500001
NODA = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda"
COUNTED = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"  # a wrong login counts


@dataclass
class LabTpm:
    """A TPM on ``node``; its state and the site's authorization file lie in ``folder``."""

    node: Node
    folder: Path

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.state = self.folder / "state"
        self.auth = self.folder / "auth"
        self.auth_value = secrets.token_hex(12)
        self.secret = secrets.token_bytes(32)

    def create(self) -> LabTpm:
        """Make the state folder, start, and make a storage key."""
        self.state.mkdir(parents=True)
        self.auth.write_text(self.auth_value)
        self.start()
        self._make_parent()
        return self

    def start(self) -> None:
        """Start it on its state, as a boot does."""
        argv = [
            "swtpm",
            "socket",
            "--tpm2",
            "--tpmstate",
            f"dir={self.state}",
            "--flags",
            "not-need-init,startup-clear",
        ]
        argv += ["--server", f"type=tcp,port={PORT}", "--ctrl", f"type=tcp,port={PORT + 1}"]
        self._process = self.node.start(argv, output=self.folder / "swtpm.log")
        wait_until("swtpm", lambda: bool(self.properties()), every_seconds=0.02)

    def stop(self, *, orderly: bool = True) -> None:
        """End it; not ``orderly`` is a pulled plug."""
        if orderly:
            self.tool("tpm2_shutdown", "-c")
        if self._process is not None:
            # Only what enters the node is our child; its own child is the TPM.
            self.node.sh('for p in /proc/[0-9]*; do [ "$(cat $p/comm)" = swtpm ] && kill -KILL ${p#/proc/}; done; true')
            self._process.wait()
        self._process = None

    def reboot(self, *, orderly: bool = True) -> None:
        """Stop and start it on the same state."""
        self.stop(orderly=orderly)
        self.start()

    def wipe(self) -> None:
        """Replace it by one that has nothing, as a node from a blank image has."""
        self.stop()
        for file in self.state.iterdir():
            file.unlink()
        self.start()
        self._make_parent()

    def add_signing_key(
        self, handle: int = SIGNING, *, kind: str = "ecc256:ecdsa-sha256", attributes: str = NODA
    ) -> None:
        """Make a signing key at ``handle``."""
        self._create(handle, "-G", kind, "-a", attributes)

    def add_sealed_secret(self, handle: int = SEALED) -> None:
        """Seal ``self.secret``, to be opened by policy only."""
        (self.folder / "secret").write_bytes(self.secret)
        self.tool("tpm2_startauthsession", "-S", self.path("session"))
        self.tool("tpm2_policyauthvalue", "-Q", "-S", self.path("session"), "-L", self.path("policy"))
        self.tool("tpm2_flushcontext", self.path("session"))
        sealed = ["-i", self.path("secret"), "-a", "fixedtpm|fixedparent", "-L", self.path("policy")]
        self._create(handle, *sealed)
        (self.folder / "secret").unlink()
        for part in ("pub", "priv"):
            # What a site keeps of a sealed key: wrapped by the TPM, of no use without it.
            (self.folder / f"sealed.{part}").write_bytes((self.folder / f"k.{part}").read_bytes())

    def bring_back(self, public: bytes, private: bytes, handle: int = SEALED) -> None:
        """Load a key from copies of its wrapped blobs and make it persistent again."""
        (self.folder / "k.pub").write_bytes(public)
        (self.folder / "k.priv").write_bytes(private)
        self._load(handle)

    def add_twin(self, handle: int = TWIN, *, secret: bytes | None = None) -> None:
        """Import the secret as an HMAC key."""
        (self.folder / "secret").write_bytes(self.secret if secret is None else secret)
        files = ["-u", self.path("k.pub"), "-r", self.path("k.priv"), "-p", f"file:{self.auth}"]
        kind = ["-G", "hmac", "-a", "userwithauth|sign|noda", "-i", self.path("secret")]
        self.tool("tpm2_import", "-Q", "-C", hex(PARENT), *kind, *files)
        self.tool("tpm2_flushcontext", "-t")
        self._load(handle)
        (self.folder / "secret").unlink()

    def add_counter(self) -> None:
        """Define the counter; it cannot be read before it was incremented."""
        attributes = "ownerread|authread|ownerwrite|nt=counter|no_da"
        self.tool("tpm2_nvdefine", "-Q", hex(COUNTER), "-C", "o", "-a", attributes)

    def increment(self) -> None:
        """Count one more."""
        self.tool("tpm2_nvincrement", "-Q", "-C", "o", hex(COUNTER))

    def remove_counter(self) -> None:
        """Take the counter out."""
        self.tool("tpm2_nvundefine", "-Q", "-C", "o", hex(COUNTER))

    def evict(self, handle: int) -> None:
        """Take a key out of the TPM: it is lost."""
        self.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", hex(handle))

    def evict_all(self) -> None:
        """Take every key but the storage key out."""
        for line in self.tool("tpm2_getcap", "handles-persistent").decode().split():
            if line.startswith("0x") and int(line, 16) != PARENT:
                self.evict(int(line, 16))

    def fail_login(self, handle: int = COUNTING) -> None:
        """Try a wrong authorization value."""
        argv = ["tpm2_sign", "-Q", "-T", TCTI, "-c", hex(handle), "-p", "wrong", "-f", "plain", "-o", "/dev/null"]
        self.node.run(*argv, stdin=b"x", check=False)

    def properties(self) -> dict[str, int]:
        """Return the TPM's variable properties; empty while it does not answer."""
        done = self.node.run("tpm2_getcap", "-T", TCTI, "properties-variable", check=False)
        rows = (line.split(":") for line in done.stdout.decode().splitlines() if ": " in line)
        return {name.strip(): int(value, 0) for name, value in rows} if done.returncode == 0 else {}

    def path(self, name: str) -> str:
        """Return the path of a file in its folder."""
        return str(self.folder / name)

    def tool(self, *argv: str) -> bytes:
        """Run one of tpm2-tools on the node."""
        return self.node.run(argv[0], "-T", TCTI, *argv[1:]).stdout

    def _make_parent(self) -> None:
        self.tool("tpm2_createprimary", "-Q", "-C", "o", "-c", self.path("parent.ctx"))
        self._persist("parent.ctx", PARENT)

    def _create(self, handle: int, *arguments: str) -> None:
        files = ["-u", self.path("k.pub"), "-r", self.path("k.priv"), "-p", f"file:{self.auth}"]
        self.tool("tpm2_create", "-Q", "-C", hex(PARENT), *arguments, *files)
        self.tool("tpm2_flushcontext", "-t")
        self._load(handle)

    def _load(self, handle: int) -> None:
        files = ["-u", self.path("k.pub"), "-r", self.path("k.priv"), "-c", self.path("k.ctx")]
        self.tool("tpm2_load", "-Q", "-C", hex(PARENT), *files)
        self._persist("k.ctx", handle)

    def _persist(self, context: str, handle: int) -> None:
        self.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", self.path(context), hex(handle))
        self.tool("tpm2_flushcontext", "-t")
