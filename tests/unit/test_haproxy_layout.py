"""What HAProxy says is read strictly: either it is what our lines in haproxy.cfg make, or we cannot tell."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from teraferry.installer.adapters.traffic.haproxy import HaproxyFiles
from teraferry.installer.adapters.traffic.haproxy_layout import (
    MAX_ANSWER_BYTES,
    UnexpectedAnswerError,
    map_text,
    parse_established,
    parse_state,
)
from teraferry.installer.adapters.traffic.haproxy_socket import RuntimeApi
from teraferry.installer.adapters.traffic.sides import Endpoint, Service, VirtualAddress
from tests.fakes.transport import FakeTransport

VIRTUAL = VirtualAddress(
    IPv4Address("10.0.0.100"),
    (Service(443, Endpoint(IPv4Address("10.0.1.10"), 8443), Endpoint(IPv4Address("10.0.2.10"), 8443)),),
)
MAP = "0x55791efb6290 standing blue\n0x55791efb6320 active green\n"
FIELDS = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port"
BLUE = "3 teraferry_blue_443 1 one 10.0.1.10 2 0 8443"
GREEN = "4 teraferry_green_443 1 one 10.0.2.10 2 0 8443"
OTHER = "5 mail 1 one 10.0.1.10 2 0 25"
STATISTICS = "# pxname,svname,qcur,qmax,scur\nmail,BACKEND,0,0,7\nteraferry_blue_443,BACKEND,0,0,12\n"


def servers(*rows: str, version: str = "1", fields: str = FIELDS) -> str:
    return "\n".join([version, fields, *rows])


def test_map_and_servers_of_both_sides_are_read() -> None:
    state = parse_state(MAP, servers(OTHER, BLUE, GREEN), VIRTUAL)
    assert (state.active, state.standing) == ("green", "blue")
    assert [server.path for server in state.of("green")] == ["teraferry_green_443/one"]


def test_one_server_of_several_that_is_up_and_in_service_is_enough() -> None:
    down, out = "4 teraferry_green_443 2 two 10.0.2.11 0 0 8443", "4 teraferry_green_443 3 three 10.0.2.12 0 1 8443"
    state = parse_state(MAP, servers(BLUE, GREEN, down, out), VIRTUAL)
    assert (state.down("green"), state.closed("green")) == ([], [])
    assert [server.is_pinned for server in state.of("green")] == [False, False, True]


@pytest.mark.parametrize("operational", ["0", "1", "3"])
def test_side_whose_servers_are_not_up_is_down_and_not_closed(operational: str) -> None:
    state = parse_state(MAP, servers(BLUE, GREEN.replace(" 2 0 8443", f" {operational} 0 8443")), VIRTUAL)
    assert (state.down("green"), state.closed("green")) == (["teraferry_green_443"], [])


@pytest.mark.parametrize(
    "answer",
    [
        servers(BLUE),
        servers(BLUE, GREEN.replace("10.0.2.10", "10.0.2.11")),
        servers(BLUE, GREEN.replace("8443", "8444")),
        servers(BLUE, GREEN, BLUE.replace("blue", "green").replace(" 1 one", " 2 two")),
        servers(BLUE, GREEN.replace(" 2 0 8443", " 0 1 8443")),
        servers(BLUE, GREEN.replace(" 2 0 8443", " 2 8 8443")),
        servers(BLUE, GREEN.replace(" 2 0 8443", " 2 no 8443")),
        servers(BLUE, GREEN, version="2"),
        servers(BLUE, GREEN, fields=FIELDS.replace("srv_admin_state", "srv_something")),
        "Unknown command\n",
        "",
    ],
    ids=lambda answer: repr(answer)[-60:],
)
def test_servers_that_are_not_as_laid_down_are_no_answer(answer: str) -> None:
    with pytest.raises(UnexpectedAnswerError):
        parse_state(MAP, answer, VIRTUAL)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        MAP.splitlines()[0],
        MAP + MAP.splitlines()[1],
        MAP + "0x55791efb6321 more green",
        MAP + "some words that are no entry",
        MAP.replace("green", "Green"),
        MAP.replace("standing blue", "standing red"),
        "Unknown map identifier. Please use #<id> or <file>.",
    ],
)
def test_map_that_is_not_as_laid_down_is_no_answer(answer: str) -> None:
    with pytest.raises(UnexpectedAnswerError):
        parse_state(answer, servers(BLUE, GREEN), VIRTUAL)


def test_sessions_of_our_backends_alone_are_counted() -> None:
    assert parse_established(STATISTICS, VIRTUAL, "blue") == 12


@pytest.mark.parametrize(
    "answer",
    ["", "Permission denied", STATISTICS.replace("12", ""), STATISTICS.replace("scur", "smax"), STATISTICS * 2],
)
def test_statistics_without_our_backends_are_no_count(answer: str) -> None:
    with pytest.raises(UnexpectedAnswerError):
        parse_established(answer, VIRTUAL, "blue")


def test_file_of_the_map_says_one_side_twice() -> None:
    assert map_text("green").splitlines()[1:] == ["standing green", "active green"]


@pytest.mark.parametrize("path", ["relative", "/with blank", "/with;semicolon", "/with\nline", "/", ""])
def test_paths_are_single_words_of_the_runtime_api(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        HaproxyFiles(socket=path)
    with pytest.raises(ValueError, match="path"):
        HaproxyFiles(map=path)


def api_that_says(said: bytes) -> RuntimeApi:
    node = FakeTransport()
    node.commands["sh"] = lambda _argv, _stdin: (0, said, b"")
    return RuntimeApi(node, "/socket")


@pytest.mark.parametrize("said", [b"", b"one\n\n", b"one\n\ntwo\n\nand more", b"x" * MAX_ANSWER_BYTES + b"\n\n\n\n"])
def test_answers_that_are_too_few_or_too_long_are_none(said: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError):
        api_that_says(said).ask("show map /m", "show servers state", shown=2)


def test_what_is_said_to_a_change_is_kept_apart_from_what_is_shown() -> None:
    answers = api_that_says(b"\n\nentry not found.\n\none\n\ntwo\n\n").ask("set map", "a", "b", shown=2)
    assert answers == ["entry not found.", "one", "two"]
