"""What every ``Workload`` must do: the fake, real programs on this machine, real containers, in one run.

The programs are copies of ``sleep`` with a few bytes behind them, so each version runs and has a
digest of its own. The containers run under a real Docker, from a real registry.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from teraferry.bundles.digest import Digest, digest_of, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.adapters.workload.binary import BinaryWorkload
from teraferry.installer.adapters.workload.command import CommandWorkload
from teraferry.installer.adapters.workload.container import ContainerPlace, ContainerWorkload
from teraferry.installer.adapters.workload.docker_images import DockerImages, ImageSource
from teraferry.installer.adapters.workload.service import Service
from teraferry.installer.cli_workloads import make_workloads
from teraferry.installer.ports import Workload
from teraferry.installer.rollout.plan import plan_rolling
from teraferry.installer.site.model import Node as SiteNode
from tests.fakes.pair_hands import PairWorkload
from tests.fakes.pair_world import PairWorld
from tests.fakes.rollout_site import OLD as IN_MEMORY
from tests.fakes.rollout_site import Life, SiteWorkload, World
from tests.fakes.workload import FakeWorkload
from tests.lab.docker_node import DockerNode, LabImage, release_of, site_of_docker
from tests.lab.nodes import wait_until

SLEEP = Path(shutil.which("sleep") or "/bin/sleep").read_bytes()
OLD, NEW = SLEEP + b"old", SLEEP + b"new"
OLD_DIGEST, NEW_DIGEST = digest_of(OLD), digest_of(NEW)

SERVICE = """#!/bin/sh
set -eu
case "$1" in
start) setsid {path} 600 </dev/null >/dev/null 2>&1 & echo $! >{folder}/pid ;;
stop) kill "$(cat {folder}/pid)" ;;
esac
"""


@dataclass
class Rig:
    """One workload, set up with OLD at its path and not running."""

    workload: Workload
    path: Path | None = None
    pids: Callable[[], list[int]] = field(default=list)
    old: Digest = OLD_DIGEST
    new: Digest = NEW_DIGEST


def _pids_below(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "exe").readlink()).startswith(f"{folder}/"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def real_rig(folder: Path, *, stop: str = "stop") -> Rig:
    folder.mkdir()
    path = folder / "program"
    path.write_bytes(OLD)
    path.chmod(0o755)
    service = folder / "service"
    service.write_text(SERVICE.format(path=path, folder=folder))
    service.chmod(0o755)
    workload = BinaryWorkload(
        LocalTransport("here"), str(path), start=[str(service), "start"], stop=[str(service), stop]
    )
    return Rig(workload, path, lambda: _pids_below(folder))


PROGRAM = """#!/bin/sh
set -eu
cd {folder}
pid=$(cat pid 2>/dev/null || echo none)
case "$1" in
selected) if [ -e digest ]; then echo "{{\\"digest\\": \\"$(cat digest)\\"}}"; else echo '{{"digest": null}}'; fi ;;
running)
  if [ -e "/proc/$pid/exe" ]; then
    digest=$(sha256sum <"/proc/$pid/exe" | cut -d' ' -f1)
    echo "{{\\"digests\\": [\\"sha256:$digest\\"]}}"
  else echo '{{"digests": []}}'; fi ;;
select) echo "$2" >digest.new; echo "$3" >place; mv digest.new digest ;;
start) [ -e "/proc/$pid/exe" ] || {{ setsid "$(cat place)" 600 </dev/null >/dev/null 2>&1 & echo $! >pid; }} ;;
stop) kill "$pid" ;;
*) exit 1 ;;
esac
"""


def memory_rig(kind: str) -> Rig:
    """What rollouts in memory run on a node: rolling ones, or those of two clusters."""
    if kind == "rolling":
        world = World()
        world.programs["vol-1"].running, world.locked = None, True
        return Rig(SiteWorkload(world, Life(), "vol-1"), old=IN_MEMORY)
    pair = PairWorld()
    pair.programs["green-1"].running = None
    return Rig(PairWorkload(pair, Life(), "green-1"), old=IN_MEMORY)


def command_rig(folder: Path) -> Rig:
    """A program of the site's own, which keeps what it was told in files."""
    versions = folder / "program.d"
    versions.mkdir(parents=True)
    old = versions / hex_of(OLD_DIGEST)
    old.write_bytes(OLD)
    old.chmod(0o755)
    (folder / "digest").write_text(OLD_DIGEST + "\n")
    (folder / "place").write_text(f"{old}\n")
    program = folder / "workload"
    program.write_text(PROGRAM.format(folder=folder))
    program.chmod(0o755)
    workload = CommandWorkload(LocalTransport("here"), str(folder / "program"), [str(program)])
    return Rig(workload, folder / "program", lambda: _pids_below(folder))


@dataclass(frozen=True)
class Docker:
    """One Docker for all tests, and two images in its registry."""

    at: DockerNode
    old: LabImage
    new: LabImage


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with DockerNode(tmp_path_factory.mktemp("docker")) as node:
        yield Docker(node, node.push("old"), node.push("new"))


CONTAINER = """#!/bin/sh
set -eu
case "$1" in
start) [ -e {path} ] || exec docker start api
  IMAGE=$(sed 's/^IMAGE=//' {path}); docker rm -f api >/dev/null 2>&1 || true
  docker run --detach --name api --network none --stop-signal KILL --pull never "$IMAGE" sleep 600 ;;
stop) docker stop api ;;
esac
"""


DEPLOY = """
[[deploy]]
image = "terachat/api"
role = "app"
workload = "container"
path = "/opt/api.env"
container = "api"
docker = "/usr/bin/docker"
start = ["/opt/api", "start"]
stop = ["/opt/api", "stop"]
"""


def transport_to(node: SiteNode) -> CommandTransport:
    return CommandTransport(node.name, node.transport.command or ())


def container_rig(docker: Docker, *, release: LabImage | None = None) -> Rig:
    at = docker.at
    reference = at.pull_by_hand("old")
    at.docker("create", "--name", "api", "--network", "none", "--stop-signal", "KILL", reference, "sleep", "600")
    path = at.node.folder / "opt/api.env"
    path.unlink(missing_ok=True)
    service = at.node.folder / "opt/api"
    service.write_text(CONTAINER.format(path="/opt/api.env"))
    service.chmod(0o755)
    site = site_of_docker(at, DEPLOY)
    workloads = make_workloads(site, plan_rolling(release_of(release or docker.new), site), transport_to)
    workload = workloads["app-1", "/opt/api.env"]
    return Rig(workload, path, list, docker.old.digest, docker.new.digest)


@pytest.fixture(params=["fake", "rolling", "pair", "real", "command", "container"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "container":
        docker = request.getfixturevalue("docker")
        yield container_rig(docker)
        docker.at.forget([docker.old, docker.new])
        return
    if request.param == "fake":
        fake = FakeWorkload(digest_of(OLD))
        fake.stop()
        yield Rig(fake)
        return
    if request.param in ("rolling", "pair"):
        yield memory_rig(request.param)
        return
    make = command_rig if request.param == "command" else real_rig
    yield from _ended_afterwards(make(tmp_path / "opt"))


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Rig]:
    yield from _ended_afterwards(real_rig(tmp_path / "opt"))


def _ended_afterwards(rig: Rig) -> Iterator[Rig]:
    yield rig
    for pid in rig.pids():
        os.kill(pid, signal.SIGKILL)


OF_BYTES = pytest.mark.parametrize("rig", ["fake", "rolling", "pair", "real", "command"], indirect=True)
"""Of workloads that get the bytes from us; an image's come from the registry."""


def staged(rig: Rig) -> Digest:
    rig.workload.stage([NEW[:1000], NEW[1000:]], rig.new, mode=0o755)
    return rig.new


def start(rig: Rig, digest: Digest = "") -> None:
    rig.workload.start()
    # The service's own command returns before the program it started is one.
    wait_until("it to run", lambda: rig.workload.running() == {digest or rig.old})


def test_selected_tells_the_digest_of_what_was_installed_by_hand(rig: Rig) -> None:
    assert rig.workload.selected() == rig.old


def test_stage_brings_the_bytes_beside_and_changes_nothing_else(rig: Rig) -> None:
    assert not rig.workload.staged(rig.new)
    staged(rig)
    assert rig.workload.staged(rig.new)
    assert rig.workload.selected() == rig.old


def test_stage_twice_is_fine(rig: Rig) -> None:
    staged(rig)
    staged(rig)
    assert rig.workload.staged(rig.new)


@OF_BYTES
def test_stage_refuses_other_bytes(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.workload.stage([b"other"], rig.new, mode=0o755)
    assert caught.value.reference == "upload-damaged"
    assert not rig.workload.staged(rig.new)


def test_select_makes_the_next_start_run_it_and_keeps_the_old(rig: Rig) -> None:
    start(rig)
    rig.workload.select(staged(rig))
    assert rig.workload.selected() == rig.new
    assert rig.workload.running() == {rig.old}
    rig.workload.stop()
    start(rig, rig.new)
    assert rig.workload.staged(rig.old)


def test_select_goes_back_to_the_old_version(rig: Rig) -> None:
    rig.workload.select(staged(rig))
    rig.workload.select(rig.old)
    assert rig.workload.selected() == rig.old
    start(rig)


def test_select_refuses_what_is_not_staged(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.workload.select(rig.new)
    assert (caught.value.reference, caught.value.exit_status) == ("not-staged", 40)
    assert rig.workload.selected() == rig.old


def test_stop_and_start_may_be_repeated(rig: Rig) -> None:
    rig.workload.stop()
    assert rig.workload.running() == frozenset()
    start(rig)
    start(rig)
    rig.workload.stop()
    rig.workload.stop()
    assert rig.workload.running() == frozenset()


def test_started_program_is_not_our_child(real: Rig) -> None:
    start(real)
    (pid,) = real.pids()
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != os.getpid()


def test_running_tells_a_program_whose_file_was_deleted(real: Rig) -> None:
    assert real.path is not None
    start(real)
    real.path.unlink()
    assert real.workload.running() == {digest_of(OLD)}


def test_path_is_a_link_into_its_folder_after_select(real: Rig) -> None:
    assert real.path is not None
    real.workload.select(staged(real))
    assert str(real.path.readlink()) == f"program.d/{hex_of(digest_of(NEW))}"
    assert (real.path.parent / "program.d" / hex_of(digest_of(OLD))).read_bytes() == OLD


def test_staged_is_false_for_a_file_that_was_cut_short(real: Rig) -> None:
    assert real.path is not None
    staged(real)
    file = real.path.parent / "program.d" / hex_of(digest_of(NEW))
    file.write_bytes(NEW[:-1])
    assert not real.workload.staged(digest_of(NEW))
    staged(real)
    assert file.read_bytes() == NEW


def test_selected_is_none_when_there_is_no_program(real: Rig) -> None:
    assert real.path is not None
    real.path.unlink()
    assert real.workload.selected() is None


def test_selected_refuses_a_link_that_leads_elsewhere(real: Rig) -> None:
    assert real.path is not None
    real.path.unlink()
    real.path.symlink_to("/bin/sleep")
    with pytest.raises(RefusedError) as caught:
        real.workload.selected()
    assert (caught.value.reference, caught.value.exit_status) == ("path-not-ours", 40)


def test_stop_refuses_when_the_site_s_own_command_fails(tmp_path: Path) -> None:
    rig = real_rig(tmp_path / "opt")
    start(rig)
    (tmp_path / "opt" / "pid").write_text("no number")
    try:
        with pytest.raises(RefusedError) as caught:
            rig.workload.stop()
        assert (caught.value.reference, caught.value.exit_status) == ("node-command-failed", 40)
    finally:
        for pid in rig.pids():
            os.kill(pid, signal.SIGKILL)


# ---- programs of the site's own alone


@pytest.mark.parametrize(
    ("verb", "answers"),
    [
        (
            "running",
            [
                "",
                "none",
                '{"digests": "sha256:1"}',
                '{"digests": ["sha256:1"]}',
                '{"digests": {}}',
                '{"digests": null}',
                '{"digest": null}',
                "[]",
            ],
        ),
        ("selected", ["", "null", '{"digest": 1}', '{"digest": ""}', '{"digests": []}']),
        ("staged", ['{"staged": 1}', '{"staged": "true"}', '{"staged": null}', '{"staged": true, "staged": true}']),
    ],
)
def test_answer_that_is_not_just_the_right_one_is_no_answer(tmp_path: Path, verb: str, answers: list[str]) -> None:
    program = tmp_path / "workload"
    workload = CommandWorkload(
        LocalTransport("here"), "/opt/api", [str(program)], image_place=lambda digest: f"registry:5000/api@{digest}"
    )
    looks: dict[str, Callable[[], object]] = {
        "running": workload.running,
        "selected": workload.selected,
        "staged": lambda: workload.staged(NEW_DIGEST),
    }
    for answer in [*answers, '{"digests": [], "digest": null, "staged": true}; exit 1']:
        text, _, status = answer.partition("; ")
        program.write_text(f"#!/bin/sh\necho '{text}'\n{status}\n")
        program.chmod(0o755)
        with pytest.raises(RefusedError) as caught:
            looks[verb]()
        assert caught.value.reference == "node-command-failed"


def test_program_is_told_what_an_image_is_called_in_the_registry(tmp_path: Path) -> None:
    program = tmp_path / "workload"
    program.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/told\n'
        f"""[ "$1" != stage ] || touch {tmp_path}/there\n"""
        f"""[ -e {tmp_path}/there ] && echo '{{"staged": true}}' || echo '{{"staged": false}}'\n"""
    )
    program.chmod(0o755)
    workload = CommandWorkload(
        LocalTransport("here"), "/opt/api", [str(program)], image_place=lambda digest: f"registry:5000/api@{digest}"
    )

    workload.stage([], NEW_DIGEST, mode=0)
    workload.select(NEW_DIGEST)

    told = [line for line in (tmp_path / "told").read_text().splitlines() if not line.startswith("staged")]
    place = f"registry:5000/api@{NEW_DIGEST}"
    assert told == [f"stage {NEW_DIGEST} {place}", f"select {NEW_DIGEST} {place}"]


# ---- containers alone


@pytest.fixture
def container(docker: Docker) -> Iterator[Rig]:
    yield container_rig(docker)
    docker.at.forget([docker.old, docker.new])


def test_image_that_is_not_what_was_signed_is_not_there_though_docker_says_its_digest(docker: Docker) -> None:
    rig = container_rig(docker, release=LabImage(docker.new.digest, docker.old.id))
    try:
        staged(rig)
        assert not rig.workload.staged(rig.new)
        with pytest.raises(RefusedError):
            rig.workload.select(rig.new)
    finally:
        docker.at.forget([docker.old, docker.new])


def test_container_of_an_image_that_was_not_signed_runs_no_signed_digest(docker: Docker) -> None:
    rig = container_rig(docker, release=LabImage(docker.old.digest, docker.new.id))
    try:
        docker.at.docker("start", "api")
        assert rig.workload.running() == {docker.old.id}
    finally:
        docker.at.forget([docker.old, docker.new])


def test_password_of_the_registry_stays_nowhere_on_the_node(container: Rig, docker: Docker) -> None:
    staged(container)

    assert docker.at.node.sh("ls -d /run/teraferry.* /tmp/teraferry.* 2>/dev/null; :") == ""
    assert docker.at.registry.password not in docker.at.docker("info")


def test_container_with_a_longer_name_is_another_one(container: Rig, docker: Docker) -> None:
    for name in ("api-2", "my-api"):
        docker.at.docker("run", "--detach", "--name", name, "--network", "none", docker.old.id, "sleep", "600")

    assert container.workload.running() == frozenset()


def test_container_that_ends_again_and_again_runs_nothing_and_is_stopped_all_the_same(
    container: Rig, docker: Docker
) -> None:
    docker.at.docker("rm", "api")
    docker.at.docker(
        "run", "--detach", "--name", "api", "--restart", "always", "--network", "none", docker.old.id, "sleep", "0"
    )
    wait_until("it to restart", lambda: docker.at.docker("inspect", "--format", "{{.RestartCount}}", "api") != "0")

    container.workload.stop()

    assert docker.at.docker("inspect", "--format", "{{.State.Status}}", "api") == "exited"


def test_docker_that_does_not_answer_is_no_empty_node(docker: Docker) -> None:
    transport = CommandTransport("app-1", docker.at.node.prefix)
    source = ImageSource(docker.at.repository, {}, lambda: b"", docker="/nowhere/docker")
    images = DockerImages(transport, source, path="/opt/api.env")
    service = Service(transport, "/opt/api.env", start=["true"], stop=["true"])
    workload = ContainerWorkload(transport, ContainerPlace("/opt/api.env", "api"), images=images, service=service)

    for look in (workload.running, workload.stop, lambda: workload.staged(docker.new.digest)):
        with pytest.raises(RefusedError) as caught:
            look()
        assert (caught.value.exit_status, caught.value.reference) == (40, "node-command-failed")


@pytest.mark.parametrize(
    "content", ["", "IMAGE=busybox\n", "IMAGE={repository}:old\n", "{line}A=b\n", "B{line}", "{line} "]
)
def test_file_that_holds_anything_but_our_line_is_refused_and_kept(
    container: Rig, docker: Docker, content: str
) -> None:
    assert container.path is not None
    line = f"IMAGE={docker.at.repository}@{docker.old.digest}\n"
    text = content.format(repository=docker.at.repository, line=line)
    container.path.write_text(text)
    staged(container)

    with pytest.raises(RefusedError) as caught:
        container.workload.select(container.new)
    assert caught.value.reference == "path-not-ours"
    assert container.path.read_text() == text


KILLER = """#!/bin/sh
count=$(($(cat {folder}/count 2>/dev/null || echo 0) + 1))
echo $count >{folder}/count
[ $count -ne {number} ] || kill -KILL $PPID
exec {program} "$@"
"""
CHANGES = 8


def killed_at(number: int, folder: Path) -> CommandTransport:
    """This machine, where a script is killed at the ``number``-th command that changes something."""
    folder.mkdir()
    for name in ("mkdir", "ln", "cp", "mv", "sync"):
        wrapper = folder / name
        wrapper.write_text(KILLER.format(folder=folder, number=number, program=shutil.which(name)))
        wrapper.chmod(0o755)
    return CommandTransport("here", ("env", f"PATH={folder}:{os.environ['PATH']}"))


@pytest.mark.parametrize("number", range(1, CHANGES + 2))
def test_path_can_be_started_wherever_the_first_select_is_killed(tmp_path: Path, number: int) -> None:
    rig = real_rig(tmp_path / "opt")
    assert rig.path is not None
    digest = staged(rig)
    killing = BinaryWorkload(killed_at(number, tmp_path / "killer"), str(rig.path), start=[], stop=[])
    with pytest.raises(RefusedError) if number <= CHANGES else contextlib.nullcontext():
        killing.select(digest)
    assert subprocess.run([rig.path, "0"]).returncode == 0
    assert rig.workload.selected() in (digest_of(OLD), digest)
    rig.workload.select(digest)
    assert rig.workload.selected() == digest
    assert rig.workload.staged(digest_of(OLD))
