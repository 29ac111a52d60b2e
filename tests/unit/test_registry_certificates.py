"""The CA that is made for one registry: who believes it, and for whom it can speak. Judged by openssl, not by us."""

from __future__ import annotations

import ipaddress
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from teraferry.installer.kit_registry.certificates import (
    AUTHORITY_DAYS,
    Period,
    UnfitCertificateError,
    end_of,
    make_authority,
    make_private_key,
    make_server_certificate,
    require_authority,
    speaks_for,
    why_to_renew,
)

NOW = datetime.now(UTC)
PERIOD = Period(NOW, NOW)
HOSTS = ("registry.site.local", "10.0.0.5", "fd00::5")


class Pair:
    """A CA for ``host`` and a certificate of it."""

    def __init__(self, host: str, period: Period = PERIOD) -> None:
        self.host = host
        self.authority_key, self.key = make_private_key(), make_private_key()
        self.authority = make_authority(self.authority_key, host=host, site="hanoi-dc1", period=period)
        self.certificate = self.sign(period)

    def sign(self, period: Period) -> bytes:
        return make_server_certificate(
            self.key,
            authority_pem=self.authority,
            authority_key_pem=self.authority_key,
            host=self.host,
            period=period,
        )

    def sign_other(self, name: x509.GeneralName) -> bytes:
        """Return what a thief of the CA's key would sign."""
        now, issuer = datetime.now(UTC), x509.load_pem_x509_certificate(self.authority)
        key, own = load_pem_private_key(self.authority_key, None), load_pem_private_key(self.key, None)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "thief")]))
            .issuer_name(issuer.subject)
            .public_key(own.public_key())  # type: ignore[arg-type]
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        )
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]

    def why(self, **changed: object) -> str:
        arguments: dict[str, object] = {
            "server_pem": self.certificate,
            "server_key_pem": self.key,
            "authority_pem": self.authority,
            "host": self.host,
            "until": NOW + timedelta(days=183),
        }
        return why_to_renew(**{**arguments, **changed})  # type: ignore[arg-type]


def openssl_verify(folder: Path, pair: Pair, certificate: bytes, *names: str) -> str:
    (folder / "ca.pem").write_bytes(pair.authority)
    (folder / "leaf.pem").write_bytes(certificate)
    argv = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *names, "-CAfile", "ca.pem", "leaf.pem"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("host", HOSTS)
def test_certificate_is_believed_for_its_own_name_and_no_other(host: str, tmp_path: Path) -> None:
    pair = Pair(host)
    option, other = ("-verify_hostname", "other.site.local") if "local" in host else ("-verify_ip", "10.9.9.9")

    assert "leaf.pem: OK" in openssl_verify(tmp_path, pair, pair.certificate, option, host)
    assert "mismatch" in openssl_verify(tmp_path, pair, pair.certificate, option, other)


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("mail.site.local"),
        x509.DNSName("site.local"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.6")),
        x509.IPAddress(ipaddress.ip_address("fd00::6")),
    ],
    ids=lambda name: str(name.value),
)
@pytest.mark.parametrize("host", HOSTS)
def test_stolen_ca_speaks_for_no_other_host(host: str, name: x509.GeneralName, tmp_path: Path) -> None:
    pair = Pair(host)

    assert "permitted subtree violation" in openssl_verify(tmp_path, pair, pair.sign_other(name))


def test_clock_that_is_behind_makes_certificates_that_last_as_long() -> None:
    stopped = Period(clock=datetime(1999, 1, 1, tzinfo=UTC), known_past=NOW)
    pair = Pair("registry.site.local", stopped)

    assert end_of(pair.authority) > NOW + timedelta(days=AUTHORITY_DAYS - 1)
    for content in (pair.authority, pair.certificate):
        assert x509.load_pem_x509_certificate(content).not_valid_before_utc < stopped.clock


@pytest.mark.parametrize("host", HOSTS)
def test_certificate_stands_until_the_next_visit(host: str) -> None:
    pair = Pair(host)
    last = end_of(pair.certificate)

    assert pair.why() == ""
    assert pair.why(until=last) == ""
    assert pair.why(until=last + timedelta(seconds=1)) == f"it ends on {last:%Y-%m-%d}"


def test_certificate_that_ends_with_its_ca_is_not_renewed_for_ever() -> None:
    pair = Pair("registry.site.local")
    late = end_of(pair.authority) - timedelta(days=10)
    pair.certificate = pair.sign(Period(late, late))

    assert end_of(pair.certificate) == end_of(pair.authority)
    assert pair.why(until=late + timedelta(days=183)) == ""


def test_certificate_is_made_anew_for_another_key_another_ca_and_another_name() -> None:
    pair, other = Pair("registry.site.local"), Pair("registry.site.local")

    assert pair.why(server_key_pem=other.key) == "it is of another key"
    assert pair.why(authority_pem=other.authority) == "the CA has another key now"
    assert pair.why(host="registry2.site.local") == "it does not name registry2.site.local"


def test_ca_that_is_remade_from_its_key_still_stands_for_what_it_signed() -> None:
    pair = Pair("registry.site.local")
    pair.authority = make_authority(pair.authority_key, host=pair.host, site="hanoi-dc1", period=PERIOD)

    assert pair.why() == ""


def test_ca_is_held_to_its_key_and_knows_for_whom_it_speaks() -> None:
    pair, other = Pair("10.0.0.5"), Pair("10.0.0.5")

    with pytest.raises(UnfitCertificateError):
        require_authority(pair.authority, other.authority_key)
    assert [speaks_for(pair.authority, host) for host in ("10.0.0.5", "10.0.0.6")] == [True, False]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_told_without_a_byte_of_it(content: bytes) -> None:
    with pytest.raises(UnfitCertificateError) as caught:
        make_authority(content, host="10.0.0.5", site="s", period=PERIOD)

    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)
