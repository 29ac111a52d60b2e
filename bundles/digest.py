"""The one way bytes are named: ``sha256:`` and 64 lowercase hex digits."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

import msgspec

from teraferry.bundles.errors import BundleError

Buffer = bytes | bytearray | memoryview

_PATTERN = r"^sha256:[0-9a-f]{64}\Z"

Digest = Annotated[str, msgspec.Meta(pattern=_PATTERN)]
"""A SHA-256 with its prefix. Decoding a model checks the form; ``parse_digest`` checks elsewhere."""


def parse_digest(text: str) -> Digest:
    """Return ``text`` if it is a digest.

    Raises:
        BundleError: ``digest-malformed``, 10.
    """
    if not re.match(_PATTERN, text):
        raise BundleError(
            "digest-malformed",
            f"digest {text[:80]!r}: not a digest, expected sha256: and 64 lowercase hex digits",
            hint="Ask for a new copy of the kit.",
        )
    return text


def digest_of(content: Buffer) -> Digest:
    """Return the digest of bytes held in memory."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def hex_of(digest: Digest) -> str:
    """Return the 64 hex digits without the prefix."""
    return digest.removeprefix("sha256:")


class StreamDigest:
    """SHA-256 over a stream that also counts its bytes."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.length_bytes = 0

    def update(self, piece: Buffer) -> None:
        """Take the next ``piece`` of the stream."""
        self._sha256.update(piece)
        self.length_bytes += len(piece)

    def digest(self) -> Digest:
        """Return the digest of everything taken so far."""
        return "sha256:" + self._sha256.hexdigest()
