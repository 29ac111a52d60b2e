"""A file is replaced whole, with its mode; on a stick that keeps no modes too, unless it must be private."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from teraferry.bundles.system.durable import durable_replace, write_durably


def written_on_fat(path: Path, mode: int) -> int:
    """Write in a process whose fchmod is answered as a FAT file system answers it; return its exit status."""
    line = "import sys; from pathlib import Path; from teraferry.bundles.system.durable import write_durably\n"
    line += f"write_durably(Path(sys.argv[1]), b'new', mode={mode})"
    injected = ["strace", "-qq", "-o", os.devnull, "-e", "trace=fchmod", "-e", "inject=fchmod:error=EPERM"]
    argv = [*injected, sys.executable, "-c", line, str(path)]
    return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_file_has_the_mode_that_was_asked_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        write_durably(tmp_path / "file", b"new", mode=mode)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_file_system_without_modes_takes_what_everybody_may_read(tmp_path: Path) -> None:
    assert written_on_fat(tmp_path / "file", 0o644) == 0
    assert (tmp_path / "file").read_bytes() == b"new"


def test_file_system_without_modes_never_gets_what_is_private(tmp_path: Path) -> None:
    assert written_on_fat(tmp_path / "file", 0o600) != 0
    assert list(tmp_path.iterdir()) == []


def test_file_that_was_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def fail() -> None:
        with durable_replace(tmp_path / "file") as file:
            file.write(b"new")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]
