"""The registry's certificate, and the authority that signs it and nothing else. Pure: bytes in, bytes out.

A site without a registry has no CA either. One is made for this registry alone: it is constrained to the
registry's name, so that whoever steals its key from this machine can speak for no other host, even
where an admin has every machine trust it.

Source: RFC 5280, 4.2.1.10 (a constraint on one kind of name leaves the others free, so both kinds have one).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from teraferry.installer.site.addresses import is_address

AUTHORITY_DAYS: Final = 20 * 365
"""Longer than a machine lives: every node has it, and each would have to be visited to change it."""

SERVER_DAYS: Final = 11 * 365
"""More than the ten years that a site may leave between two visits, so that a new one always lasts to the next. It is
renewed by any install that comes less than a visit before its end; nobody but this machine notices."""

_SLACK: Final = timedelta(days=1)
"""Clocks of nodes that are behind ours must not take a new certificate for one of tomorrow."""

_NO_NAME: Final = "invalid"
"""No host ever has a name below it: RFC 2606, section 2."""

_NO_ADDRESS: Final = ipaddress.ip_network("0.0.0.0/32")
_MAX_COMMON_NAME: Final = 64  # RFC 5280, appendix A: ub-common-name


class UnfitCertificateError(Exception):
    """What is there cannot be used; its text says what was found."""


@dataclass(frozen=True, slots=True)
class Period:
    """From when on a certificate is made valid, and up to when."""

    clock: datetime  # of this machine, which may lie
    known_past: datetime  # the latest time that is proven to be past

    def span(self, days: int) -> tuple[datetime, datetime]:
        """Return both ends. A clock that is behind must neither reject it now nor have it end too early."""
        return min(self.clock, self.known_past) - _SLACK, max(self.clock, self.known_past) + timedelta(days=days)


def make_private_key() -> bytes:
    """Return a new P-256 key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_authority(key_pem: bytes, *, host: str, site: str, period: Period) -> bytes:
    """Return the certificate of a CA with that key, in PEM: for ``host`` and no other.

    Raises:
        UnfitCertificateError: There is no such key in ``key_pem``.
    """
    key = _parse_key(key_pem)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"registry CA of {site}"[:_MAX_COMMON_NAME])])
    permitted: list[x509.GeneralName]
    if is_address(host):
        permitted = [x509.IPAddress(ipaddress.ip_network(host)), x509.DNSName(_NO_NAME)]
    else:
        permitted = [x509.DNSName(host), x509.IPAddress(_NO_ADDRESS)]
    builder = (
        _builder(key.public_key(), subject=name, issuer=name, span=period.span(AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, excluded_subtrees=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def make_server_certificate(
    server_key_pem: bytes, *, authority_pem: bytes, authority_key_pem: bytes, host: str, period: Period
) -> bytes:
    """Return a certificate of ``host`` for the server's key, in PEM; never valid longer than the authority.

    Raises:
        UnfitCertificateError: Key or authority cannot be read, or do not belong together.
    """
    authority, authority_key = _parse(authority_pem), _parse_key(authority_key_pem)
    require_authority(authority_pem, authority_key_pem)
    server_key = _parse_key(server_key_pem)
    start, end = period.span(SERVER_DAYS)
    # Words, no host: OpenSSL holds a common name that looks like one against the constraints on names.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local image registry")])
    alternative: x509.GeneralName = (
        x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
    )
    span = start, min(end, authority.not_valid_after_utc)
    builder = (
        _builder(server_key.public_key(), subject=name, issuer=authority.subject, span=span)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(server_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    return builder.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def require_authority(authority_pem: bytes, authority_key_pem: bytes) -> None:
    """Check that the key is the authority's.

    Raises:
        UnfitCertificateError: It is not, or one of them cannot be read.
    """
    if _public_bytes(_parse(authority_pem).public_key()) != _public_bytes(_parse_key(authority_key_pem).public_key()):
        raise UnfitCertificateError("the CA's certificate is of another key")


def speaks_for(authority_pem: bytes, host: str) -> bool:
    """Tell whether an authority of ours may sign for ``host``; one without constraints may sign for anybody.

    Raises:
        UnfitCertificateError: It cannot be read.
    """
    try:
        constraints = _parse(authority_pem).extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return True
    permitted = [_text(name) for name in constraints.permitted_subtrees or ()]
    return (str(ipaddress.ip_network(host)) if is_address(host) else host.lower()) in permitted


def why_to_renew(server_pem: bytes, server_key_pem: bytes, *, authority_pem: bytes, host: str, until: datetime) -> str:
    """Return why the server's certificate must be made anew; "" when it need not.

    Args:
        server_pem: The certificate there is, in PEM.
        server_key_pem: The key it is to be of.
        authority_pem: Who is to have signed it.
        host: Whom it is to name.
        until: It is to be valid then: the next visit.

    Raises:
        UnfitCertificateError: One of them cannot be read.
    """
    server, authority = _parse(server_pem), _parse(authority_pem)
    if _public_bytes(server.public_key()) != _public_bytes(_parse_key(server_key_pem).public_key()):
        return "it is of another key"
    try:
        server.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return "the CA has another key now"
    try:
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "it names no host"
    if host.lower() not in [_text(name) for name in names]:
        return f"it does not name {host}"
    # What ends with its authority cannot be renewed beyond it.
    if server.not_valid_after_utc < min(until, authority.not_valid_after_utc):
        return f"it ends on {server.not_valid_after_utc:%Y-%m-%d}"
    return ""


def end_of(certificate_pem: bytes) -> datetime:
    """Return when a certificate ends.

    Raises:
        UnfitCertificateError: It cannot be read.
    """
    return _parse(certificate_pem).not_valid_after_utc


def fingerprint_of(certificate_pem: bytes) -> str:
    """Return the SHA-256 of the first certificate of ``certificate_pem``, as a digest.

    Raises:
        UnfitCertificateError: It cannot be read.
    """
    return "sha256:" + _parse(certificate_pem).fingerprint(hashes.SHA256()).hex()


def _builder(
    public: ec.EllipticCurvePublicKey, *, subject: x509.Name, issuer: x509.Name, span: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(span[0])
        .not_valid_after(span[1])
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _text(name: x509.GeneralName) -> str:
    return str(name.value).lower()


def _parse(certificate_pem: bytes) -> x509.Certificate:
    try:
        # The first one: a certificate from elsewhere may stand before those that lead to its CA.
        return x509.load_pem_x509_certificates(certificate_pem)[0]
    except (ValueError, IndexError):
        raise UnfitCertificateError("no certificate in PEM") from None


def _parse_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        # Without the cause: whatever a library says of bytes it could not read may quote them.
        raise UnfitCertificateError("no private key in PEM without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UnfitCertificateError("a private key of another kind than EC")
    return key


def _public_bytes(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
