"""A cluster that is asked by HTTP fails closed on every answer that is not the right one, and on none."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import Cluster, ClusterObservation
from teraferry.installer.rollout.gates import Health, judge_health
from tests.lab.answers import Answer, AnswerServer
from tests.lab.told_cluster import NODES, ToldCluster, cluster_of, start_cluster

NO_ANSWERS = {
    "status 503": Answer(b'{"status": "ok", "rebalanced": true, "in": true, "shards": 0}', 503),
    "redirect": Answer(b'{"status": "ok", "rebalanced": true, "in": true, "shards": 0}', 302, location="/elsewhere"),
    "a page": Answer(b"<html>all is well</html>"),
    "no content": Answer(b"", 204),
    "another field": Answer(b'{"state": "ok"}'),
    "cut short": Answer(b'{"status": "ok", "rebalanced": true, "in": true, "shards": 0}', promised_bytes=999),
}
WRONG_ANSWERS = {
    "degraded": Answer(b'{"status": "degraded", "rebalanced": false, "in": false, "shards": 7}'),
    "another type": Answer(b'{"status": true, "rebalanced": 1, "in": "true", "shards": false}'),
    "null": Answer(b'{"status": null, "rebalanced": null, "in": null, "shards": null}'),
}


@pytest.fixture
def told() -> Iterator[tuple[ToldCluster, AnswerServer]]:
    told, server = start_cluster()
    with server:
        yield told, server


def judged(cluster: Cluster) -> Health:
    return judge_health(cluster.observe(), frozenset(NODES.values()), single_copies=True)


def test_whole_cluster_is_at_100_percent_by_its_own_words(told: tuple[ToldCluster, AnswerServer]) -> None:
    health = judged(cluster_of(told[1].url))

    assert (health.is_full, health.percent, health.summary()) == (True, 100.0, "100 %: 2/2 conditions")


@pytest.mark.parametrize("path", ["/health", "/erasure-status"])
@pytest.mark.parametrize("what", [*NO_ANSWERS, *WRONG_ANSWERS])
def test_health_question_without_the_right_answer_is_below_100_percent(
    told: tuple[ToldCluster, AnswerServer], path: str, what: str
) -> None:
    told[0].said[path] = {**NO_ANSWERS, **WRONG_ANSWERS}[what]

    health = judged(cluster_of(told[1].url))

    assert (health.is_full, health.conditions_held, health.conditions_expected) == (False, 1, 2)
    assert health.percent < 100
    assert path in health.summary()


def look_at(told: tuple[ToldCluster, AnswerServer], answer: Answer) -> ClusterObservation:
    told[0].said["/nodes/vol-2"] = answer
    return cluster_of(told[1].url).observe()


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_node_nobody_tells_about_is_neither_in_nor_out_and_not_empty(
    told: tuple[ToldCluster, AnswerServer], what: str
) -> None:
    seen = look_at(told, NO_ANSWERS[what])

    address = NODES["vol-2"]
    assert address not in seen.nodes
    assert seen.unknown == frozenset({address})
    assert address in seen.holding
    assert not judge_health(seen, frozenset(NODES.values()), single_copies=True).is_full


@pytest.mark.parametrize("what", WRONG_ANSWERS)
def test_node_that_is_told_otherwise_is_out_and_not_empty(told: tuple[ToldCluster, AnswerServer], what: str) -> None:
    seen = look_at(told, WRONG_ANSWERS[what])

    assert NODES["vol-2"] not in seen.nodes | seen.unknown
    assert NODES["vol-2"] in seen.holding


@pytest.mark.parametrize("act", ["drain", "leave"])
@pytest.mark.parametrize("what", ["status 503", "redirect"])
def test_act_that_is_not_taken_is_refused(told: tuple[ToldCluster, AnswerServer], act: str, what: str) -> None:
    told[0].said[f"/nodes/vol-2/{act}"] = NO_ANSWERS[what]
    cluster = cluster_of(told[1].url, mode="quick" if act == "leave" else "safe")

    with pytest.raises(RefusedError) as caught:
        (cluster.drain if act == "drain" else cluster.leave)(NODES["vol-2"])
    assert (caught.value.exit_status, caught.value.reference) == (40, "cluster-refused")


def test_rejoin_that_is_not_taken_yet_is_no_failure_and_seen_as_it_is(told: tuple[ToldCluster, AnswerServer]) -> None:
    told[0].said["/nodes/vol-2/rejoin"] = Answer(json.dumps({"error": "not up yet"}).encode(), 409)
    told[0].inner.stop_node(NODES["vol-2"])
    cluster = cluster_of(told[1].url)

    cluster.rejoin(NODES["vol-2"])

    assert NODES["vol-2"] not in cluster.observe().nodes


def test_questions_are_gets_and_acts_are_posts_about_that_node(told: tuple[ToldCluster, AnswerServer]) -> None:
    cluster = cluster_of(told[1].url)
    cluster.observe()
    assert {request.split()[0] for request in told[1].requests} == {"GET"}

    cluster.drain(NODES["vol-2"])

    assert told[1].requests[-1] == "POST /nodes/vol-2/drain"
