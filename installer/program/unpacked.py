"""The programs that installer files unpacked at this site: what runs is kept, the rest is forgotten.

An installer file unpacks its program once, as HOME/<32 hex digits>, and starts it from there ever
after. Each release with another installer would leave one more behind, at 35 MB a piece. After an
install that went well three kinds stay: the program that runs, the one that handed over to it (a
person types that one's file again on the next visit), and any that a process still runs from.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from teraferry.bundles import layout

HANDED_OVER_BY: Final = "TERAFERRY_HANDED_OVER_BY"
"""Set for the installer that is handed over to: the folder of the program that did it."""

_LOCK: Final = ".lock"
"""The stub holds it while it looks at the trees and unpacks."""

_TREE_NAME: Final = re.compile(r"[0-9a-f]{32}")


def running_tree() -> Path | None:
    """Return the folder of the unpacked program that runs; None for source code, which was never unpacked."""
    if not getattr(sys, "frozen", False):
        return None
    tree = Path(sys.executable).parent
    return tree if _is_tree(tree) else None


def forget_old_trees(running: Path | None, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Remove the programs beside ``running`` that nobody needs any more, and return what they were.

    Never raises for a tree that will not go: all it costs is room, and the install is done.
    """
    if running is None:
        return ()
    kept = {running, Path(environment.get(HANDED_OVER_BY) or running)}
    with suppress(OSError):
        # A start that is under way might be about to run one of them: then it is left for another day.
        descriptor = os.open(running.parent / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            old = [path for path in sorted(running.parent.iterdir()) if path not in kept and _is_tree(path)]
            return tuple(path for path in old if not _is_used(path) and _remove(path))
        finally:
            os.close(descriptor)
    return ()


def _is_tree(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir() or not _TREE_NAME.fullmatch(path.name):
        return False
    return (path / layout.CHECKSUMS).is_file() and (path / layout.INSTALLER).is_file()


def _is_used(tree: Path) -> bool:
    programs = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            # It may end while we look.
            with suppress(OSError):
                programs.append((process / "exe").readlink())
    return any(program.is_relative_to(tree) for program in programs)


def _remove(tree: Path) -> bool:
    # Under this name it is no program any more, and every start of an installer removes what is left of it.
    gone = tree.with_name(f".part.{tree.name}")
    try:
        tree.rename(gone)
        shutil.rmtree(gone)
    except OSError:
        return False
    return True
