"""The kit as a folder on this machine: where its files are, and what they are now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teraferry.bundles import layout
from teraferry.bundles.digest import StreamDigest
from teraferry.bundles.errors import BundleError, UsageError, medium_unreadable
from teraferry.bundles.limits import MAX_CHECKSUMS_BYTES
from teraferry.bundles.progress import Progress
from teraferry.keys.metadata import read_capped
from teraferry.keys.trusted import SignedFile

MAX_SIGNATURE_BYTES: Final = 16 * 1024
"""One detached signature; an RSA-4096 one has 512."""

_BUNDLE_SUFFIX: Final = ".tar.gz"
_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kit:
    """A kit folder and the bundle in it."""

    folder: Path
    bundle: Path

    def checksums(self) -> bytes | None:
        """Return ``SHA256SUMS``, unverified, or None."""
        return read_capped(self.folder / layout.CHECKSUMS, limit_bytes=MAX_CHECKSUMS_BYTES)

    def checksum_signature(self, key_id: str) -> bytes | None:
        """Return the signature file of one key, unverified, or None."""
        return read_capped(self.folder / layout.signature_name(key_id), limit_bytes=MAX_SIGNATURE_BYTES)

    def measure(self, name: str, progress: Progress) -> SignedFile:
        """Return length and digest of the file ``name`` as it is now.

        Raises:
            BundleError: ``kit-incomplete``, 10; ``medium-unreadable``, 11.
        """
        path = self.folder / name
        stream = StreamDigest()
        try:
            with path.open("rb") as file:
                while piece := file.read(_READ_BYTES):
                    stream.update(piece)
                    progress.advance(len(piece))
        except FileNotFoundError as error:
            raise _incomplete(self.folder, name) from error
        except OSError as error:
            raise medium_unreadable(path, error) from error
        return SignedFile(stream.length_bytes, stream.digest())


def locate_kit(path: Path) -> Kit:
    """Return the kit at ``path``: its folder, or the bundle file in it.

    Raises:
        UsageError: ``kit-not-found``, ``kit-without-bundle`` or ``kit-ambiguous``, 2.
    """
    if path.is_file():
        return Kit(path.parent, path)
    if not path.is_dir():
        raise _no_kit("kit-not-found", path, "no such folder", [])
    bundles = sorted(item for item in path.iterdir() if item.name.endswith(_BUNDLE_SUFFIX) and item.name[0] != ".")
    if not bundles:
        raise _no_kit("kit-without-bundle", path, "no bundle", [])
    if len(bundles) > 1:
        raise _no_kit("kit-ambiguous", path, f"{len(bundles)} bundles", [item.name for item in bundles])
    return Kit(path, bundles[0])


def _no_kit(reference: str, path: Path, found: str, names: list[str]) -> UsageError:
    hint = "Type: teraferry build -o KIT" if not names else "Name the bundle you mean: " + ", ".join(names)
    return UsageError(
        reference,
        f"kit {path}: {found}, expected a folder with one bundle, or the bundle itself",
        hint=hint,
        facts={"kit": str(path), "found": names or found},
    )


def _incomplete(folder: Path, what: str) -> BundleError:
    return BundleError(
        "kit-incomplete",
        f"kit {folder}: without {what}, expected a whole kit",
        hint="Copy the whole kit again, or build it again with: teraferry build -o KIT",
        exit_status=10,
        facts={"kit": str(folder), "missing": what},
    )
