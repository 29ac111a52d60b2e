"""JSON with one reading: each limit at it and one above, each ambiguity refused."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import MAX_METADATA_DEPTH
from teraferry.keys.strict_json import parse_strict_object


def refused(content: bytes) -> str:
    with pytest.raises(TrustError) as caught:
        parse_strict_object(content, what="test.json")
    assert (caught.value.exit_status, caught.value.reference) == (24, "metadata-unreadable")
    return caught.value.message


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def test_plain_json_is_read() -> None:
    assert parse_strict_object(b'{"a": [1, "\\u00e9", true, null, {"b": -3}]}', what="x") == {
        "a": [1, "é", True, None, {"b": -3}]
    }


@pytest.mark.parametrize("number", [b"1.0", b"1e3", b"NaN", b"Infinity", b"-Infinity"])
def test_a_number_that_is_no_integer_is_refused(number: bytes) -> None:
    assert "number" in refused(b'{"a": ' + number + b"}")


@pytest.mark.parametrize(("number", "is_read"), [(2**53 - 1, True), (2**53, False), (-(2**53), False)])
def test_integers_are_read_up_to_what_every_reader_keeps_exactly(number: int, is_read: bool) -> None:
    content = b'{"a": %d}' % number
    if is_read:
        assert parse_strict_object(content, what="x") == {"a": number}
    else:
        refused(content)


def test_a_million_digits_are_not_converted() -> None:
    assert "2^53" in refused(b'{"a": ' + b"1" * 1_000_000 + b"}")


def test_a_member_twice_is_refused_at_any_depth() -> None:
    refused(b'{"a": 1, "a": 1}')
    refused(b'{"x": [{"a": 1, "b": 2, "a": 3}]}')


@pytest.mark.parametrize("place", [b'{"a": "%s"}', b'{"%s": 1}', b'{"a": [["%s"]]}'])
def test_a_lone_surrogate_is_refused(place: bytes) -> None:
    refused(place.replace(b"%s", b"\\ud800"))


def test_nesting_is_read_to_its_limit_and_refused_one_deeper() -> None:
    assert parse_strict_object(nested(MAX_METADATA_DEPTH), what="x")
    assert "nested" in refused(nested(MAX_METADATA_DEPTH + 1))


def test_brackets_in_strings_are_not_nesting() -> None:
    assert parse_strict_object(b'{"a": "' + b'[{\\"' * 100 + b'"}', what="x")


@pytest.mark.parametrize("content", [b"", b"1", b"[]", b'"x"', b"{} {}", b"\xef\xbb\xbf{}", b"{'a': 1}", b"\xff"])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    refused(content)
