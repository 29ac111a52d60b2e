"""Which entries a bundle may hold, in which order, and how long they may be: one rule for writer and reader.

Names are a closed set: four documents and blobs by digest. Nothing in a bundle can name a place on
the site's disk, so there is no traversal to defend against, only a name to refuse.

Source: ``docs/format-1.md``, section "Entries".
"""

from __future__ import annotations

import re
from typing import Final

from teraferry.bundles import layout
from teraferry.bundles.limits import MAX_ENTRY_NAME_BYTES, MAX_ENTRY_PLAIN_BYTES, MAX_MANIFEST_BYTES

DOCUMENTS: Final = (layout.OCI_LAYOUT, layout.OCI_INDEX, layout.DOCKER_MANIFEST, layout.MANIFEST)
"""The documents in their order; the blobs follow, sorted by name."""

REQUIRED: Final = frozenset(DOCUMENTS) - {layout.DOCKER_MANIFEST}
"""The docker manifest is a courtesy to other readers and may be absent."""

_BLOB: Final = re.compile(re.escape(layout.BLOB_PREFIX) + r"[0-9a-f]{64}\Z")


def name_fault(name: str) -> tuple[str, str] | None:
    """Return ``(reference, what is expected)`` when ``name`` is not an entry's name, else None."""
    if name in DOCUMENTS or _BLOB.match(name):
        return None
    if len(name.encode("utf-8", "surrogatepass")) > MAX_ENTRY_NAME_BYTES:
        return "entry-name-too-long", f"at most {MAX_ENTRY_NAME_BYTES} bytes"
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
        return "entry-name-unsafe", "a name that stays inside the bundle"
    return "entry-name-unknown", "a document of the format or blobs/sha256/<64 hex digits>"


def length_fault(name: str, plain_bytes: int) -> tuple[str, str] | None:
    """Return ``(reference, what is expected)`` when an entry is too long for what it is, else None."""
    limit = MAX_MANIFEST_BYTES if name in DOCUMENTS else MAX_ENTRY_PLAIN_BYTES
    return ("entry-too-large", f"at most {limit} bytes") if plain_bytes > limit else None


def order_key(name: str) -> tuple[int, str]:
    """Return what entries are sorted by: documents in their order, then blobs."""
    return (DOCUMENTS.index(name), "") if name in DOCUMENTS else (len(DOCUMENTS), name)


def order_fault(previous: str | None, name: str) -> tuple[str, str] | None:
    """Return ``(reference, what is expected)`` when ``name`` may not follow ``previous``, else None.

    An archive that names one entry twice shows another content to every reader.
    """
    if previous is None or order_key(previous) < order_key(name):
        return None
    if previous == name:
        return "entry-duplicate", "each entry once"
    return "entry-out-of-order", "documents in their order, then blobs sorted by name"
