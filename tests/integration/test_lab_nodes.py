"""The lab leaves nothing behind, however it ends, and has no way out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.lab.nodes import Lab, wait_until

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).parents[2]
NODES = {"site": "10.77.0.2", "one": "10.77.0.11", "two": "10.77.0.12"}


def network_of(pid: int | str) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


def networks_in_use() -> set[str]:
    return {network_of(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()} - {""}


def test_nodes_reach_each_other_and_nothing_else(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", NODES) as lab:
        assert lab.node("one").run("ping", "-c1", "-W2", NODES["two"], check=False).returncode == 0
        for node in lab.nodes:
            routes = node.sh("ip route").splitlines()
            assert len(routes) == 1
            assert routes[0].startswith("10.77.0.0/24 dev eth0")


def test_each_node_has_folders_and_processes_of_its_own(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", NODES) as lab:
        lab.node("one").sh("echo one >/opt/name; echo one >/srv/name")
        assert lab.node("two").run("cat", "/opt/name", check=False).returncode != 0
        assert (lab.node("one").folder / "opt" / "name").read_text() == "one\n"
        assert lab.node("two").sh("ls -d /proc/[0-9]* | wc -l").strip() in ("2", "3", "4")


def test_the_site_reaches_into_the_other_nodes(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", NODES) as lab:
        said = lab.node("site").run(*lab.node("two").prefix, "hostname").stdout
        assert said == b"two\n"


def test_call_runs_a_function_in_the_network_of_a_node(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", NODES) as lab:
        own = network_of("self")
        inside = lab.node("one").call(lambda: str(Path("/proc/thread-self/ns/net").readlink()))
        assert inside == network_of(lab.node("one").pid) != own
        assert network_of("self") == own


@pytest.mark.parametrize("_attempt", [1, 2])
def test_nothing_is_left_when_the_process_that_made_the_lab_is_killed(tmp_path: Path, _attempt: int) -> None:
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from tests.lab.nodes import Lab
        with Lab(Path({str(tmp_path / "lab")!r}), {NODES!r}) as lab:
            lab.node("one").sh("setsid sleep 600 </dev/null >/dev/null 2>&1 &")
            lab.node("site").sh("setsid sleep 600 </dev/null >/dev/null 2>&1 &")
            print(*(node.pid for node in lab.nodes), flush=True)
            time.sleep(600)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    networks = {network_of(pid) for pid in process.stdout.readline().decode().split()}
    assert len(networks) == len(NODES)

    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()

    wait_until("every process of the lab to end", lambda: not networks & networks_in_use(), seconds=10)
