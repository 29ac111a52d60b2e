"""An upload whose installer was killed still ends on the node, and meets the upload of the next installer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.installer.adapters.transport.command import CommandTransport
from tests.lab.nodes import wait_until

CONTENT = bytes(range(256)) * 4096
DIGEST = digest_of(CONTENT)
REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(90)

_FIRST = """
import sys, time
from teraferry.installer.adapters.transport.command import CommandTransport
def pieces():
    yield bytes(1000)
    time.sleep(60)
CommandTransport("vol-1", []).upload(pieces(), sys.argv[1], mode=0o755, digest=sys.argv[2])
"""


def part_bytes(path: Path) -> list[int]:
    return sorted(part.stat().st_size for part in path.parent.glob("*.part*"))


def test_upload_survives_the_late_end_of_one_whose_installer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "bin" / "weed.d" / "program"
    first = subprocess.Popen([sys.executable, "-c", _FIRST, str(path), DIGEST], cwd=REPOSITORY)
    wait_until("the first part file", lambda: part_bytes(path) == [1000])

    def pieces() -> Iterator[bytes]:
        yield CONTENT[:70_000]
        wait_until("the second part file", lambda: 70_000 in part_bytes(path))
        first.kill()
        first.wait()
        # What it left running on the node finds its part file cut short, and takes it away.
        wait_until("the end of the first upload", lambda: len(part_bytes(path)) < 2)
        yield CONTENT[70_000:]

    CommandTransport("vol-1", []).upload(pieces(), str(path), mode=0o755, digest=DIGEST)

    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == ["program"]


def test_upload_takes_away_what_a_power_cut_left_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "program"
    left = tmp_path / "program.part.999999999"
    left.write_bytes(CONTENT[:10])

    CommandTransport("vol-1", []).upload([CONTENT], str(path), mode=0o755, digest=DIGEST)

    assert [each.name for each in tmp_path.iterdir()] == ["program"]
