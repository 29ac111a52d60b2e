"""Debian's docker-registry as a real part: own CA, TLS, a password, its own folder, its own pid.

``prefix`` starts it elsewhere, for example in a network namespace (``("ip", "netns", "exec", "site")``);
such a prefix must exec, so that the pid we started is the pid we end. Readiness is read from the
registry's own log, because a test process outside the namespace could not connect to it.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_START_SECONDS = 15
_USER = "loader"


@dataclass(frozen=True)
class Authority:
    """A certificate authority made for one test."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path


def make_authority(name: str = "Lab CA") -> Authority:
    """Return a fresh authority, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def write_server_certificate(
    authority: Authority, folder: Path, *, hosts: Sequence[str], valid_days: int = 1
) -> tuple[Path, Path]:
    """Write ``server.pem`` and ``server.key`` for ``hosts``; negative ``valid_days``: expired since then."""
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab registry")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=20))
        .not_valid_after(now + timedelta(days=valid_days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    certificate_path, key_path = folder / "server.pem", folder / "server.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_path.chmod(0o600)
    return certificate_path, key_path


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on right now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class LabRegistry:
    """One docker-registry. Use as a context manager, or ``start`` and ``stop``."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 0  # 0: a free one of this process's namespace
    tls: bool = True
    with_password: bool = True
    read_only: bool = False
    prefix: Sequence[str] = ()
    certificate_hosts: Sequence[str] = ()  # () = host, localhost
    certificate_days: int = 1
    storage: Path | None = None  # default: folder/storage
    user: str = _USER
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.storage = self.storage or self.folder / "storage"
        self.port = self.port or free_port(self.host)
        self.password_file = self.folder / "registry.password"
        self.password_file.write_text(self.password + "\n")
        self.password_file.chmod(0o600)
        self.ca_file = self.folder / "ca.pem"
        self.log = self.folder / "registry.log"
        if self.tls:
            authority = make_authority()
            authority.write(self.ca_file)
            hosts = self.certificate_hosts or (self.host, "localhost")
            write_server_certificate(authority, self.folder, hosts=hosts, valid_days=self.certificate_days)
        if self.with_password:
            self._write_htpasswd()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def blob_file(self, digest: str) -> Path:
        """Return where the registry keeps a blob's bytes (distribution's file system driver)."""
        digits = digest.removeprefix("sha256:")
        assert self.storage is not None
        return self.storage / "docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"

    def open_uploads(self) -> list[Path]:
        """Return the unfinished uploads that lie on the registry's disk."""
        assert self.storage is not None
        return sorted(self.storage.glob("docker/registry/v2/repositories/**/_uploads/*/data"))

    def start(self) -> None:
        config = self.folder / "config.yml"
        config.write_text(self._config())
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self.prefix, "docker-registry", "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OTEL_TRACES_EXPORTER": "none"},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while b"listening on" not in self.log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"docker-registry did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        self._end(kill=False)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill() if kill else process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _write_htpasswd(self) -> None:
        done = subprocess.run(
            ["htpasswd", "-niBC", "4", self.user], input=self.password.encode(), capture_output=True, check=True
        )
        (self.folder / "htpasswd").write_bytes(done.stdout.strip() + b"\n")

    def _config(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            "version: 0.1",
            "log: {level: info, accesslog: {disabled: true}}",
            "storage:",
            "  cache: {blobdescriptor: inmemory}",
            f"  filesystem: {{rootdirectory: {self.storage}}}",
            "  delete: {enabled: true}",
            f"  maintenance: {{readonly: {{enabled: {str(self.read_only).lower()}}}}}",
            "http:",
            f"  addr: '{host}:{self.port}'",
            f"  secret: {secrets.token_hex(16)}",
        ]
        if self.tls:
            lines += ["  tls:", f"    certificate: {self.folder}/server.pem", f"    key: {self.folder}/server.key"]
        if self.with_password:
            lines += ["auth:", f"  htpasswd: {{realm: lab, path: {self.folder}/htpasswd}}"]
        return "\n".join(lines) + "\n"

    def __enter__(self) -> LabRegistry:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def tiny_disk(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """Mount a tmpfs of ``size_bytes`` on ``folder`` and unmount it afterwards."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "lab-tiny", str(folder)], check=True)
    try:
        yield folder
    finally:
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", str(folder)], check=True)
