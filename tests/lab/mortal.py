"""The installer from source, in a process that dies by SIGKILL at the touch of the world that a test chose.

Python's audit events tell of everything that leaves a process, before it happens: a command begun on a node, a call, a
request, a file written or renamed. What changes something is a *touch*. Its name says what it is and which line of the
journal was the newest then, so that the same touch has the same name in the next life; the next life's looks at
earlier steps write lines of their own, which do not count for that. What only looks (GET,
``nft list``, the product's own reading scripts) is none: a death before a look leaves the site as the touch before it
did. What is not known to look counts as a touch, and each line of the journal is one.

The process dies right before the first touch whose name matches ``dies_at`` and that no life before it died at. Typed
again and again, an install dies once at every touch there is, also at those that only a resumed install makes. The
product runs as it is: nothing of it is replaced. Started by ``Mortal.words``, as the installer would be.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.nodes import Node

VARIABLE = "TERAFERRY_MORTAL"
REPOSITORY = Path(__file__).parents[2]
JOURNAL = "journal.jsonl"
APPEND, GATE = "append", "gate"
REACHED = "echo teraferry-node-reached >&2"
"""Begins every script that runs on a node."""

_CHANGES = re.compile(r"\b(?:mv|rm|ln|mkdir|chmod|sync|kill)\b")
"""A script of the product's own without any of these only looks."""

_LOOKING = ("cat", "readlink", "sha256sum")
_LOOKING_CALL = re.compile(
    "Get|List|Lookup|Read|Subscribe|Lease|CopyFile|VolumeList|VolumeNeedleStatus|VolumeEcShardsInfo"
)
"""A lease of the storage's lock lapses by itself; what is done under it are touches of their own."""

_OF_THE_DAY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|[0-9a-f]{64}|(?<=markers/)[^/ ]+")
"""Upload sessions, digests and markers have other names in another run, or even in another life of one."""

_IN_EVERY_LIFE = re.compile(r"node/lock$|^rename ")
"""What every life begins with, whatever the line before it; told apart by the line, each would count many times."""

_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
KEPT = ("touches", "deaths")
_EVENTS = frozenset({"subprocess.Popen", "socket.connect", "http.client.send", "os.rename", "open"})


@dataclass(frozen=True)
class Mortal:
    """An installer that dies; what it touched and died at is kept in ``folder``.

    Args:
        folder: Empty at first; the lives of one install share it.
        nodes: To call them by name.
        dies_at: Where a life may end; nothing at all matches "".
    """

    folder: Path
    nodes: Sequence[Node]
    dies_at: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The installer's own place on a command line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = {str(node.pid): node.name for node in self.nodes}
        told = json.dumps({"folder": str(self.folder), "nodes": names, "dies_at": self.dies_at})
        return ("env", "-C", str(REPOSITORY), f"{VARIABLE}={told}", sys.executable, "-m", "tests.lab.mortal")

    def touches(self) -> list[str]:
        """Return every touch of every life, in order."""
        return _lines(self.folder / "touches")

    def deaths(self) -> list[str]:
        """Return what the lives died at, in order; each once."""
        return _lines(self.folder / "deaths")


class _Hook:
    """Is told of audit events, keeps the touches of one life, and ends it."""

    def __init__(self, folder: Path, nodes: Mapping[str, str], dies_at: str) -> None:
        self._nodes = nodes
        self._died_at = set(_lines(folder / "deaths"))
        self._dies_at = re.compile(dies_at) if dies_at else None
        self._files = {name: os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in KEPT}
        self._busy = threading.RLock()
        self._asking = False  # what this hook does itself is no touch
        self._requests: dict[int, str] = {}
        self._seen: Counter[str] = Counter()
        self._journal: Path | None = None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS:
            return
        with self._busy:
            if self._asking:
                return
            self._asking = True
            try:
                if what := self._touch_of(event, arguments):
                    self._touch(_OF_THE_DAY.sub("*", what))
            finally:
                self._asking = False

    def _touch(self, what: str) -> None:
        line = "any line" if _IN_EVERY_LIFE.search(what) else self._newest_line(gates=what == APPEND)
        name = f"{line} | {what}"
        self._seen[name] += 1
        name += f" #{self._seen[name]}"
        os.write(self._files["touches"], name.encode() + b"\n")
        if self._dies_at is not None and name not in self._died_at and self._dies_at.search(name):
            os.write(self._files["deaths"], name.encode() + b"\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def _newest_line(self, *, gates: bool) -> str:
        """Return the line that tells where an install is: not a look at an earlier step, unless ``gates``."""
        for line in reversed(_lines(self._journal) if self._journal is not None else []):
            newest = json.loads(line)
            if gates or newest["event"] != GATE:
                return f"{newest['event']} {newest['step']}".strip()
        return "no line"

    def _touch_of(self, event: str, arguments: tuple[Any, ...]) -> str:
        """Return what an event is about to change; "" when nothing."""
        match event:
            case "subprocess.Popen":
                return self._command([str(word) for word in arguments[1]])
            case "socket.connect":
                return _call(arguments[1])
            case "http.client.send":
                return self._request(id(arguments[0]), bytes(arguments[1]))
            case "os.rename":
                return f"rename {Path(os.fsdecode(arguments[1])).name}"
            case _:
                return self._opening(arguments[0], arguments[2])

    def _command(self, argv: Sequence[str]) -> str:
        node, there = "here", list(argv)
        if "--target" in argv:
            node = self._nodes.get(argv[argv.index("--target") + 1], "another node")
            there = there[there.index("--") + 1 :]
        if there[:2] == ["sh", "-c"] and there[2].startswith(REACHED):
            is_upload = '"$@"' not in there[2]
            there = ["upload", there[4]] if is_upload else there[4:]
        if there[0] in _LOOKING or there[:3] == ["nft", "-j", "list"]:
            return ""
        if there[:2] == ["sh", "-c"] and '"$@"' not in there[2]:
            verbs = dict.fromkeys(_CHANGES.findall(there[2]))
            there = [*verbs, *there[4:5]]
            if not verbs:
                return ""
        elif there[:2] == ["sh", "-c"]:
            there = there[4:]
        return f"{node}: {' '.join(there)}"

    def _request(self, connection: int, content: bytes) -> str:
        begun = _REQUEST.match(content)
        if begun is not None:
            request = f"{begun[1].decode()} {begun[2].decode().partition('?')[0]}"
            self._requests[connection] = "" if begun[1] in (b"GET", b"HEAD") else request
            return self._requests[connection]
        request = self._requests.get(connection, "")
        return f"in the midst of {request}" if request else ""

    def _opening(self, path: object, flags: object) -> str:
        if not isinstance(path, str | bytes | os.PathLike) or not isinstance(flags, int):
            return ""
        opened = Path(os.fsdecode(path))
        if opened.name != JOURNAL:
            return ""
        self._journal = opened
        return APPEND if flags & os.O_RDWR else ""


def _call(address: Any) -> str:
    """Return the gRPC call that a connection is made for, of which each has its own; "" when it only looks."""
    from grpclib.client import Stream

    frame = sys._getframe()
    while (caller := frame.f_back) is not None:
        frame = caller
        if isinstance(stream := frame.f_locals.get("self"), Stream):
            method = str(stream._method_name).rpartition("/")[2]
            return "" if _LOOKING_CALL.match(method) else f"{method} to {address[0]}"
    return ""


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    """Run the installer's own main."""
    told = json.loads(os.environ.pop(VARIABLE))
    sys.addaudithook(_Hook(Path(told["folder"]), told["nodes"], told["dies_at"]))
    from teraferry.installer.cli import main as install

    install()


if __name__ == "__main__":
    main()
