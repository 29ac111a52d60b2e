"""Changes that keep a document a document, so that the fuzzer gets past its syntax.

Bytes changed blindly are refused by the JSON or TOML parser nearly always, and by a gzip trailer just as well.
So half of the time an input is taken apart, one place in it is changed, and it is put together again.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from teraferry.bundles import layout
from teraferry.bundles.entry_header import encoded_header_length
from teraferry.bundles.tar_header import END_OF_ARCHIVE, encode_tar_header, padded_length
from teraferry.keys.room.request import BEGIN, END
from tests.fakes.hostile_archive import deflated_member, stored_member

Mutate = Callable[[bytes, random.Random], bytes]

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 255, 2**31, 2**53 - 1, 2**53, -(2**63), 10**40, 1.5, float("inf")),
    *("", "a", "..", "../x", "/", "a/b", "\0", "\ud800", "é", "x" * 300, "sha256:" + "0" * 64, "1.0.0", "9" * 400),
    *("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "teraferry", "ed25519", "root"),
    *([], {}, [[]], [{}], {"": {}}, {"teraferry": 1}, ["a", "a"]),
)
ODD_LINES = (
    *(b"[site]", b"[[node]]", b"[[key]]", b"[green]", b"[traffic]", b"[node.transport]", b"[a.b.c]", b"[[site]]"),
    *(b"x = 1", b"a.b = 1", b"site.tier = 2", b"= 1", b"[", b'"', b"'''", b'"""', b"\\u0000", b"\xff", b"#\x00"),
)
ODD_TOML = (
    *(b"1", b"-1", b"1.5", b"inf", b"nan", b"true", b"[]", b"{}", b'""', b'"a"', b"''", b"0x1F", b"1e400", b"9" * 30),
    *(b"9" * 5000, b"1979-05-27T07:32:00Z", b"07:32:00", b'"\\uD800"', b'"' + b"x" * 5000 + b'"', b"[[[]]]"),
    *(b"{a = 1}", b'["x"]', b'"/"', b'"http://[::1"', b'"http://h:99999"', b'"[::1]:80"', b'"h:"', b'"\\n"'),
)


def mutate_json(content: bytes, draw: random.Random) -> bytes:
    """Change one to three places of a JSON document."""
    document = json.loads(content)
    for _ in range(draw.randint(1, 3)):
        document = _changed(document, draw)
    # As the writers write it, or a mutated index would be refused for its spelling alone.
    text = json.dumps(document, sort_keys=draw.random() < 0.9, separators=(",", ":"))
    return text.encode() + (b"\n" if content.endswith(b"\n") else b"")


def _changed(node: Any, draw: random.Random) -> Any:
    """Return ``node`` with one place below it changed, or another node in its place."""
    if not isinstance(node, dict | list) or not node or draw.random() < 0.1:
        return _odd(node, draw)
    copy: Any = node.copy()
    at: Any = draw.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    chance = draw.random()
    if chance < 0.1:
        del copy[at]
    elif chance < 0.2 and isinstance(copy, dict):
        copy[str(draw.choice(ODD_VALUES))[:60]] = copy.pop(at)
    elif chance < 0.3 and isinstance(copy, list):
        copy.insert(at, copy[draw.randrange(len(copy))])
    else:
        copy[at] = _changed(copy[at], draw)
    return copy


def _odd(node: Any, draw: random.Random) -> Any:
    if isinstance(node, int) and draw.random() < 0.5:
        return node + draw.choice((-512, -1, 1, 512))
    if isinstance(node, str) and node and draw.random() < 0.5:
        at = draw.randrange(len(node))
        return node[:at] + draw.choice(("", "0", "/", ".", "A", "\n", "\x1b", "é")) + node[at + draw.randint(0, 1) :]
    return draw.choice(ODD_VALUES)


def mutate_metadata(content: bytes, draw: random.Random) -> bytes:
    """Change the JSON behind the first byte."""
    return content[:1] + mutate_json(content[1:], draw)


def mutate_request(content: bytes, draw: random.Random) -> bytes:
    """Change the line of JSON, or a document in it; the text, which follows from it, now and then too."""
    text, begin, rest = content.partition(f"\n{BEGIN}\n".encode())
    line, end, after = rest.partition(f"\n{END}\n".encode())
    request = json.loads(line)
    name = draw.choice(("targets", "checksums", "manifest", "roots", "index", "previous", "snapshot", "timestamp"))
    inner = request.get(name)
    if isinstance(inner, str) and inner.startswith("{") and draw.random() < 0.8:
        request[name] = mutate_json(inner.encode(), draw).decode()
    elif isinstance(inner, list) and inner and draw.random() < 0.5:
        request[name] = [mutate_json(one.encode(), draw).decode() for one in inner]
    else:
        request = _changed(request, draw)
    if draw.random() < 0.2:
        text = text[: draw.randrange(len(text) + 1)] + draw.choice((b"\x1b[2J", b"\n", b"\xe2\x80\xae", b""))
    line = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return text + begin + line + end + after


def mutate_tail(content: bytes, draw: random.Random) -> bytes:
    """Change the index inside, or what stands around it, and put the right gzip frames around it again."""
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = inflater.decompress(content[encoded_header_length(layout.INDEX, 0) :], 1 << 20).rstrip(b"\0")
    if draw.random() < 0.8:
        with suppress(ValueError):
            plain = mutate_json(plain, draw)
    claimed = len(plain) + (draw.choice((-512, -1, 1, 512, 2**26, 2**33)) if draw.random() < 0.2 else 0)
    header = encode_tar_header(layout.INDEX, size_bytes=max(0, claimed), mtime=draw.randrange(2**33))
    end = END_OF_ARCHIVE[: draw.choice((1024, 1024, 1024, 512, 0))]
    # Compressed a little: a fuzzer needs speed more than it needs small inputs.
    body = deflated_member(plain.ljust(padded_length(len(plain)), b"\0"), level=1)
    return stored_member(_odd_header(header, draw)) + body + stored_member(end)


def mutate_entry(content: bytes, draw: random.Random) -> bytes:
    """Change the claims, the header or the content, and put the right gzip frames around it again."""
    claimed = int.from_bytes(content[:2], "big")
    plain = draw.randbytes(draw.randrange(40)) * draw.randrange(1, 50)
    length = draw.choice((claimed, len(plain)))
    header = stored_member(_odd_header(encode_tar_header("blob", size_bytes=length, mtime=0), draw))
    is_stored = draw.random() < 0.5
    whole = plain.ljust(padded_length(draw.choice((length, len(plain)))), draw.choice((b"\0", b"\1")))
    member = stored_member(whole) if is_stored else deflated_member(whole, level=1)
    return length.to_bytes(2, "big") + (b"\x80" if is_stored else b"\0") + header + member


def _odd_header(header: bytes, draw: random.Random) -> bytes:
    """Return a tar header, now and then with some bytes of one place changed and the right sum."""
    block = bytearray(header)
    if draw.random() < 0.3:
        start, length = draw.choice(((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (257, 8), (345, 155)))
        at = draw.randrange(length)
        odd = draw.choice((b"\0", b"0", b"1", b"7", b"8", b"5", b"L", b"x", b"\xff", b"/", b"7" * 12, b"-1", b" "))
        odd = odd[: length - at]
        block[start + at : start + at + len(odd)] = odd
        block[-512 + 148 : -512 + 156] = b" " * 8
        block[-512 + 148 : -512 + 156] = b"%06o\0 " % sum(block[-512:])
    return bytes(block)


def mutate_toml(content: bytes, draw: random.Random) -> bytes:
    """Change one to three lines."""
    lines = content.split(b"\n")
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(lines))
        name, equals, _ = lines[at].partition(b"=")
        chance = draw.random()
        if chance < 0.2:
            del lines[at]
        elif chance < 0.4:
            lines.insert(at, draw.choice((*lines, *ODD_LINES)))
        elif equals and chance < 0.9:
            lines[at] = name + b"= " + draw.choice(ODD_TOML)
        else:
            lines[at] = draw.choice(ODD_LINES)
        lines = lines or [b""]
    return b"\n".join(lines)


MUTATORS: Mapping[str, Mutate] = {
    "manifest": mutate_json,
    "index": mutate_json,
    "tail": mutate_tail,
    "entry": mutate_entry,
    "metadata": mutate_metadata,
    "request": mutate_request,
    "answer": mutate_json,
    "site": mutate_toml,
    "receipt": mutate_json,
}


def mutate(name: str, content: bytes, seed: int) -> bytes | None:
    """Return ``content`` changed with its structure kept, or None where it has none that is known."""
    draw = random.Random(seed)
    try:
        return MUTATORS[name](content, draw)
    except (ValueError, AttributeError, TypeError, RecursionError, zlib.error):
        return None
