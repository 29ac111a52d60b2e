"""Memory does not grow with the bundle: the same peak for 64 MiB and for 512 MiB."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 1024 * 1024
SCRIPT = """
import io, os, random, re, sys
from pathlib import Path
from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.archive_writer import EntrySource, write_archive
from teraferry.bundles.progress import Silent
from tests.fakes.small_bundle import signed_facts, sources_of

length, path = int(sys.argv[1]), Path(sys.argv[2])
block = random.Random(1).randbytes(1024 * 1024)

class Endless(io.RawIOBase):
    "Length bytes that lie nowhere: a number and noise, a block at a time."
    def __init__(self):
        self.at = 0
    def readable(self):
        return True
    def readinto(self, into):
        count = min(len(into), length - self.at, len(block))
        into[:count] = block[:count]
        into[: min(count, 8)] = self.at.to_bytes(8, "big")[: min(count, 8)]
        self.at += count
        return count

def digest():
    import hashlib
    sha256, source = hashlib.sha256(), Endless()
    piece = bytearray(4 * len(block))
    while count := source.readinto(piece):
        sha256.update(memoryview(piece)[:count])
    return "sha256:" + sha256.hexdigest()

def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

name = layout.blob_name(digest())
with path.open("w+b") as file:
    sources = [*sources_of([]), EntrySource(name, length, None, Endless)]
    written = write_archive(file, sources, jobs=2, mtime=0, progress=Silent())
after_write = peak_kib()
with BundleReader(path, signed_facts(written)) as reader:
    reader.verify_whole(Silent())
    reader.verify_contents(Silent())
    assert sum(len(view) for view in reader.stream_entry(name)) == length
print(after_write, peak_kib())
"""


def peaks_bytes(folder: Path, length: int) -> tuple[int, int]:
    """Return the peak resident bytes after writing, and after verifying and streaming too."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(length), str(folder / "bundle.tar.gz")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    (folder / "bundle.tar.gz").unlink(missing_ok=True)
    assert done.returncode == 0, f"{shutil.disk_usage(folder).free >> 20} MiB free\n{done.stderr}"
    written, read = map(int, done.stdout.split())
    return written * 1024, read * 1024


@pytest.mark.timeout(300)
def test_peak_memory_is_the_same_for_a_bundle_eight_times_as_large(tmp_path: Path) -> None:
    small, large = peaks_bytes(tmp_path, 64 * MIB), peaks_bytes(tmp_path, 512 * MIB)

    assert large[0] - small[0] < 20 * MIB
    assert large[1] - small[1] < 20 * MIB
    assert max(large) < 150 * MIB
