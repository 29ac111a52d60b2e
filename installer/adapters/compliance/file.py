"""``{ file = PATH, max_age_seconds = 300 }``: what another system writes down every few minutes.

A file that nobody renews says what was once so; a file that others may write says what they like. Neither answers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from teraferry.installer.rollout.conditions import MAX_ANSWER_BYTES, CannotAnswerError

AHEAD: Final = timedelta(seconds=5)
"""A file may be this much newer than the clock: file systems and clocks round differently."""


class FileProbe:
    """``ComplianceProbe`` by a file.

    Args:
        name: As site.toml calls it, for messages.
        path: Absolute.
        max_age: Older than this, it is no answer.
        now: Tells the time, aware.
    """

    def __init__(self, name: str, path: Path, *, max_age: timedelta, now: Callable[[], datetime]) -> None:
        self.name = name
        self._path = path
        self._max_age = max_age
        self._now = now

    def ask(self) -> bytes:
        """Return what the file holds; see ``installer.ports.ComplianceProbe``."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise CannotAnswerError(f"{self._path}: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            self._require_believable(found)
            age = self._now() - datetime.fromtimestamp(found.st_mtime, UTC)
            if not -AHEAD <= age <= self._max_age:
                raise CannotAnswerError(f"{self._path}: written {age} ago, the limit is {self._max_age}")
            return file.read(MAX_ANSWER_BYTES + 1)

    def _require_believable(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise CannotAnswerError(f"{self._path}: no regular file")
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CannotAnswerError(f"{self._path}: others may write it")
