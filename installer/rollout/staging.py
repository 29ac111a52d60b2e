"""Files are brought to all nodes together, beside what runs there, before the first node is touched.

The slow part of a rollout happens while everything still serves, and a node that cannot take its file is found out
while nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError, TeraFerryError
from teraferry.bundles.progress import Progress
from teraferry.installer.ports import Workload
from teraferry.installer.rollout.execute import FAILED, INTENT, Action, RunRecord
from teraferry.installer.rollout.plan import STAGE, Plan, Step, Target
from teraferry.installer.together import run_together

STAGING_JOBS: Final = 4
"""Nodes that are sent to at the same time: a link is full with a few, and each holds some MiB in memory."""

Pieces = Callable[[Digest], Iterable[Buffer]]


def stage_action(
    step: Step, target: Target, workload: Workload, *, pieces: Pieces, progress: Progress, is_moot: Callable[[], bool]
) -> Action:
    """Return the action that brings one file to one node."""
    seen_there = False  # by the look before: a program of 100 MB takes its node a while to digest

    def is_true() -> bool:
        nonlocal seen_there
        seen_there = workload.staged(target.digest)
        return seen_there

    def act() -> None:
        sent = _Counted(pieces(target.digest), progress)
        workload.stage(sent, target.digest, mode=target.mode)
        sent.count_to(target.length_bytes)  # what a node fetched by itself was not sent, and is there

    def confirm() -> Mapping[str, object]:
        if not seen_there and not workload.staged(target.digest):
            raise RefusedError(
                "stage-not-there",
                f"node {target.node}: {target.file} is not there after its upload, expected {target.digest}",
                hint="Look at the disk of that node, then type the same command again.",
                facts={"node": target.node, "digest": target.digest},
            )
        return {"node": target.node, "digest": target.digest}

    return Action(step, is_moot, is_true, act, confirm, {"digest": target.digest})


def lengths_bytes_of(plan: Plan) -> dict[str, int]:
    """Return step id -> length of the file that the step brings."""
    return {target.stage_id: target.length_bytes for target in plan.targets}


def stage_together(
    actions: Sequence[Action],
    record: RunRecord,
    progress: Progress,
    *,
    lengths_bytes: Mapping[str, int],
    jobs: int,
    before_step: Callable[[Step], None],
) -> None:
    """Bring about every action of ``actions`` whose effect is not there, several nodes at a time.

    Each intent is on stable storage before anything is sent. ``execute`` comes next: it looks at each node again,
    and records what is done.

    Args:
        actions: Of a plan; those that do not stage are left alone.
        record: The run.
        progress: Told of the bytes, from several threads.
        lengths_bytes: Step id -> length of what it brings.
        jobs: Nodes at the same time.
        before_step: As for ``execute``; asked once, before the first is begun.

    Raises:
        TeraFerryError: What the first that failed raised; it is journaled.
    """
    left = [each for each in actions if each.step.action == STAGE and not record.is_done(each.step.id)]
    todo = [each for each in left if not each.is_moot() and not each.is_true()]
    if not todo:
        return
    before_step(todo[0].step)
    for action in todo:
        if not record.is_begun(action.step.id):
            record.note(INTENT, action.step.id, **action.facts)
    nodes = dict.fromkeys(action.step.node for action in todo)
    total_bytes = sum(lengths_bytes[action.step.id] for action in todo)
    progress.start("stage", total_bytes=total_bytes, detail=f"{len(todo)} files to {len(nodes)} nodes")
    failures: list[tuple[Action, TeraFerryError]] = []
    tasks = [partial(_stage_node, [each for each in todo if each.step.node == node], failures) for node in nodes]
    try:
        run_together(tasks, jobs=jobs)
    except TeraFerryError:
        for action, error in failures[:1]:
            record.note(FAILED, action.step.id, reference=error.reference, message=error.message)
        raise


def _stage_node(actions: Sequence[Action], failures: list[tuple[Action, TeraFerryError]]) -> None:
    for action in actions:
        try:
            action.act()
        except TeraFerryError as error:
            failures.append((action, error))
            raise


class _Counted:
    """Pieces that are counted once they were taken."""

    def __init__(self, pieces: Iterable[Buffer], progress: Progress) -> None:
        self._pieces = pieces
        self._progress = progress
        self._counted_bytes = 0

    def __iter__(self) -> Iterator[Buffer]:
        for piece in self._pieces:
            yield piece
            self._counted_bytes += len(piece)
            self._progress.advance(len(piece))

    def count_to(self, length_bytes: int) -> None:
        """Count what is left of ``length_bytes``."""
        self._progress.advance(max(0, length_bytes - self._counted_bytes))
