"""Paths and commands as the site file writes them: plain, absolute, one word a word. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from teraferry.installer.site.text import SiteText, Where


def require_absolute(path: str, text: SiteText, where: Where) -> None:
    """Check that ``path`` can only mean one place.

    Raises:
        UsageError: ``site-bad-value``, 2.
    """
    pure = PurePosixPath(path)
    plain = path.isprintable() and path == str(pure) and ".." not in pure.parts and not path.startswith("//")
    if not pure.is_absolute() or not plain or len(pure.parts) < 2:
        raise text.bad_value(where, f"{path!r}, expected an absolute path without .., // or a / at its end")


def require_words(argv: Sequence[str], text: SiteText, where: Where) -> None:
    """Check that ``argv`` is a program and its arguments.

    Raises:
        UsageError: ``site-bad-value``, 2.
    """
    if not argv[0] or any("\0" in word for word in argv):
        raise text.bad_value(where, "expected a program and its arguments, each in quotes of its own")
