"""A QR code in letters, for a terminal, a mail and paper alike. Pure.

Version and mask are fixed rather than chosen by the library: the drawing is part of a request, which is
compared byte for byte, so the same text must always give the same drawing.
"""

from __future__ import annotations

from typing import Final

import segno

_VERSION: Final = 5
"""37 by 37 modules: 84 bytes at error level M; a digest with its prefix has 71."""

_MASK: Final = 4
_QUIET_MODULES: Final = 4
"""Empty modules around it (ISO/IEC 18004, section 6.3.8)."""

_HALVES: Final = {(0, 0): " ", (1, 0): "\N{UPPER HALF BLOCK}", (0, 1): "\N{LOWER HALF BLOCK}", (1, 1): "\N{FULL BLOCK}"}


def qr_lines(text: str) -> list[str]:
    """Return the lines of a QR code that holds ``text``; each line shows two rows of modules.

    Raises:
        ValueError: ``text`` is too long for the fixed size.
    """
    code = segno.make_qr(text, error="m", version=_VERSION, mask=_MASK, mode="byte", boost_error=False)
    rows = [list(row) for row in code.matrix_iter(border=_QUIET_MODULES)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    return [
        "".join(_HALVES[upper, lower] for upper, lower in zip(*pair, strict=True)).rstrip()
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]
