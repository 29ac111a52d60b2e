"""What this machine must be able to do for the registry that a release brings. One adapter each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from teraferry.bundles.digest import Digest


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What names the certificates that are there; public, so that the journal may say which they were."""

    authority: str
    certificate: str


class Identity(Protocol):
    """By what the registry is known, and who is let in: certificates, keys and a password, in files."""

    def due(self) -> tuple[str, ...]:
        """Return what is to be made, in words; nothing once all is there.

        Raises:
            UsageError: 2; something that is there cannot be used, and is never replaced.
        """

    def make(self) -> None:
        """Make what is due; nothing that is there is replaced but a certificate that must be renewed.

        Raises:
            UsageError: 2. RefusedError: ``registry-not-written``, 44.
        """

    def fingerprints(self) -> Fingerprints:
        """Return which certificates there are, once nothing is due."""


class Places(Protocol):
    """Where the images and the settings lie, and the address that the registry listens on."""

    def require_sound(self, *, was_laid_out: bool) -> None:
        """Check that nobody but root decides what lies there, and that the images are where they were.

        Raises:
            UsageError: ``registry-place-unsafe``, 2. RefusedError: ``registry-data-missing``, 44.
        """

    def require_room(self, blobs: Mapping[Digest, int]) -> None:
        """Check that the blobs that are not there yet fit.

        Raises:
            RefusedError: ``registry-no-room``, 44.
        """

    def require_address(self, *, is_running: bool) -> None:
        """Check that the registry's address is this machine's, and that nobody else listens there.

        Raises:
            RefusedError: ``registry-not-this-machine`` or ``registry-port-taken``, 44.
        """

    def are_laid_out(self) -> bool:
        """Tell whether the folders are there."""

    def lay_out(self) -> None:
        """Make the folders. Idempotent.

        Raises:
            RefusedError: ``registry-not-written``, 44.
        """


class ServiceUnit(Protocol):
    """How the machine starts the registry by itself, after a reboot too."""

    def require_ours(self) -> None:
        """Check that it can be written.

        Raises:
            RefusedError: ``registry-unit-not-ours`` or ``registry-no-systemd``, 44.
        """

    def is_written(self) -> bool:
        """Tell whether it is there as wanted, and enabled."""

    def write(self) -> None:
        """Write and enable it. Idempotent.

        Raises:
            RefusedError: ``registry-unit-not-ours`` or ``registry-not-written``, 44.
        """


class Door(Protocol):
    """The registry as a client meets it."""

    def require_guarded(self) -> None:
        """Check that it shows the certificate there is, lets in whoever has the password, and nobody without.

        Raises:
            RefusedError: 44; ``registry-...``.
        """
