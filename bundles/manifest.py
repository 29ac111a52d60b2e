"""``bundle.json``: what a bundle holds. Strict and frozen; it carries no code.

Source: ``docs/format-1.md``, section "The manifest".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import BundleError
from teraferry.bundles.limits import MAX_ENTRY_PLAIN_BYTES
from teraferry.bundles.model import Model

Length = Annotated[int, msgspec.Meta(ge=0, le=MAX_ENTRY_PLAIN_BYTES)]
Product = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Version = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}\Z")]
# The name grammar of the OCI distribution specification v1.1, without a registry host.
_IMAGE_NAME = r"^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*\Z"
ImageName = Annotated[str, msgspec.Meta(pattern=_IMAGE_NAME, max_length=200)]
# No component is "." or "..", so a name can never leave the folder it is joined to.
_FILE_NAME = r"^(?!.*(^|/)\.{1,2}(/|\Z))[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*\Z"
FileName = Annotated[str, msgspec.Meta(pattern=_FILE_NAME, max_length=200)]
OpenPgpFingerprint = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-F]{40}([0-9A-F]{24})?\Z")]
FileMode = Annotated[str, msgspec.Meta(pattern=r"^0[0-7]{3}\Z")]
# A path and a query, never a host: a release may not choose who is asked. "//x" would be one.
HttpPath = Annotated[str, msgspec.Meta(pattern=r"^/(?!/)[!-~]*\Z")]
AnswerField = Annotated[str, msgspec.Meta(pattern=r"^[!-~]+\Z")]
Role = Literal["volume", "master", "filer", "app"]


class Release(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Product and version, and which installed versions may be upgraded to it."""

    product: Product
    version: Version
    upgrades_from: str = ""  # PEP 440 specifiers, "" = any


class ImagePlatform(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One platform of an image: its manifest, config and layers."""

    platform: str  # "linux/amd64"
    manifest: Digest
    config: Digest
    layers: tuple[Digest, ...]


class Image(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One image as the site's registry will know it: ``name:<release version>``."""

    name: ImageName
    digest: Digest  # of the top document: an OCI index or a single manifest
    media_type: str
    platforms: tuple[ImagePlatform, ...]


class File(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file; its bytes are the blob ``digest``."""

    name: FileName
    mode: FileMode
    digest: Digest
    length_bytes: Length


class Chart(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One Helm chart archive."""

    name: FileName
    digest: Digest
    length_bytes: Length


class Smoke(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request made to every patched node, or to green, and what its JSON answer must hold."""

    http: HttpPath
    field: AnswerField  # dots lead into objects
    equals: str | int | bool
    role: Role | Literal[""] = ""  # of the nodes that are asked, "" = every one


class Manifest(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a bundle holds."""

    format: Literal[1]
    release: Release
    images: tuple[Image, ...] = ()
    files: tuple[File, ...] = ()
    charts: tuple[Chart, ...] = ()
    smoke: tuple[Smoke, ...] = ()
    openpgp: OpenPgpFingerprint | msgspec.UnsetType = msgspec.UNSET  # of the key that signs SHA256SUMS as well


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the one encoding of ``manifest``: sorted keys, no spaces, a final newline."""
    return msgspec.json.encode(manifest, order="sorted") + b"\n"


def parse_manifest(content: bytes) -> Manifest:
    """Return the manifest in ``content``, whose digest the caller has verified.

    Raises:
        BundleError: ``manifest-malformed``, 10.
    """
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from error
    _require_named_once("image", [image.name for image in manifest.images])
    _require_named_once("file", [file.name for file in manifest.files])
    _require_named_once("chart", [chart.name for chart in manifest.charts])
    _require_named_once("smoke test", [f"{test.role} {test.http} {test.field}" for test in manifest.smoke])
    return manifest


def _require_named_once(what: str, names: Sequence[str]) -> None:
    # A name that stands for two things lets signers see one of them and a site install the other.
    again = [name for name, count in Counter(names).items() if count > 1]
    if again:
        raise _malformed(f"{what} {again[0][:200]!r} twice")


def _malformed(found: str) -> BundleError:
    return BundleError(
        "manifest-malformed",
        f"bundle.json: {found}, expected format 1",
        hint="Ask the release engineer to build the kit again with this version of TeraFerry.",
    )
