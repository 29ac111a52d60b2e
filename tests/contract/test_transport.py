"""What every ``NodeTransport`` must do: the fake, this machine, a command prefix, and ssh, in one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.adapters.transport.ssh import SshTransport
from teraferry.installer.ports import NodeTransport
from tests.fakes.transport import FakeTransport
from tests.lab.sshd import LabSshd

NO_ROOM = "ulimit -f 1; trap '' XFSZ"
"""A file may grow to one block only: what a full disk does to a write, without filling one."""

CONTENT = os.urandom(3 * 1024 * 1024 + 7)


@dataclass(frozen=True)
class Rig:
    """One transport, a node that is down, and what lies on the node."""

    transport: NodeTransport
    down: NodeTransport
    full: NodeTransport | None
    folder: str
    read: Callable[[str], tuple[bytes, int] | None]
    names: Callable[[], list[str]]


def _fake() -> Rig:
    transport, down, full = FakeTransport(), FakeTransport(), FakeTransport()
    down.reachable = False
    full.room_bytes = 1024
    return Rig(transport, down, full, "/opt", transport.files.get, lambda: [Path(p).name for p in transport.files])


def _real(
    transport: NodeTransport, folder: Path, *, down: NodeTransport | None = None, full: NodeTransport | None = None
) -> Rig:
    def read(path: str) -> tuple[bytes, int] | None:
        file = Path(path)
        return (file.read_bytes(), file.stat().st_mode & 0o7777) if file.exists() else None

    down = down or CommandTransport("down", ("sh", "-c", "echo no route to host >&2; exit 255"))
    full = full or CommandTransport("full", ("sh", "-c", f'{NO_ROOM}; mkdir -p {folder}; exec "$@"', "sh"))
    return Rig(transport, down, full, str(folder), read, lambda: [entry.name for entry in folder.glob("*")])


@contextmanager
def _ssh(folder: Path) -> Iterator[Rig]:
    place = folder / "opt"
    forced = f'{NO_ROOM}; mkdir -p {place}; eval \\"$SSH_ORIGINAL_COMMAND\\"'
    with LabSshd(folder / "sshd") as server, LabSshd(folder / "full", forced=forced) as full:
        nobody = replace(server.address, port=1)
        yield _real(
            SshTransport("there", server.address),
            place,
            down=SshTransport("down", nobody),
            full=SshTransport("full", full.address),
        )


@pytest.fixture(params=["fake", "local", "command", "ssh"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "fake":
        yield _fake()
    elif request.param == "ssh":
        with _ssh(tmp_path) as rig:
            yield rig
    elif request.param == "local":
        yield _real(LocalTransport("here"), tmp_path / "opt")
    else:
        yield _real(CommandTransport("there", ("sh", "-c", 'echo welcome >&2; exec "$@"', "sh")), tmp_path / "opt")


def in_pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1024 * 1024):
        yield content[start : start + 1024 * 1024]


def test_run_returns_status_and_output(rig: Rig) -> None:
    done = rig.transport.run(["echo", "a  b", "$HOME", "'"])
    assert (done.status, done.stdout, done.stderr) == (0, b"a  b $HOME '\n", b"")
    assert done.argv == ("echo", "a  b", "$HOME", "'")


def test_run_does_not_raise_for_a_command_that_fails(rig: Rig) -> None:
    assert rig.transport.run(["false"]).status == 1


def test_run_does_not_raise_for_a_command_that_is_not_there(rig: Rig) -> None:
    assert rig.transport.run(["no-such-command"]).status == 127


def test_run_pipes_stdin(rig: Rig) -> None:
    assert rig.transport.run(["cat"], stdin=CONTENT).stdout == CONTENT


def test_run_refuses_when_the_node_cannot_be_reached(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.down.run(["true"])
    assert (caught.value.reference, caught.value.exit_status) == ("node-unreachable", 40)


def test_upload_writes_the_bytes_with_their_mode_and_leaves_no_part(rig: Rig) -> None:
    path = f"{rig.folder}/program"
    rig.transport.upload(in_pieces(CONTENT), path, mode=0o755, digest=digest_of(CONTENT))
    assert rig.read(path) == (CONTENT, 0o755)
    assert rig.names() == ["program"]


def test_upload_replaces_what_was_there(rig: Rig) -> None:
    path = f"{rig.folder}/program"
    for content in (b"old", b"new"):
        rig.transport.upload([content], path, mode=0o755, digest=digest_of(content))
    assert rig.read(path) == (b"new", 0o755)


def test_upload_of_other_bytes_refuses_and_leaves_the_old_file(rig: Rig) -> None:
    path = f"{rig.folder}/program"
    rig.transport.upload([b"old"], path, mode=0o755, digest=digest_of(b"old"))
    with pytest.raises(RefusedError) as caught:
        rig.transport.upload([b"damaged"], path, mode=0o755, digest=digest_of(b"new"))
    assert (caught.value.reference, caught.value.exit_status) == ("upload-damaged", 40)
    assert rig.read(path) == (b"old", 0o755)
    assert rig.names() == ["program"]


def test_upload_to_a_node_that_is_down_refuses(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.down.upload(in_pieces(CONTENT), f"{rig.folder}/program", mode=0o755, digest=digest_of(CONTENT))
    assert caught.value.reference == "node-unreachable"


def test_upload_to_a_full_node_refuses_and_leaves_nothing(rig: Rig) -> None:
    assert rig.full is not None
    with pytest.raises(RefusedError) as caught:
        rig.full.upload(in_pieces(CONTENT), f"{rig.folder}/program", mode=0o755, digest=digest_of(CONTENT))
    assert (caught.value.reference, caught.value.exit_status) == ("node-no-space", 40)
    assert rig.read(f"{rig.folder}/program") is None
    assert rig.names() == []


def test_upload_whose_source_fails_leaves_the_old_file(rig: Rig) -> None:
    class SourceFailedError(Exception):
        """The bundle's reader found bad bytes."""

    def failing() -> Iterator[bytes]:
        yield b"half"
        raise SourceFailedError

    path = f"{rig.folder}/program"
    rig.transport.upload([b"old"], path, mode=0o755, digest=digest_of(b"old"))
    with pytest.raises(SourceFailedError):
        rig.transport.upload(failing(), path, mode=0o755, digest=digest_of(b"half"))
    assert rig.read(path) == (b"old", 0o755)
