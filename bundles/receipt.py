"""The receipt: what a site says of itself, small enough for a person to carry back. Pure.

It quotes the head of the site's journal and, for every receipt before it, the head that the journal had then. So
whoever keeps receipts at home sees a journal that was written anew, even where some receipts were lost on the way.
Who signed it is ``keys.site_key``'s matter; what it says is drawn up by the site from its journal alone.

Source: ``docs/receipt.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import (
    MAX_EARLIER_RECEIPTS,
    MAX_RECEIPT_BYTES,
    MAX_RECEIPT_INSTALLED,
    MAX_RECEIPT_KEYS,
    MAX_RECEIPT_RUNS,
)
from teraferry.bundles.manifest import Product, Version
from teraferry.bundles.model import Model

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Ordinal = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Moment = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
# As narrow as what may stand in a site file: it becomes a folder's name at home, and lines on terminals.
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
RunName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")]
Reference = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}\Z")]
State = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z ,-]{0,63}\Z")]
Pem = Annotated[
    str,
    msgspec.Meta(
        max_length=400,
        pattern=r"^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=]{1,64}\n){1,4}-----END PUBLIC KEY-----\n\Z",
    ),
]
Signature = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){8,80}\Z")]
_LONGEST_SIGNATURE: Final = "00" * 80


class ReceiptSite(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose receipt it is."""

    name: Word
    key: Pem


class InstalledRelease(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a complete install left: of each product in tier 1, on each cluster in tier 2."""

    product: Product
    version: Version
    sequence: Count
    bundle: Digest
    cluster: Literal["blue", "green"] | None  # None in tier 1
    stands: bool  # new connections go there; always in tier 1


class ReceiptRun(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One install, rollback or load that did something since the last receipt."""

    run: RunName
    kind: Literal["install", "rollback", "load"]
    product: Product | None  # None: a cutover back to what was there before the first install
    version: Version | None
    bundle: Digest | None
    outcome: Literal["done", "rolled-back", "half-done", "superseded"]
    began_utc: Moment
    ended_utc: Moment | None  # None while it is half done
    trouble: Reference | None  # of the last step that failed, also where a later try did it


class PendingWrites(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Writes of a cluster that died, which wait on its disks."""

    cluster: Word
    count: Count | None  # None: nobody can tell


class LostKey(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that must survive and was found lost or changed."""

    key: Word
    node: Word


class JournalHead(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far a journal has come: ``head`` is the digest of line ``entries``, of nothing before the first."""

    entries: Count
    head: Digest


class EarlierReceipt(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A receipt before this one, and what the journal says now of where it was then."""

    receipt: Digest
    journal: JournalHead


class Receipt(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signed part."""

    format: Literal[1]
    kind: Literal["receipt"]
    number: Ordinal  # 1, 2, 3 ... of this site
    made_utc: Moment  # by the site's own clock, which may be wrong
    site: ReceiptSite
    state: State
    installed: Annotated[tuple[InstalledRelease, ...], msgspec.Meta(max_length=MAX_RECEIPT_INSTALLED)]
    runs: Annotated[tuple[ReceiptRun, ...], msgspec.Meta(max_length=MAX_RECEIPT_RUNS)]  # the newest last
    runs_left_out: Count  # older ones, above the limit
    pending: PendingWrites | None
    conflicts: bool  # something was written on both clusters, and nobody is known to have resolved it
    keys_lost: Annotated[tuple[LostKey, ...], msgspec.Meta(max_length=MAX_RECEIPT_KEYS)]
    journal: JournalHead  # before the entry that says this receipt was made
    earlier: Annotated[tuple[EarlierReceipt, ...], msgspec.Meta(max_length=MAX_EARLIER_RECEIPTS)]  # the newest last


class SignedReceipt(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file."""

    signature: Signature  # ECDSA over SHA-256 of the signed part, DER in hex
    signed: Receipt


def encode_signed_part(receipt: Receipt) -> bytes:
    """Return what is signed: sorted names, no spaces, no newline."""
    return msgspec.json.encode(receipt, order="sorted")


def digest_of_receipt(receipt: Receipt) -> Digest:
    """Return how a receipt is named: by what was signed, so that another valid signature gives no other receipt."""
    return digest_of(encode_signed_part(receipt))


def encode_receipt(signed: SignedReceipt) -> bytes:
    """Return the one encoding of the file: sorted names, no spaces, a final newline."""
    return msgspec.json.encode(signed, order="sorted") + b"\n"


def parse_receipt(content: bytes, *, name: str) -> SignedReceipt:
    """Return the receipt in ``content``, its signature unverified.

    1. It is no longer than ``MAX_RECEIPT_BYTES``.
    2. It is strict JSON in its one encoding: no unknown, missing or repeated field.
    3. No product or cluster is installed twice.
    4. Its number and the receipts before it fit, and the journal grew from each to the next.

    Args:
        content: The bytes of the file.
        name: Of the file, for messages.

    Raises:
        TrustError: ``receipt-malformed``, 24.
    """
    if len(content) > MAX_RECEIPT_BYTES:
        raise malformed(name, f"more than {MAX_RECEIPT_BYTES} bytes")  # 1
    try:
        signed = msgspec.json.decode(content, type=SignedReceipt)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(name, str(error)[:200]) from error
    if encode_receipt(signed) != content:
        raise malformed(name, "another spelling than its one encoding")  # 2
    require_sound(signed.signed, name=name)
    return signed


def make_receipt(values: Mapping[str, object]) -> Receipt:
    """Return the receipt with these fields, nested as in the file; a writer refuses what a reader would refuse.

    Raises:
        TrustError: ``receipt-malformed``, 24.
    """
    name = "to be made"
    try:
        receipt = msgspec.convert(values, Receipt)
    except msgspec.ValidationError as error:
        raise malformed(name, str(error)[:200]) from error
    require_sound(receipt, name=name)
    if len(encode_receipt(SignedReceipt(signature=_LONGEST_SIGNATURE, signed=receipt))) > MAX_RECEIPT_BYTES:
        raise malformed(name, f"more than {MAX_RECEIPT_BYTES} bytes")
    return receipt


def require_sound(receipt: Receipt, *, name: str) -> None:
    """Refuse a receipt whose parts do not fit together: 3 and 4 of ``parse_receipt``.

    Raises:
        TrustError: ``receipt-malformed``, 24.
    """
    places = [(row.cluster, None if row.cluster else row.product) for row in receipt.installed]
    if len(set(places)) != len(places):
        raise malformed(name, "something is installed twice in one place")  # 3
    if len(receipt.earlier) != min(receipt.number - 1, MAX_EARLIER_RECEIPTS):
        raise malformed(name, f"receipt {receipt.number} with {len(receipt.earlier)} before it")  # 4
    if not _is_rising([*(each.journal.entries for each in receipt.earlier), receipt.journal.entries]):
        raise malformed(name, "a journal that did not grow between two receipts")  # 4


def _is_rising(counts: Sequence[int]) -> bool:
    # Making a receipt is an entry of its own, so two never quote the same length.
    return all(before < after for before, after in pairwise(counts))


def malformed(name: str, found: str) -> TrustError:
    """Return the refusal of a file that is no receipt."""
    return TrustError(
        "receipt-malformed",
        f"receipt {name}: {found}, expected what teraferry-installer receipt writes",
        hint="The file was changed or damaged on its way: ask the site for another copy of it.",
        exit_status=24,
        facts={"file": name},
    )
