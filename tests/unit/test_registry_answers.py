"""Each cause that needs another remedy has its own reference."""

from __future__ import annotations

import json

import pytest

from teraferry.installer.adapters.registry.answers import Answer, is_worth_retrying, refusal

FULL_DISK = json.dumps(
    {
        "errors": [
            {"code": "UNKNOWN", "message": "unknown error", "detail": {"Enclosed": {"Op": "write", "Err": 28}}},
        ]
    }
).encode()


@pytest.mark.parametrize(
    ("status", "body", "reference"),
    [
        (401, b"", "registry-password"),
        (403, b'{"errors":[{"code":"DENIED","message":"access denied"}]}', "registry-password"),
        (403, b'{"errors":[{"code":"DENIED","message":"adding 3 GB exceeds the project quota"}]}', "registry-full"),
        (507, b"", "registry-full"),
        (500, FULL_DISK, "registry-full"),
        (500, b"write /var/lib/registry: no space left on device", "registry-full"),
        (413, b"<html>Request Entity Too Large</html>", "registry-refused"),
        (405, b'{"errors":[{"code":"UNSUPPORTED","message":"read-only"}]}', "registry-refused"),
        (400, b'{"errors":[{"code":"DIGEST_INVALID"}]}', "registry-refused"),
        (307, b"", "registry-refused"),
        (500, b'{"errors":[{"detail":{"Err": 2}}]}', "registry-failing"),
        (502, b"bad gateway", "registry-failing"),
    ],
)
def test_refusal_tells_causes_apart(status: int, body: bytes, reference: str) -> None:
    error = refusal(Answer(status, {}, body), registry="r:1", doing="push blob")

    assert (error.reference, error.exit_status, error.facts["http_status"]) == (reference, 44, status)
    assert error.hint


def test_full_registry_is_not_asked_again() -> None:
    assert not is_worth_retrying(Answer(500, {}, FULL_DISK))
    assert not is_worth_retrying(Answer(429, {}, b""))
    assert is_worth_retrying(Answer(503, {}, b""))


def test_refusal_shows_no_control_characters_of_the_registry() -> None:
    body = b'{"errors":[{"code":"X","message":"\\u001b[2J\\u0007gone"}]}'

    message = refusal(Answer(400, {}, body), registry="r:1", doing="push blob").message

    assert message.isprintable()
    assert "gone" in message


@pytest.mark.parametrize("body", [b"x" * 10_000, b'{"errors":[{"message":"' + b"x" * 10_000 + b'"}]}', b"[" * 100_000])
def test_refusal_quotes_no_more_than_a_line(body: bytes) -> None:
    assert len(refusal(Answer(400, {}, body), registry="r:1", doing="push blob").message) < 500
