"""Every cap on what comes from outside, with its unit and its reason.

Each is tested at the limit and one above. A writer refuses what a reader would refuse.
"""

from __future__ import annotations

from typing import Final

CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the bundle file under one signed digest: the unit of verification, resume and repair."""

MEMBER_PLAIN_BYTES: Final = 4 * 1024 * 1024
"""Plain bytes in one gzip member: one unit of parallel work, and what a reader may hold inflated."""

MAX_MEMBER_COMPRESSED_BYTES: Final = MEMBER_PLAIN_BYTES + 64 * 1024
"""A stored member grows by 5 bytes in 65,535; more than this is no member of ours."""

STORED_BLOCK_BYTES: Final = 65_535
"""Largest stored deflate block (RFC 1951, 3.2.4)."""

MAX_INDEX_PLAIN_BYTES: Final = 64 * 1024 * 1024
"""About 250,000 entries, or the chunk digests of a 2.5 TiB bundle; held in memory while read."""

MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
"""bundle.json, index.json, manifest.json: held in memory and decoded at once."""

MAX_ENTRIES: Final = 200_000
"""Entries of one bundle; bounds the index and every loop over it."""

MAX_ENTRY_NAME_BYTES: Final = 255
"""UTF-8 bytes of an entry's name; ours are short, and every file system holds this many."""

MAX_ENTRY_PLAIN_BYTES: Final = 1024 * 1024 * 1024 * 1024
"""1 TiB: no single image layer is near it; bounds arithmetic on sizes from outside."""

MAX_IMAGE_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""An OCI manifest or index; registries refuse larger ones."""

MAX_METADATA_BYTES: Final = 4 * 1024 * 1024
"""One TUF metadata file; python-tuf's own default for targets is 5,000,000."""

MAX_METADATA_DEPTH: Final = 32
"""Nesting of a JSON document from outside; ours needs 8."""

MAX_ROOT_ROTATIONS: Final = 256
"""Roots a site may be behind; python-tuf's client stops at the same number."""

MAX_SITE_TOML_BYTES: Final = 1024 * 1024
"""A site file is a few kB; read whole before it is parsed."""

MAX_JOURNAL_LINE_BYTES: Final = 1024 * 1024
"""One journal entry."""

FAT_MAX_FILE_BYTES: Final = 4 * 1024 * 1024 * 1024 - 1
"""Largest file on a FAT32 medium; ``build`` warns above it."""
