"""Asks a node, through its transport, for its clock, its free space, its units and what it could fetch a file with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from teraferry.bundles.digest import Digest, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import NodeFacts, NodeTransport, Place

LOOK_SECONDS: Final = 30.0

_LOOK: Final = """
set -eu
printf 'clock %s\\n' "$(date +%s.%N)"
while [ "$1" != -- ]; do
  folder=$(dirname "$1")
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  free=$(df --output=avail -B1 "$folder" | tail -n 1)
  staged=0
  [ ! -f "$1.d/$2" ] || staged=$(stat -c %s "$1.d/$2")
  printf 'place %s %s\\n' "$free" "$staged"
  shift 2
done
shift
for unit; do
  systemctl cat "$unit" >/dev/null 2>&1 || printf 'missing %s\\n' "$unit"
done
command -v curl >/dev/null || echo 'no curl'
echo end
"""


class TransportProbe:
    """``NodeProbe`` of one node.

    Args:
        name: What site.toml calls the node.
        transport: Reaches it.
    """

    def __init__(self, name: str, transport: NodeTransport) -> None:
        self._name = name
        self._transport = transport

    def look(self, files: Sequence[tuple[str, Digest]], units: Sequence[str]) -> NodeFacts:
        """Return what the node says; see ``installer.ports.NodeProbe``."""
        words = [word for path, digest in files for word in (path, hex_of(digest))]
        done = self._transport.run(["sh", "-c", _LOOK, "sh", *words, "--", *units], timeout_seconds=LOOK_SECONDS)
        lines = done.text().splitlines()
        try:
            if done.status != 0 or lines[-1:] != ["end"]:
                raise ValueError("not to its end")
            clock = float(lines[0].removeprefix("clock "))
            told = [line.split()[1:] for line in lines if line.startswith("place ")]
            places = [Place(path, int(free), int(there)) for (path, _), (free, there) in zip(files, told, strict=True)]
        except ValueError as error:
            raise RefusedError(
                "cannot-tell",
                f"node {self._name}: status {done.status}, answered {done.text()[-200:]!r}, expected its clock, free "
                "space and units",
                hint="Try `date`, `df -P` and `systemctl cat` there by hand, then type the same command again.",
                facts={"node": self._name},
            ) from error
        missing = tuple(line.removeprefix("missing ") for line in lines if line.startswith("missing "))
        return NodeFacts(clock, tuple(places), missing, has_curl="no curl" not in lines)
