"""Nodes fetch large files from a real registry by themselves; whatever goes wrong, the file is sent to them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from teraferry.bundles.digest import Buffer, Digest, digest_of, hex_of
from teraferry.bundles.errors import Fact, RefusedError
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.registry.distribution import open_registry
from teraferry.installer.adapters.registry.settings import RegistrySettings, load_credentials
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.workload.pulled_file import FilePull, PullSource
from teraferry.installer.adapters.workload.staged_file import StagedFiles
from teraferry.installer.images.files import REPOSITORY, PublishedFiles
from tests.lab.registry import LabRegistry, make_authority

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

CONTENT = os.urandom(3_000_000)
DIGEST = digest_of(CONTENT)
SPIES = """#!/bin/sh
printf '%s\\n' "$*" >>{seen}
exec /usr/bin/curl "$@"
"""


class Counted(CommandTransport):
    """A node that counts what is sent to it."""

    def __init__(self, prefix: tuple[str, ...] = ()) -> None:
        super().__init__("n1", prefix)
        self.uploads = 0

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        self.uploads += 1
        super().upload(pieces, path, mode=mode, digest=digest)


class Said(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.found: list[Fact] = []

    def say(self, event: str, text: str, **facts: Fact) -> None:
        self.found.append(facts.get("found"))


@dataclass
class Rig:
    """One node, one registry, one file."""

    lab: LabRegistry
    place: str
    said: Said = field(default_factory=Said)
    asked: int = 0  # how often the bundle was asked for the file

    @property
    def settings(self) -> RegistrySettings:
        lab = self.lab
        return RegistrySettings(url=lab.url, ca=lab.ca_file, user=lab.user, password_file=lab.password_file)

    def published(self) -> PublishedFiles:
        return PublishedFiles(open_registry(self.settings, connections=1), {DIGEST: len(CONTENT)}, self._pieces)

    def source(self, *, ca: Path | None = None, publish: Callable[[], None] | None = None) -> PullSource:
        return PullSource(
            repository_url=f"{self.lab.url}/v2/{REPOSITORY}",
            ca_pem=(ca or self.lab.ca_file).read_text,
            credentials=lambda: load_credentials(self.settings),
            publish=publish or self.published().publish,
            progress=self.said,
        )

    def stage(self, transport: CommandTransport, source: PullSource) -> Path:
        """Bring the file to the node, and return where it lies."""
        pull = FilePull("n1", transport, source, len(CONTENT))
        StagedFiles(transport, self.place, pull=pull).stage([CONTENT], DIGEST, mode=0o750)
        return Path(f"{self.place}.d") / hex_of(DIGEST)

    def _pieces(self, digest: Digest) -> Iterable[Buffer]:
        self.asked += 1
        return [CONTENT]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with LabRegistry(tmp_path / "registry") as lab:
        yield Rig(lab, str(tmp_path / "opt" / "app"))


def require_there(file: Path) -> None:
    assert (file.read_bytes(), file.stat().st_mode & 0o7777) == (CONTENT, 0o750)
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_node_fetches_the_file_and_nothing_is_sent_to_it(rig: Rig) -> None:
    node, source = Counted(), rig.source()

    file = rig.stage(node, source)
    shutil.rmtree(file.parent)
    rig.stage(node, source)

    require_there(file)
    assert (node.uploads, rig.asked, rig.said.found) == (0, 1, [])


def test_password_is_in_no_argument(rig: Rig, tmp_path: Path) -> None:
    spy, seen = tmp_path / "bin" / "curl", tmp_path / "seen"
    spy.parent.mkdir()
    spy.write_text(SPIES.format(seen=seen))
    spy.chmod(0o755)
    node = Counted(("env", f"PATH={spy.parent}:{os.environ['PATH']}"))

    require_there(rig.stage(node, rig.source()))

    assert node.uploads == 0
    assert DIGEST in seen.read_text()
    assert rig.lab.password not in seen.read_text()


def test_node_without_curl_is_sent_the_file(rig: Rig, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "dirname", "mkdir", "rm", "mktemp", "chmod", "sync", "mv", "cat", "sha256sum"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    node = Counted(("env", f"PATH={tools}"))

    require_there(rig.stage(node, rig.source()))

    assert (node.uploads, rig.said.found) == (1, ["it has no curl"])


def test_registry_that_serves_other_bytes_gains_nothing(rig: Rig) -> None:
    published = rig.published()
    published.publish()
    stored = (
        Path(str(rig.lab.storage)) / "docker/registry/v2/blobs/sha256" / hex_of(DIGEST)[:2] / hex_of(DIGEST) / "data"
    )
    other = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    stored.write_bytes(other)
    node = Counted()

    require_there(rig.stage(node, rig.source(publish=published.publish)))

    assert (node.uploads, rig.said.found) == (1, [f"the registry served {digest_of(other)}"])


def test_registry_of_another_authority_is_not_believed(rig: Rig, tmp_path: Path) -> None:
    node = Counted()

    require_there(rig.stage(node, rig.source(ca=make_authority().write(tmp_path / "other.pem"))))

    assert node.uploads == 1
    assert "certificate" in str(rig.said.found[0])


def test_registry_that_cannot_be_filled_is_asked_once_and_every_node_is_sent_the_file(rig: Rig) -> None:
    asked = []

    class Full(PublishedFiles):
        def _publish(self) -> None:
            asked.append(1)
            raise RefusedError("registry-refused", "push: 507, expected 201", hint="Make room.", exit_status=44)

    nodes = [Counted(), Counted()]
    source = rig.source(publish=Full(open_registry(rig.settings, connections=1), {DIGEST: 1}, lambda _: ()).publish)
    for node in nodes:
        shutil.rmtree(rig.stage(node, source).parent)

    assert ([node.uploads for node in nodes], len(asked)) == ([1, 1], 1)


def test_file_outlives_the_registrys_garbage_collection(rig: Rig) -> None:
    rig.published().publish()
    config = rig.lab.folder / "config.yml"

    subprocess.run(
        ["docker-registry", "garbage-collect", "--delete-untagged", str(config)],
        check=True,
        capture_output=True,
        timeout=60,
    )

    served = b"".join(open_registry(rig.settings, connections=1).read_blob(REPOSITORY, DIGEST))
    assert digest_of(served) == DIGEST
