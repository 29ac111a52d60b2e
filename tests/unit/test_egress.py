"""The process refuses to connect to anything that site.toml does not name."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.egress import Egress, is_allowed, make_egress, require_allowed

SITE = make_egress(
    [("registry.site.local", 5000), ("10.0.0.10", 9333), ("2001:db8::1", 8080)],
    resolv_conf="# ours\nsearch site.local\nnameserver 10.0.0.53\n  nameserver fe80::1%eth0\n#nameserver 8.8.8.8\n",
)


def resolve(name: str, port: int) -> list[str]:
    return ["10.0.0.20", "2001:db8::20"] if name == "registry.site.local" else []


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("10.0.0.10", 9333),
        ("::ffff:10.0.0.10", 9333),
        ("2001:0db8:0::1", 8080),
        ("registry.site.local", 5000),
        ("Registry.Site.Local.", 5000),
        ("10.0.0.20", 5000),
        ("2001:db8::20", 5000),
        ("10.0.0.53", 53),
        ("fe80::1%eth0", 53),
    ],
)
def test_egress_allows_what_the_site_names(host: str, port: int) -> None:
    assert is_allowed(SITE, host, port, resolve=resolve)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("10.0.0.10", 443),
        ("10.0.0.11", 9333),
        ("10.0.0.20", 9333),
        ("8.8.8.8", 53),
        ("10.0.0.53", 443),
        ("127.0.0.1", 5000),
        ("example.org", 5000),
        ("010.0.0.10", 9333),
        ("", 5000),
    ],
)
def test_egress_refuses_everything_else(host: str, port: int) -> None:
    with pytest.raises(RefusedError) as refused:
        require_allowed(SITE, host, port, resolve=resolve)

    assert (refused.value.reference, refused.value.exit_status) == ("egress-refused", 40)
    assert refused.value.facts["host"] == host
    assert refused.value.facts["port"] == port


def test_egress_follows_a_name_that_moved_to_another_address() -> None:
    moved = ["10.9.9.9"]

    assert is_allowed(SITE, "10.9.9.9", 5000, resolve=lambda name, port: moved)
    assert not is_allowed(SITE, "10.0.0.20", 5000, resolve=lambda name, port: moved)


def test_egress_of_a_machine_without_nameserver_lines_allows_its_own_resolver() -> None:
    assert make_egress([], resolv_conf="").resolvers == {("127.0.0.1", 53), ("::1", 53)}


def test_egress_never_resolves_for_a_port_without_names() -> None:
    asked: list[str] = []

    is_allowed(SITE, "10.0.0.99", 9333, resolve=lambda name, port: asked.append(name) or [])  # type: ignore[func-returns-value]

    assert asked == []


def test_empty_egress_refuses_all() -> None:
    assert not is_allowed(Egress(frozenset(), frozenset()), "127.0.0.1", 80, resolve=resolve)


GUARDED = """
import asyncio, http.client, socket, sys, urllib.request
from teraferry.bundles.errors import RefusedError
from teraferry.installer.egress import install_egress_guard, make_egress

listener = socket.create_server(("127.0.0.1", 0))
six = socket.create_server(("::1", 0), family=socket.AF_INET6) if socket.has_dualstack_ipv6() else None
port = listener.getsockname()[1]
install_egress_guard(make_egress([("127.0.0.1", port)], resolv_conf="nameserver 127.0.0.53"))

def attempt(what):
    try:
        what()
    except RefusedError as refused:
        return refused.reference
    except OSError as error:
        return type(error).__name__
    return "connected"

def stream(host, port, family=socket.AF_INET):
    with socket.socket(family) as sock:
        sock.settimeout(2)
        sock.connect((host, port))

def stream_ex(host, port):
    with socket.socket() as sock:
        return sock.connect_ex((host, port))

def datagram(host, port):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (host, port))

def message(host, port):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendmsg([b"x"], [], 0, (host, port))

async def opened():
    await asyncio.open_connection("192.0.2.1", 80)

def local():
    left, right = socket.socketpair()
    left.sendall(b"x")

{action}
"""


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ("stream('127.0.0.1', port)", "connected"),
        ("stream('192.0.2.1', 80)", "egress-refused"),
        ("stream('127.0.0.1', port + 1)", "egress-refused"),
        ("stream('::1', 80, socket.AF_INET6)", "egress-refused"),
        ("stream_ex('192.0.2.1', 80)", "egress-refused"),
        ("datagram('192.0.2.1', 53)", "egress-refused"),
        ("message('192.0.2.1', 53)", "egress-refused"),
        ("datagram('127.0.0.53', 53)", "connected"),
        ("http.client.HTTPConnection('192.0.2.1', timeout=2).request('GET', '/')", "egress-refused"),
        ("urllib.request.urlopen('http://192.0.2.1/', timeout=2)", "egress-refused"),
        ("asyncio.run(opened())", "egress-refused"),
        ("local()", "connected"),
    ],
)
def test_guarded_process_connects_only_where_it_may(action: str, outcome: str) -> None:
    # A process of its own: an audit hook stays for the life of a process.
    program = textwrap.dedent(GUARDED).replace("{action}", f"print(attempt(lambda: {action}))")

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout.strip(), done.stderr) == (outcome, "")
