"""Receipts that continue each other, and a journal that was written anew: seen, though some were lost on the way."""

from __future__ import annotations

import msgspec
import pytest

from teraferry.builder.receipt_chain import never_seen, require_continues
from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import MAX_EARLIER_RECEIPTS
from teraferry.bundles.receipt import EarlierReceipt, Receipt
from tests.fakes.receipts import BUNDLE, first_receipt, head, next_receipt

replace = msgspec.structs.replace
FIRST = first_receipt()
SECOND = next_receipt(FIRST, entries=10)
THIRD = next_receipt(SECOND, entries=20)


def require_broken(known: list[Receipt], new: Receipt) -> str:
    with pytest.raises(TrustError) as caught:
        require_continues(known, new, name="r")
    assert (caught.value.reference, caught.value.exit_status) == ("receipt-chain-broken", 24)
    return caught.value.message


@pytest.mark.parametrize(
    ("known", "new"),
    [
        ([], THIRD),
        ([FIRST], SECOND),
        ([FIRST, SECOND], THIRD),
        ([FIRST], THIRD),  # the second was lost on the way
        ([FIRST, THIRD], SECOND),  # and comes late
        ([THIRD], FIRST),
        ([FIRST, SECOND], SECOND),  # shown again
    ],
)
def test_receipt_that_continues_is_accepted(known: list[Receipt], new: Receipt) -> None:
    require_continues(known, new, name="r")


def test_journal_that_was_written_anew_is_refused_in_capitals() -> None:
    earlier = (EarlierReceipt(receipt=SECOND.earlier[0].receipt, journal=head(2, "another journal")),)

    assert "WRITTEN ANEW" in require_broken([FIRST], replace(SECOND, earlier=earlier))


def test_journal_that_lost_entries_before_the_last_receipt_is_refused() -> None:
    earlier = (EarlierReceipt(receipt=SECOND.earlier[0].receipt, journal=head(1)),)

    require_broken([FIRST], replace(SECOND, earlier=earlier))


def test_journal_that_was_rewritten_between_two_seen_receipts_is_refused_by_the_one_that_came_late() -> None:
    require_broken([FIRST, THIRD], replace(SECOND, journal=head(10, "another journal")))


def test_receipt_that_names_another_one_before_it_is_refused() -> None:
    earlier = (EarlierReceipt(receipt=BUNDLE, journal=FIRST.journal),)

    require_broken([FIRST], replace(SECOND, earlier=earlier))


@pytest.mark.parametrize("new", [replace(FIRST, state="installed"), replace(FIRST, journal=head(1))])
def test_second_receipt_of_one_number_is_refused(new: Receipt) -> None:
    require_broken([FIRST], new)
    require_broken([FIRST, SECOND], new)


def test_rewritten_part_is_seen_though_the_newest_receipt_fits() -> None:
    lost = replace(THIRD.earlier[0], journal=head(2, "another journal"))

    require_broken([FIRST, SECOND], replace(THIRD, earlier=(lost, THIRD.earlier[1])))


def test_receipt_that_reaches_back_to_none_that_was_seen_is_undecided() -> None:
    last = FIRST
    for number in range(MAX_EARLIER_RECEIPTS):
        last = next_receipt(last, entries=10 + number)
    require_continues([FIRST], last, name="r")
    too_late = next_receipt(last, entries=1000)
    too_late = replace(too_late, earlier=too_late.earlier[1:])

    with pytest.raises(TrustError) as caught:
        require_continues([FIRST], too_late, name="r")
    assert (caught.value.reference, caught.value.exit_status) == ("receipt-chain-undecided", 23)
    require_continues([FIRST, last], too_late, name="r")


def test_receipts_that_nobody_showed_are_named() -> None:
    assert never_seen([FIRST, THIRD]) == (2,)
    assert never_seen([THIRD, SECOND]) == ()
    assert never_seen([]) == ()
    assert len(never_seen([FIRST, replace(THIRD, number=2**53 - 1)])) <= MAX_EARLIER_RECEIPTS
