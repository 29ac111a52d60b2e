"""The site lock on the nodes themselves: two installers on two machines must not work on one site.

The lock on this machine's state folder (``lock``) knows nothing of another laptop. So each node holds a small file
that says who is at work on it. It is left there while an install is half done, whoever died, and taken away when it
has ended. A machine that is lost leaves its file behind; another takes it over by naming the holder, deliberately.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import NodeTransport

LOCK_PATH: Final = "/var/lib/teraferry-node/lock"
"""On every node. Not below /run: a node that restarts in the middle of an install is still in its hands."""

_MACHINE_ID: Final = Path("/etc/machine-id")
_STATUS_HELD: Final = 75
_MAX_SAID_CHARACTERS: Final = 200

_ACQUIRE = """
set -eu
path=$1 holder=$2 text=$3 instead_of=$4
mkdir -p "$(dirname "$path")"
part="$path.$$"
trap 'rm -f "$part"' EXIT
printf '%s\\n' "$text" >"$part"
sync "$part"
if ! ln "$part" "$path" 2>/dev/null; then
  found=$(cat "$path")
  case $found in
    *"\\"holder\\": \\"$holder\\""*) echo kept; exit 0 ;;
  esac
  case $instead_of in
    '') printf '%s\\n' "$found"; exit 75 ;;
  esac
  case $found in
    *"\\"holder\\": \\"$instead_of\\""*) mv -f "$part" "$path" ;;
    *) printf '%s\\n' "$found"; exit 75 ;;
  esac
fi
sync "$(dirname "$path")"
echo taken
"""
# A hard link is made or it is not: of two installers at the same moment one fails, and neither sees half a file.

_RELEASE = """
path=$1 holder=$2
case $(cat "$path" 2>/dev/null) in
  *"\\"holder\\": \\"$holder\\""*) rm -f "$path" ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds locks: one state folder on one machine."""

    id: str  # 16 hex digits
    place: str  # "laptop-7:/var/lib/teraferry", for people


def this_holder(state: Path) -> Holder:
    """Return the holder that this machine and ``state`` make; the same tomorrow, with nothing written down."""
    host = socket.gethostname()
    machine = _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else host
    where = state.resolve()
    return Holder(hashlib.sha256(os.fsencode(f"{machine}\0{where}")).hexdigest()[:16], f"{host}:{where}")


class NodeLocks:
    """``Lock`` over every node of a site.

    Args:
        transports: Node name -> how it is reached.
        holder: Who takes the locks.
        instead_of: Id of a holder whose locks are taken over; "" for nobody's.
        path: Where the lock lies on a node.
        may_miss: Nodes that cannot be reached are gone without, as long as there is one that can: what brings
            traffic back from a cluster that died must not wait for it.
    """

    def __init__(
        self,
        transports: Mapping[str, NodeTransport],
        holder: Holder,
        *,
        instead_of: str = "",
        path: str = LOCK_PATH,
        may_miss: bool = False,
    ) -> None:
        self._may_miss = may_miss
        self._transports = transports
        self._holder = holder
        self._instead_of = instead_of
        self._path = path

    def acquire(self) -> None:
        """Take the lock on every node; see ``installer.ports.Lock``."""
        taken: list[str] = []
        try:
            missed = [node for node in self._transports if not self._reach(node, taken)]
            if missed and len(missed) == len(self._transports):
                self._acquire(missed[0])  # raises, in its own words
        except RefusedError:
            # Those that were ours before stay ours: an install of ours is half done there.
            self._release(taken)
            raise

    def release(self) -> None:
        """Give the lock back on every node; see ``installer.ports.Lock``."""
        self._release(list(self._transports))

    def _reach(self, node: str, taken: list[str]) -> bool:
        """Take the lock on one node; False when it is one that may be missed."""
        try:
            if self._acquire(node):
                taken.append(node)
        except RefusedError as error:
            if not self._may_miss or error.reference != "node-unreachable":
                raise
            return False
        return True

    def _acquire(self, node: str) -> bool:
        """Take the lock on one node; False when it was ours already."""
        holder = self._holder
        arguments = (self._path, holder.id, json.dumps({"holder": holder.id, "place": holder.place}), self._instead_of)
        done = self._transports[node].run(["sh", "-c", _ACQUIRE, "sh", *arguments])
        if done.status == _STATUS_HELD:
            raise _held(node, done.text())
        if done.status:
            said = done.stderr.decode("utf-8", "replace").strip()[:_MAX_SAID_CHARACTERS]
            raise RefusedError(
                "node-lock-failed",
                f"node {node}: the lock {self._path} was not written ({said or done.status}), expected it to be",
                hint=f"Let the transport's user write there: make {Path(self._path).parent} and give it to that user.",
                exit_status=42,
                facts={"node": node, "path": self._path},
            )
        return done.text().strip() == "taken"

    def _release(self, nodes: Sequence[str]) -> None:
        for node in nodes:
            # A lock that stays keeps others out, not us: it is no reason to call a good install bad.
            with suppress(RefusedError):
                self._transports[node].run(["sh", "-c", _RELEASE, "sh", self._path, self._holder.id])


def _held(node: str, said: str) -> RefusedError:
    try:
        lock = json.loads(said)
        holder, place = str(lock["holder"]), str(lock["place"])
    except (ValueError, KeyError, TypeError):
        holder, place = "", f"a lock that cannot be read ({said.strip()[:_MAX_SAID_CHARACTERS]!r})"
    return RefusedError(
        "node-locked",
        f"node {node}: held by {place}, expected no other installer at this site",
        hint="Finish the install that was begun there. If that machine is lost for good, take its locks over: "
        f"install KIT --instead-of {holder or 'HOLDER'}.",
        exit_status=42,
        facts={"node": node, "holder": holder, "place": place},
    )
