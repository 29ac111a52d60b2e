"""A storage cluster that is asked in the site's own words: by HTTP, or by programs of the site's.

``[cluster] engine = "http"`` or ``"command"``: every question has one right answer (``pass_when``), and health is
100 % when all of them are answered just so and every node is in. What is not answered never passes: a health question
without an answer is a reason against health, a node nobody tells about is neither in nor out, a node of which nobody
says that it is empty holds something.

All questions of one look are asked at once, so that a node that is away costs one deadline and not one each.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import ClusterObservation, Said
from teraferry.installer.rollout.conditions import CannotAnswerError, Condition, Probe, Verdict, judge_answer

ASK_SECONDS: Final = 10.0
"""One question; it is asked again with the next look."""

MOST_AT_ONCE: Final = 16
"""A small server's queue of connections is not much longer."""

DO_SECONDS: Final = 3600.0
"""A site's own drain may return only when it is done; hours of it belong into one that returns at once."""

REJOIN_SECONDS: Final = 10.0
"""It is asked again until the node is in."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and its right answer."""

    probe: Probe
    condition: Condition

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.probe.name}: {self.condition.field} = {self.condition.equals!r}"


@dataclass(frozen=True, slots=True)
class AskedNode:
    """One node: how the cluster is asked about it, and how it is told what to do with it."""

    address: str
    is_in: Question
    is_drained: Question | None = None
    drain: Probe | None = None  # done when it answers; what it answers is not looked at
    leave: Probe | None = None
    rejoin: Probe | None = None


class AskedCluster:
    """``Cluster`` by questions.

    Args:
        health: What must hold of the whole; at least one.
        nodes: The volume servers.
        others: Further nodes, which may be asked whether they serve.
    """

    def __init__(
        self, health: Sequence[Question], nodes: Sequence[AskedNode], others: Sequence[AskedNode] = ()
    ) -> None:
        self._health = tuple(health)
        self._nodes = {node.address: node for node in nodes}
        self._others = {node.address: node for node in others}
        self._drained = ""

    def observe(self) -> ClusterObservation:
        """Ask everything once; see ``installer.ports.Cluster``."""
        drained = {node.address: node.is_drained for node in self._nodes.values() if node.is_drained is not None}
        questions = [*self._health, *(node.is_in for node in self._nodes.values()), *drained.values()]
        answers = dict(zip(questions, _ask_all(questions), strict=True))
        if not any(isinstance(answer, Verdict) for answer in answers.values()):
            said = next((str(answer) for answer in answers.values()), "nothing to ask")
            raise RefusedError(
                "cluster-unreachable",
                f"cluster: not one of {len(answers)} questions was answered ({said}), expected answers",
                hint="Ask the same by hand; correct [cluster] in site.toml, or start what should answer.",
            )
        is_in = {address: answers[node.is_in] for address, node in self._nodes.items()}
        return ClusterObservation(
            nodes=frozenset(address for address, answer in is_in.items() if _passes(answer)),
            stripe_groups=(),
            volumes=(),
            said=tuple(_said(question, answers[question]) for question in self._health),
            unknown=frozenset(address for address, answer in is_in.items() if not isinstance(answer, Verdict)),
            holding=frozenset(address for address, each in drained.items() if not _passes(answers[each])),
        )

    def drain(self, node: str) -> None:
        """Do what the site says empties ``node``; see ``installer.ports.Cluster``."""
        self._drained = node
        _do(self._nodes[node].drain, f"drain of {node}")

    def leave(self, node: str) -> None:
        """Do what the site says takes ``node`` out; nothing where it says none: a drained node just stops."""
        if self._nodes[node].leave is not None:
            _do(self._nodes[node].leave, f"leave of {node}")

    def rejoin(self, node: str) -> None:
        """Tell the cluster that ``node`` is back; what it says to that is seen by ``observe``."""
        told = self._nodes[node].rejoin
        try:
            if told is not None:
                told.ask(timeout_seconds=REJOIN_SECONDS)
        except CannotAnswerError:
            # A node that has just been started may not be taken yet. Whoever waits for it tells again.
            return

    def rebalance(self, *, home: str = "") -> None:
        """Take back that ``home`` was drained; the cluster spreads its data by itself."""
        home = home or self._drained
        if home:
            self.rejoin(home)

    def serves(self, address: str) -> bool:
        """Tell whether the node at ``address`` says that it is in."""
        node = self._others.get(address) or self._nodes.get(address)
        return node is not None and _passes(_ask_all([node.is_in])[0])


def _ask_all(questions: Sequence[Question]) -> list[Verdict | CannotAnswerError]:
    with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as pool:
        return list(pool.map(_ask, questions))


def _ask(question: Question) -> Verdict | CannotAnswerError:
    try:
        return judge_answer(question.probe.ask(timeout_seconds=ASK_SECONDS), question.condition)
    except CannotAnswerError as error:
        return error


def _passes(answer: Verdict | CannotAnswerError) -> bool:
    return isinstance(answer, Verdict) and answer.passes


def _said(question: Question, answer: Verdict | CannotAnswerError) -> Said:
    if isinstance(answer, Verdict):
        return Said(question.text, passes=answer.passes, found=repr(answer.found))
    return Said(question.text, passes=False, found=f"cannot answer ({answer})")


def _do(what: Probe | None, text: str) -> None:
    try:
        if what is None:
            raise CannotAnswerError("site.toml does not say how")
        what.ask(timeout_seconds=DO_SECONDS)
    except CannotAnswerError as error:
        raise RefusedError(
            "cluster-refused",
            f"{text}: {error}, expected it to be done",
            hint="Try the same by hand; correct [cluster] in site.toml, then type the same command again.",
        ) from error
