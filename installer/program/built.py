"""When this installer was built, and for which root: facts that its payload carries along."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

BUILD_DATE_FILE = "build-date"
"""Beside this module in a payload: one line, seconds since 1970. Absent in a source checkout."""

EMBEDDED_ROOT = "TERAFERRY_EMBEDDED_ROOT"
"""Set by the installer file's stub: path of the root it was frozen with. Shown, never trusted by itself."""


def built_at() -> datetime:
    """Return when the payload was built; 1970 for a source checkout, which claims nothing."""
    file = Path(__file__).with_name(BUILD_DATE_FILE)
    seconds = int(file.read_text()) if file.exists() else 0
    return datetime.fromtimestamp(seconds, UTC)


def embedded_root() -> bytes | None:
    """Return the root this installer was frozen with, None when it was not frozen."""
    path = os.environ.get(EMBEDDED_ROOT)
    return Path(path).read_bytes() if path else None
