"""``filer.sync`` as a service: started by the site's command, and restarted when it holds back what failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.replicator.seaweedfs_service import SeaweedfsReplication, SyncService
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.blue_green_ports import ReplicationObservation
from tests.lab.metrics import Metrics

CLUSTERS = {"blue": "10.0.1.1:8888", "green": "10.0.2.1:8888"}


def said(failed: int) -> str:
    counts = {"events_received_total": 9, "events_processed_total": 9 - failed, "in_flight_jobs": 0}
    lines = []
    for source, target in (("blue", "green"), ("green", "blue")):
        labels = f'path="/data",sourceFiler="{CLUSTERS[source]}",targetFiler="{CLUSTERS[target]}"'
        for name, value in {**counts, "events_failed_total": failed}.items():
            lines.append(f"SeaweedFS_filerSync_{name}{{{labels}}} {value}\n")
    return "".join(lines)


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[Metrics]:
    file = tmp_path / "metrics"
    server = Metrics("127.0.0.1", lambda: file.read_text() if file.exists() else "")
    yield server
    server.close()


def service(metrics: Metrics, folder: Path, *, start: str = "cp healthy metrics") -> SyncService:
    (folder / "healthy").write_text(said(failed=0))
    settings = SeaweedfsReplication(
        blue=CLUSTERS["blue"],
        green=CLUSTERS["green"],
        path="/data",
        metrics=metrics.address,
        weed="/opt/weed",
        start=["sh", "-c", f"cd {folder}; echo start >>log; {start}"],
        stop=["sh", "-c", f"cd {folder}; echo stop >>log; rm -f metrics"],
    )
    return SyncService(settings, LocalTransport("site"))


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().split() if (folder / "log").exists() else []


def test_service_that_does_not_run_is_started(metrics: Metrics, tmp_path: Path) -> None:
    service(metrics, tmp_path).start()

    assert log(tmp_path) == ["start"]


def test_service_that_runs_well_is_left_alone(metrics: Metrics, tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text(said(failed=0))

    service(metrics, tmp_path).start()

    assert log(tmp_path) == []


def test_service_that_holds_back_what_failed_is_restarted(metrics: Metrics, tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text(said(failed=2))
    tried = service(metrics, tmp_path)
    assert tried.observe("green") == ReplicationObservation(9, 7, 0, 2)

    tried.start()

    assert log(tmp_path) == ["stop", "start"]
    assert tried.observe("green").failed == 0


def test_command_that_fails_is_a_refusal(metrics: Metrics, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        service(metrics, tmp_path, start="exit 3").start()

    assert refused.value.reference == "replication-failed"


def test_service_that_says_nothing_cannot_be_observed(metrics: Metrics, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        service(metrics, tmp_path).observe("blue")

    assert refused.value.reference == "replication-cannot-tell"
