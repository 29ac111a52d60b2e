"""The certificates, keys and the password of the kit's registry, made once and kept.

In which order they are made is what makes a pulled plug harmless: a key before the certificate that needs it, and
each file whole or not there. A key that is found is used, never replaced; a certificate is made anew from
the same key, so that one file changes. A CA of the site's own is as good: then certificate and key
come from there, and nothing of them is made here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import bcrypt

from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.durable import create_durably, make_folder_durably, partial_of, write_durably
from teraferry.installer.adapters.registry.kit_files import (
    not_written,
    read_private,
    read_public,
    require_own_way,
    unusable,
)
from teraferry.installer.adapters.registry.settings import RegistrySettings, load_credentials
from teraferry.installer.kit_registry import certificates
from teraferry.installer.kit_registry.certificates import Period, UnfitCertificateError
from teraferry.installer.kit_registry.documents import AUTHORITY_KEY_NAME, CERTIFICATE_NAME, KEY_NAME, PASSWORDS_NAME
from teraferry.installer.kit_registry.ports import Fingerprints

PASSWORD_BYTES: Final = 24
"""192 random bits: nobody guesses them, and 32 letters and digits can be typed once."""

BCRYPT_ROUNDS: Final = 4
"""The registry computes it for every request: with 10 in place of 4 docker-registry 2.8.2 took 30 times as long for
each. More slow down a guesser of short passwords who stole this file; whoever can read it can read the
password beside it."""

BCRYPT_MAX_BYTES: Final = 72
"""What lies behind is not compared: bcrypt's own limit."""


@dataclass(frozen=True, slots=True)
class IdentityTerms:
    """What the identity is for."""

    host: str  # whom the certificate names
    site: str  # whose CA it is
    period: Period
    until: datetime  # certificates that end before are renewed: the next visit


class KitIdentity:
    """``Identity`` in files of this machine.

    Args:
        settings: The site's ``[registry]``: where CA and password are, and the user.
        folder: Where everything else is.
        terms: What it is for.
    """

    def __init__(self, settings: RegistrySettings, folder: Path, terms: IdentityTerms) -> None:
        if settings.ca is None or settings.password_file is None:
            raise ValueError("a registry without TLS or password is not ours to set up")
        self._settings = settings
        self._authority, self._password = settings.ca, settings.password_file
        self._authority_key = folder / AUTHORITY_KEY_NAME
        self._certificate, self._key = folder / CERTIFICATE_NAME, folder / KEY_NAME
        self._passwords = folder / PASSWORDS_NAME
        self._terms = terms

    def due(self) -> tuple[str, ...]:
        """Return what is to be made, in words; see ``kit_registry.ports.Identity``."""
        for folder in (self._authority.parent, self._password.parent, self._passwords.parent):
            require_own_way(folder)
        due = [f"a password, {self._password}"] if read_private_password(self._settings) is None else []
        if not self._is_of_site():
            due += self._due_authority()
            if why := self._why_certificate():
                due.append(f"the registry's certificate, {self._certificate} ({why})")
        if not self._password_is_listed():
            due.append(f"what the registry compares passwords with, {self._passwords}")
        return tuple(due)

    def make(self) -> None:
        """Make what is due, keys first; see ``kit_registry.ports.Identity``."""
        if not self.due():
            return
        try:
            self._make()
        except FileExistsError as error:
            raise not_written("somebody else wrote a file of the registry just now", error) from error
        except OSError as error:
            raise not_written("certificate and password of the registry", error) from error

    def fingerprints(self) -> Fingerprints:
        """Return which certificates there are."""
        with _told(self._authority):
            authority = certificates.fingerprint_of(read_public(self._authority) or b"")
        with _told(self._certificate):
            return Fingerprints(authority, certificates.fingerprint_of(read_public(self._certificate) or b""))

    def ends(self) -> tuple[datetime, datetime]:
        """Return when the CA and the registry's certificate end, once nothing is due."""
        with _told(self._authority):
            authority = certificates.end_of(read_public(self._authority) or b"")
        with _told(self._certificate):
            return authority, certificates.end_of(read_public(self._certificate) or b"")

    def _make(self) -> None:
        terms = self._terms
        for path in (self._authority, self._password):
            make_folder_durably(path.parent)
        self._forget_torn()
        if read_private_password(self._settings) is None:
            create_durably(self._password, secrets.token_urlsafe(PASSWORD_BYTES).encode() + b"\n", mode=0o600)
        if not self._is_of_site():
            key = self._kept_key(self._authority_key)
            if read_public(self._authority) is None:
                made = certificates.make_authority(key, host=terms.host, site=terms.site, period=terms.period)
                create_durably(self._authority, made)
            server_key = self._kept_key(self._key)
            if self._why_certificate():
                made = certificates.make_server_certificate(
                    server_key,
                    authority_pem=read_public(self._authority) or b"",
                    authority_key_pem=key,
                    host=terms.host,
                    period=terms.period,
                )
                write_durably(self._certificate, made)
        if not self._password_is_listed():
            write_durably(self._passwords, self._password_line(), mode=0o600)

    def _is_of_site(self) -> bool:
        """Tell whether the site brought a CA of its own: its certificate is here, its key is not.

        Raises:
            UsageError: ``registry-certificate-missing``, 2: then the registry's own pair must be here too.
        """
        if read_public(self._authority) is None or read_private(self._authority_key) is not None:
            return False
        if read_private(self._key) is None or read_public(self._certificate) is None:
            raise UsageError(
                "registry-certificate-missing",
                f"registry CA {self._authority}: its key is not here, and no certificate that it signed, expected "
                f"{self._certificate} and {self._key}",
                hint=f"Have that CA sign one for {self._terms.host} and put both there. Or name a file in `ca` that is "
                "not there yet: the installer makes a CA of its own.",
                facts={"path": str(self._authority)},
            )
        return True

    def _due_authority(self) -> list[str]:
        """Return what is to be made of the CA, which is ours.

        Raises:
            UsageError: ``registry-certificate-unusable`` or ``registry-ca-other-name``, 2.
        """
        authority, key = read_public(self._authority), read_private(self._authority_key)
        if authority is None or key is None:
            return [f"a CA for {self._terms.host} alone, {self._authority}"]
        with _told(self._authority):
            certificates.require_authority(authority, key)
            if certificates.speaks_for(authority, self._terms.host):
                return []
        raise UsageError(
            "registry-ca-other-name",
            f"registry CA {self._authority}: made for another name, expected {self._terms.host} as url says",
            hint="Write the old name into url. For a new one name another, new file in `ca` and another folder in "
            "`settings`, and give the new CA to every node.",
            facts={"path": str(self._authority), "expected": self._terms.host},
        )

    def _why_certificate(self) -> str:
        """Return why the server's certificate is to be made; "" when it stands."""
        certificate, key = read_public(self._certificate), read_private(self._key)
        authority = read_public(self._authority)
        if certificate is None or key is None or authority is None:
            return "there is none"
        with _told(self._certificate):
            return certificates.why_to_renew(
                certificate, key, authority_pem=authority, host=self._terms.host, until=self._terms.until
            )

    def _kept_key(self, path: Path) -> bytes:
        if (kept := read_private(path)) is not None:
            return kept
        made = certificates.make_private_key()
        create_durably(path, made, mode=0o600)
        return made

    def _password_is_listed(self) -> bool:
        password, listed = read_private_password(self._settings), read_private(self._passwords)
        if password is None or listed is None:
            return False
        user, _, known = listed.strip().partition(b":")
        try:
            return user == self._settings.user.encode() and bcrypt.checkpw(password.encode(), known)
        except ValueError:
            return False  # no such line: it is made from the password, and holds nothing else

    def _password_line(self) -> bytes:
        password = read_private_password(self._settings) or ""
        return (
            self._settings.user.encode()
            + b":"
            + bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS))
            + b"\n"
        )

    def _forget_torn(self) -> None:
        """Remove what a killed installer left half written: a key in it was never used."""
        for path in (
            self._authority,
            self._password,
            self._authority_key,
            self._certificate,
            self._key,
            self._passwords,
        ):
            for torn in path.parent.glob(partial_of(path, "*").name):
                torn.unlink(missing_ok=True)


def read_private_password(settings: RegistrySettings) -> str | None:
    """Return the password; None when its file is not there.

    Raises:
        UsageError: ``registry-password-file``, 2.
    """
    if settings.password_file is None or not (settings.password_file.exists() or settings.password_file.is_symlink()):
        return None
    credentials = load_credentials(settings)
    password = "" if credentials is None else credentials.password
    if len(password.encode()) > BCRYPT_MAX_BYTES:
        raise UsageError(
            "registry-password-file",
            f"registry password file {settings.password_file}: longer than {BCRYPT_MAX_BYTES} bytes, expected what "
            "a registry compares to its end",
            hint="Choose a shorter password; 32 random letters are more than enough.",
            facts={"path": str(settings.password_file)},
        )
    return password


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except UnfitCertificateError as found:
        raise unusable(path, found) from None
