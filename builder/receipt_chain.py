"""Whether a site's receipts continue each other: what shows a journal that was written anew. Pure.

Every receipt quotes the head of the journal, and for each receipt before it the head that the journal has *now* at the
length it had *then*. A journal that lost, changed or gained a line below that length quotes another head, or none.
"""

from __future__ import annotations

from collections.abc import Sequence

from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import MAX_EARLIER_RECEIPTS
from teraferry.bundles.receipt import EarlierReceipt, Receipt, digest_of_receipt


def require_continues(known: Sequence[Receipt], new: Receipt, *, name: str) -> tuple[int, ...]:
    """Hold ``new`` against every receipt of the same site that was seen before, and return the numbers of those.

    Older ones may come late.

    1. A number is given once. 2. Whichever of two is newer names the older one, and quotes the journal as that did.
    3. At least one can be compared, unless none was seen before.

    Args:
        known: Verified, in any order.
        new: Verified.
        name: Of its file, for messages.

    Raises:
        TrustError: ``receipt-chain-broken``, 24; ``receipt-chain-undecided``, 23.
    """
    twins = [other for other in known if other.number == new.number]
    for twin in twins:
        if digest_of_receipt(twin) != digest_of_receipt(new):
            raise _broken(name, new, twin, f"another receipt {twin.number} than the one seen before")  # 1
    compared = [other for other in known if other not in twins and _is_named(other, new, name=name)]  # 2
    if known and not compared and not twins:
        raise _undecided(name, new, known)  # 3
    return tuple(other.number for other in compared)


def _is_named(other: Receipt, new: Receipt, *, name: str) -> bool:
    """Tell whether the newer of both names the older one; refuse where it names it wrongly."""
    older, newer = sorted((other, new), key=lambda each: each.number)
    named = named_by(newer, older.number)
    if named is None:
        return False
    if named.receipt != digest_of_receipt(older):
        raise _broken(name, new, other, f"receipt {newer.number} names another receipt {older.number}")
    if named.journal != older.journal:
        found = f"entry {named.journal.entries} is {named.journal.head} in receipt {newer.number}"
        raise _broken(name, new, other, f"{found}, {older.journal.entries} was {older.journal.head} in the other")
    return True


def named_by(newer: Receipt, number: int) -> EarlierReceipt | None:
    """Return what ``newer`` says of receipt ``number``; None where its list does not reach back so far."""
    at = number - (newer.number - len(newer.earlier))
    return newer.earlier[at] if 0 <= at < len(newer.earlier) else None


def never_seen(known: Sequence[Receipt]) -> tuple[int, ...]:
    """Return the numbers between the receipts that were seen: lost on the way, or still on it."""
    numbers = {receipt.number for receipt in known}
    newest = max(numbers, default=0)
    first = max(min(numbers, default=0), newest - MAX_EARLIER_RECEIPTS)
    return tuple(number for number in range(first, newest) if number not in numbers)


def _broken(name: str, new: Receipt, other: Receipt, found: str) -> TrustError:
    return TrustError(
        "receipt-chain-broken",
        f"receipt {name} of site {new.site.name}: {found}, expected it to continue receipt {other.number}: THE SITE'S "
        "JOURNAL WAS WRITTEN ANEW, OR PUT BACK TO AN OLDER DAY",
        hint="Keep this file and every receipt you have as evidence, and call the site by a way you trust. Ask for its "
        "journal: entry N of it must have the digest that a receipt over N entries quotes. See docs/receipt.md.",
        exit_status=24,
        facts={"file": name, "site": new.site.name, "number": new.number, "seen_before": other.number},
    )


def _undecided(name: str, new: Receipt, known: Sequence[Receipt]) -> TrustError:
    newest = max(receipt.number for receipt in known)
    return TrustError(
        "receipt-chain-undecided",
        f"receipt {name} of site {new.site.name}: number {new.number} names no receipt that was seen before, expected "
        f"it to reach back to {newest}",
        hint="Too many receipts were never shown here. Show one of those in between, if anybody has it; else compare "
        "the site's journal with the receipts you have. See docs/receipt.md.",
        exit_status=23,
        facts={"file": name, "site": new.site.name, "number": new.number, "seen_before": newest},
    )
