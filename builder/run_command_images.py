"""Find the image in a ``docker run`` or ``podman pull`` that stands in a unit file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

_COMMAND: Final = re.compile(
    r"(?:^|[\s/=\"'])(?:docker|podman|nerdctl)\s+(?:container\s+|image\s+)?(run|create|pull)\s+(.*)$"
)
_WITHOUT_VALUE: Final = frozenset(
    {
        "--detach",
        "--rm",
        "--interactive",
        "--tty",
        "--privileged",
        "--init",
        "--read-only",
        "--no-healthcheck",
        "--replace",
        "--publish-all",
        "--sig-proxy",
        "--oom-kill-disable",
        "--quiet",
        "--all-tags",
        "--disable-content-trust",
        "--tls-verify",
        "--env-host",
        "--http-proxy",
        "--no-hosts",
        "--no-hostname",
        "--read-only-tmpfs",
        "--rmi",
        "--rootfs",
        "--passwd",
    }
)
"""Long options that take no next word; every other one without ``=`` does."""

_SHORT_WITHOUT_VALUE: Final = frozenset("ditPqa")


def images_in_command(line: str) -> Iterator[str]:
    """Yield the image that ``line`` would run, create or pull, if it does any of these.

    Source: ``docker run --help`` and ``podman run --help``: options come first, then the image.
    """
    match = _COMMAND.search(line)
    if match is None:
        return
    words = match.group(2).split()
    image = _first_argument(words, is_pull=match.group(1) == "pull")
    if image:
        yield image.strip("\"'")


def _first_argument(words: Sequence[str], *, is_pull: bool) -> str | None:
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("--"):
            skip = "=" not in word and word not in _WITHOUT_VALUE
        elif word.startswith("-") and len(word) > 1:
            # "-a" attaches a stream for run and asks for all tags for pull.
            flags = word[1:] if is_pull else word[1:].replace("a", "?")
            skip = len(flags) == 1 and flags not in _SHORT_WITHOUT_VALUE
            skip = skip or (len(flags) > 1 and set(flags[:-1]) <= _SHORT_WITHOUT_VALUE and flags[-1] in "evpulwh?")
        else:
            return word
    return None
