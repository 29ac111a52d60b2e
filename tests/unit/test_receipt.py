"""The receipt's file: one encoding, every limit, and a name that is what was signed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from teraferry.bundles import limits
from teraferry.bundles.errors import TrustError
from teraferry.bundles.receipt import (
    EarlierReceipt,
    Receipt,
    ReceiptRun,
    digest_of_receipt,
    encode_receipt,
    encode_signed_part,
    make_receipt,
    parse_receipt,
)
from tests.fakes.receipts import BUNDLE, first_receipt, full_receipt, head, next_receipt, site_key

replace = msgspec.structs.replace
KEY = site_key("site")


def file_of(receipt: Receipt) -> bytes:
    return encode_receipt(KEY.sign(receipt))


def require_refused(content: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        parse_receipt(content, name="r")
    assert (caught.value.reference, caught.value.exit_status) == ("receipt-malformed", 24)


def require_never_made(receipt: Receipt) -> None:
    """What a reader refuses, a writer refuses as well."""
    require_refused(file_of(receipt))
    with pytest.raises(TrustError):
        make_receipt(msgspec.to_builtins(receipt))


@pytest.mark.parametrize("receipt", [first_receipt(), full_receipt()], ids=["first", "full"])
def test_receipt_is_read_as_it_was_written(receipt: Receipt) -> None:
    assert parse_receipt(file_of(receipt), name="r").signed == receipt
    assert make_receipt(msgspec.to_builtins(receipt)) == receipt


def test_signed_part_is_the_json_that_any_tool_writes() -> None:
    document = json.loads(file_of(full_receipt()))
    other = json.dumps(document["signed"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert other.encode() == encode_signed_part(full_receipt())


def test_another_valid_signature_is_the_same_receipt() -> None:
    one, other = KEY.sign(full_receipt()), KEY.sign(full_receipt())

    assert one.signature != other.signature
    assert digest_of_receipt(one.signed) == digest_of_receipt(other.signed)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"\n",
        lambda content: content[:-1],
        lambda content: b" " + content,
        lambda content: content.replace(b'"format":1', b'"format": 1'),
        lambda content: content.replace(b'"format":1', b'"format":1,"format":1'),
        lambda content: content.replace(b'"format":1', b'"format":2'),
        lambda content: content.replace(b'"format":1', b'"extra":1,"format":1'),
        lambda content: content.replace(b'"conflicts":false,', b""),
        lambda content: content.replace(b"hanoi-dc1", b"../hanoi"),
        lambda content: content.replace(b"hanoi-dc1", b"\\u0068anoi-dc1"),
        lambda content: content.replace(b"nothing installed", b"\\u001b[2J"),
        lambda content: b"[" * 100_000,
        lambda content: b"\xff",
        lambda content: b"",
    ],
)
def test_file_in_any_other_form_is_refused(change: Any) -> None:
    require_refused(change(file_of(first_receipt())))


def test_what_is_installed_twice_in_one_place_is_refused() -> None:
    (blue, _) = full_receipt().installed
    rows = [replace(blue, cluster=None, product=f"p{number}") for number in range(2)]

    make_receipt(msgspec.to_builtins(replace(first_receipt(), installed=tuple(rows))))
    require_never_made(replace(first_receipt(), installed=(rows[0], replace(rows[0], version="9"))))
    require_never_made(replace(first_receipt(), installed=(blue, replace(blue, product="other"))))


def test_receipt_that_hides_an_earlier_one_is_refused() -> None:
    second = next_receipt(first_receipt(), entries=9)

    require_never_made(replace(second, earlier=()))
    require_never_made(replace(second, number=1))
    require_never_made(replace(second, number=3))


@pytest.mark.parametrize("entries", [0, 2])
def test_journal_that_did_not_grow_between_two_receipts_is_refused(entries: int) -> None:
    require_never_made(next_receipt(first_receipt(), entries=entries))


# Limits: what is at one passes, one above is refused.


def chain(count: int) -> tuple[EarlierReceipt, ...]:
    return tuple(EarlierReceipt(receipt=BUNDLE, journal=head(number)) for number in range(count))


def longest_run(number: int) -> ReceiptRun:
    (run, _) = full_receipt().runs
    name = f"{number:03}-{'r' * 251}"
    return replace(run, run=name, product="p" * 64, version="v" * 64, trouble="t" * 64)


def at_every_limit() -> Receipt:
    blue, key = full_receipt().installed[0], full_receipt().keys_lost[0]
    number = limits.MAX_EARLIER_RECEIPTS + 1
    return replace(
        first_receipt(),
        number=number,
        earlier=chain(number - 1),
        journal=head(number),
        runs=tuple(longest_run(each) for each in range(limits.MAX_RECEIPT_RUNS)),
        runs_left_out=2**53 - 1,
        installed=tuple(
            replace(blue, cluster=None, product=f"{each:02}{'p' * 62}", version="v" * 64, sequence=2**53 - 1)
            for each in range(limits.MAX_RECEIPT_INSTALLED)
        ),
        keys_lost=tuple(replace(key, key="k" * 64, node="n" * 64) for _ in range(limits.MAX_RECEIPT_KEYS)),
    )


def test_receipt_at_every_limit_at_once_is_made_and_read() -> None:
    receipt = make_receipt(msgspec.to_builtins(at_every_limit()))

    assert parse_receipt(file_of(receipt), name="r").signed == receipt


@pytest.mark.parametrize("field", ["runs", "installed", "keys_lost"])
def test_one_row_above_a_limit_is_refused(field: str) -> None:
    full = at_every_limit()
    rows = getattr(full, field)
    last = replace(rows[-1], product="another") if field == "installed" else rows[-1]

    require_never_made(replace(first_receipt(), **{field: (*rows, last)}))


def test_one_earlier_receipt_above_the_limit_is_refused() -> None:
    count = limits.MAX_EARLIER_RECEIPTS + 1

    require_never_made(replace(first_receipt(), number=count + 1, earlier=chain(count), journal=head(count)))


def test_file_of_the_longest_length_is_looked_at_and_one_byte_more_is_not() -> None:
    for length, found in ((limits.MAX_RECEIPT_BYTES, "malformed"), (limits.MAX_RECEIPT_BYTES + 1, "more than")):
        with pytest.raises(TrustError) as caught:
            parse_receipt(b"{" * length, name="r")
        assert ("more than" in caught.value.message) == (found == "more than")
