"""Real PKCS#11 tokens by SoftHSM2, in a folder of their own: for the suite and for the demo.

Root, release and desk keys live on tokens of their own labels in one token folder, since
SoftHSM reads one configuration a process. Nothing outside ``folder`` is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from teraferry.bundles.system.process import run

MODULE_PATHS = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
)
SO_PIN = "87654321"
_PIN = "TERAFERRY_LAB_PIN"

KEY_TYPES = {
    "p256": "EC:prime256v1",
    "p384": "EC:secp384r1",
    "rsa": "rsa:3072",
    "ed25519": "EC:edwards25519",
}


@dataclass(frozen=True, slots=True)
class LabKey:
    """A key on a lab token; its PIN lies in a file, as an unattended signer would have it."""

    token: str
    name: str
    uri: str  # with pin-source
    uri_without_pin: str
    pin: str


class SoftHsm:
    """A token folder. Give ``environment`` to every process that is to see the tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = folder / "tokens"
        self.configuration = folder / "softhsm2.conf"
        self.module = next(path for path in MODULE_PATHS if Path(path).exists())

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find the tokens."""
        return {"SOFTHSM2_CONF": str(self.configuration)}

    def create(self) -> SoftHsm:
        """Make the folder and the configuration."""
        self.tokens.mkdir(parents=True, mode=0o700)
        self.configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        return self

    def add_token(self, label: str, *, pin: str = "123456") -> None:
        """Initialise one token; its PIN goes to ``<label>.pin``."""
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", pin)
        pin_file = self.folder / f"{label}.pin"
        pin_file.write_text(f"{pin}\n")
        pin_file.chmod(0o600)

    def add_key(self, token: str, name: str, kind: str = "p256", *, key_id: str = "01") -> LabKey:
        """Generate a key on the token; ``kind`` is one of ``KEY_TYPES``."""
        make = ("--keypairgen", "--key-type", KEY_TYPES[kind], "--label", name, "--id", key_id, "--usage-sign")
        self.tool(token, *make)
        return self.key(token, name)

    def key(self, token: str, name: str) -> LabKey:
        """Return how to name a key that was made before."""
        pin_file = self.folder / f"{token}.pin"
        bare = f"pkcs11:token={token};object={name}?module-path={self.module}"
        return LabKey(token, name, f"{bare}&pin-source=file:{pin_file}", bare, pin_file.read_text().strip())

    def pin(self, token: str) -> str:
        """Return the token's PIN."""
        return (self.folder / f"{token}.pin").read_text().strip()

    def token_with_key(self, label: str, kind: str = "p256", *, pin: str = "123456") -> LabKey:
        """Initialise a token and generate its one key, of the same name."""
        self.add_token(label, pin=pin)
        return self.add_key(label, label, kind)

    def tool(self, token: str, *arguments: str) -> None:
        """Run pkcs11-tool on the token, logged in."""
        pin = self.pin(token)
        login = ("pkcs11-tool", "--module", self.module, "--token-label", token, "--login", "--pin", f"env:{_PIN}")
        self._run(*login, *arguments, environment={_PIN: pin})

    def _run(self, *argv: str, environment: dict[str, str] | None = None) -> None:
        done = run(argv, timeout_seconds=60, environment={**self.environment, **(environment or {})})
        if done.status != 0:
            raise RuntimeError(f"{argv[0]}: {done.stderr.decode(errors='replace')}")
