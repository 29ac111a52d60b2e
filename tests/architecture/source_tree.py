"""What the architecture tests read: our modules, what they import, and what git tracks."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("bundles", "keys", "builder", "installer")
GENERATED = {
    "installer/adapters/cluster/seaweedfs_pb2.py",
    "installer/adapters/replicator/seaweedfs_filer_pb2.py",
}


@dataclass(frozen=True)
class Module:
    """One Python file of ours."""

    path: str  # from the repository
    tree: ast.Module

    @property
    def package(self) -> str:
        """Return the top-level folder."""
        return self.path.split("/", 1)[0]

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield (line, dotted name) for every import; ``from a.b import c`` yields both a.b and a.b.c."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                # A relative import stays inside its package; ours are spelled out, and a test says so.
                base = "." * node.level + (node.module or "")
                yield node.lineno, base
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Return every module below ``folders``, generated ones left out."""
    found = []
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            name = path.relative_to(REPOSITORY).as_posix()
            if name not in GENERATED:
                found.append(Module(name, ast.parse(path.read_text(encoding="utf-8"), filename=name)))
    return tuple(found)


def is_within(name: str, package: str) -> bool:
    """Tell whether the dotted ``name`` is ``package`` or below it."""
    return name == package or name.startswith(package + ".")


@cache
def tracked_files() -> tuple[Path, ...]:
    """Return the files that a commit would hold: tracked ones, and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    paths = (REPOSITORY / name for name in listed.split("\0") if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def tracked_text() -> Iterator[tuple[str, int, str]]:
    """Yield (file, line number, line) of every tracked file that is text."""
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            yield path.relative_to(REPOSITORY).as_posix(), number, line
