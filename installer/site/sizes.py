"""Sizes in a site file: ``64MiB``, ``700MB``. Pure."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE: Final = re.compile(rf"([0-9]{{1,6}})({'|'.join(_UNITS)})\Z")


def parse_size(text: str) -> int:
    """Return the number of bytes that ``text`` names.

    Raises:
        ValueError: No such size; for ``SiteText.checked``.
    """
    found = _SIZE.match(text)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text[:40]!r}, expected a size like 64MiB")
    return int(found[1]) * _UNITS[found[2]]
