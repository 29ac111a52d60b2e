"""Say on which line of a TOML file a field stands, for errors that name file and line. Pure.

``tomllib`` forgets lines, so the text is scanned for the table and the key. The scan never decides
what the file means; where it loses its way it names the nearest line above.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

Path = Sequence[str | int]
"""Where a value lies: ``("image", 0, "name")``."""

_HEADER: Final = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY: Final = re.compile(r"""^\s*("[^"]*"|'[^']*'|[A-Za-z0-9_.-]+)\s*=""")


def line_of(text: str, path: Path) -> int:
    """Return the 1-based line of the value at ``path``, or of the table it would stand in."""
    names = [part for part in path if isinstance(part, str)]
    indexes = [part for part in path if isinstance(part, int)]
    if not names:
        return 1
    wanted = indexes[0] if indexes else 0
    current, seen, best = "", -1, 1
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            current = header.group(2).strip("\"'")
            if current == names[0]:
                seen += 1
                best = number if seen == wanted else best
            continue
        key = _KEY.match(line)
        if key is None:
            continue
        found = key.group(1).strip("\"'")
        if current == "" and found == names[0]:
            return number
        if current == names[0] and seen == wanted and len(names) > 1 and found.split(".")[0] == names[1]:
            return number
    return best
