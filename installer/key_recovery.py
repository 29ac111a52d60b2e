"""Reads what a site has to bring a key back: its recovery proof, from a place that only root can write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from teraferry.bundles.limits import MAX_RECOVERY_PROOF_BYTES
from teraferry.installer.site.model import Key
from teraferry.keys.continuity.recovery import Recovery, parse_recovery_proof

ROOT_UID = 0


def load_recovery(key: Key) -> Recovery:
    """Return what the site has for ``key``; a proof that cannot be used is a problem, told by whoever needs it."""
    if key.recovery_proof is None:
        return Recovery(accepted_without=key.accepted_without_recovery)
    try:
        return Recovery(parse_recovery_proof(_read(Path(key.recovery_proof))))
    except (OSError, ValueError) as error:
        return Recovery(problem=f"recovery proof {key.recovery_proof}: {error}")


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_uid != ROOT_UID or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others than root may write it")
        content = file.read(MAX_RECOVERY_PROOF_BYTES + 1)
    if len(content) > MAX_RECOVERY_PROOF_BYTES:
        raise ValueError("too large")
    return content
