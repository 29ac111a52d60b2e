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

MAX_DEFLATE_RATIO: Final = 1032
"""Plain bytes from one deflated byte: no deflate stream gives more (258 bytes from two bits), so more is a lie."""

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

MAX_ROOT_METADATA_BYTES: Final = 256 * 1024
"""One N.root.json; ours are 3 kB, and up to ``MAX_ROOT_ROTATIONS`` of them are held at once."""

MAX_TIMESTAMP_BYTES: Final = 16 * 1024
"""timestamp.json; python-tuf's client stops at the same number, and ours is 1 kB."""

MAX_SNAPSHOT_BYTES: Final = 2_000_000
"""snapshot.json; python-tuf's client stops at the same number, and ours is 1 kB."""

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""A signing request; ours are 20 kB. The index range of a 1.4 TiB bundle still fits, twice over at 700 GiB."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""A signing answer: two signatures and a token's evidence, 3 kB."""

MAX_RELEASE_RECORD_BYTES: Final = MAX_REQUEST_BYTES
"""One signed release in the trust folder's ledger; it travels inside the next release's request."""

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

MAX_CHECKSUMS_BYTES: Final = 1024 * 1024
"""SHA256SUMS: a line of 100 bytes a file or volume."""

MAX_OPENPGP_SIGNATURE_BYTES: Final = 64 * 1024
"""SHA256SUMS.asc: a signature by RSA-4096 is 1 kB armored; this holds those of fifty people."""

MAX_INSTALLER_BYTES: Final = 512 * 1024 * 1024
"""An installer file is about 30 MB; this bounds what a later visit copies before it can compare."""

MAX_KEY_ANSWER_BYTES: Final = 64 * 1024
"""What a site's own key program may answer; a public key and a few marks are 2 kB."""

MAX_KEY_BLOB_BYTES: Final = 16 * 1024 * 1024
"""A wrapped key as a file on a node; a TPM's is below 1 kB. Read whole, and copied to the state folder."""

MAX_RECOVERY_PROOF_BYTES: Final = 64 * 1024
"""A recovery proof is a few lines of JSON."""

MAX_RECEIPT_BYTES: Final = 256 * 1024
"""A receipt: 2 kB after an install, and all that the four limits below allow still fits."""

MAX_RECEIPT_RUNS: Final = 200
"""Runs that one receipt tells of, the newest; a site has a few between two visits."""

MAX_RECEIPT_INSTALLED: Final = 64
"""Products of one site; both clusters in tier 2."""

MAX_RECEIPT_KEYS: Final = 256
"""Lost keys that a receipt names; one alone stops everything."""

MAX_EARLIER_RECEIPTS: Final = 100
"""Receipts before it that a receipt names: fifty years of two visits, all but one of them lost on the way."""
