"""The one loop: re-observe, act, observe, record. Killed anywhere, it goes on where the world is.

The journal says what was begun and what was finished; the world says what is true. An action
is begun only after its intent is on stable storage, and is done only when its effect was
observed, so a run that was killed between any two lines finds its way: what is true already
is not done twice, and every step has one "done".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.progress import Progress
from teraferry.installer.ports import Entry, Journal
from teraferry.installer.rollout.plan import Step

Clock = Callable[[], datetime]

STARTED, INTENT, DONE, UNDONE, GATE, FAILED, ENDED, ROLLBACK, STOPPED = (
    "run-started",
    "intent",
    "done",
    "undone",
    "gate",
    "failed",
    "run-ended",
    "rollback-started",
    "stopped",
)


@dataclass(frozen=True, slots=True)
class Action:
    """One step with its hands: how to see, do and check it."""

    step: Step
    is_moot: Callable[[], bool]  # its purpose has passed; not even to be looked at again
    is_true: Callable[[], bool]  # its effect is there already
    act: Callable[[], None]
    confirm: Callable[[], Mapping[str, object]]  # waits for the effect; raises when it does not come
    facts: Mapping[str, object]  # written with the intent: what a later run must know


class RunRecord:
    """The part of the journal that belongs to one run.

    The journal is read, and its chain verified, when the record is first asked; from then on this process holds
    the lock and is the only one that writes, so that what it appended is what was added.
    """

    def __init__(self, journal: Journal, *, run: str, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._known: list[Entry] | None = None
        self.run = run

    def entries(self) -> Sequence[Entry]:
        """Return this run's entries, oldest first."""
        if self._known is None:
            self._known = [entry for entry in self._journal.replay() if entry.run == self.run]
        return tuple(self._known)

    def note(self, event: str, step_id: str = "", **facts: object) -> None:
        """Append one entry; returns once it is durable."""
        time_utc = self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        # While it is written, and after it failed, nobody knows whether it is there: then it is read again.
        known, self._known = self._known, None
        entry = self._journal.append(time_utc=time_utc, run=self.run, event=event, step=step_id, facts=facts)
        self._known = None if known is None else [*known, entry]

    def begun(self) -> dict[str, Mapping[str, object]]:
        """Return step id -> the facts written before it was first begun."""
        return self._standing(INTENT)

    def done(self) -> dict[str, Mapping[str, object]]:
        """Return step id -> the facts of its "done"."""
        return self._standing(DONE)

    def is_begun(self, step_id: str) -> bool:
        """Tell whether the step was begun and not undone since."""
        return step_id in self.begun()

    def is_done(self, step_id: str) -> bool:
        """Tell whether the step was done and not undone since."""
        return step_id in self.done()

    def is_rolling_back(self) -> bool:
        """Tell whether this run gave up and began to roll back."""
        return any(entry.event == ROLLBACK for entry in self.entries())

    def _standing(self, event: str) -> dict[str, Mapping[str, object]]:
        standing: dict[str, Mapping[str, object]] = {}
        for entry in self.entries():
            if entry.event == event:
                standing.setdefault(entry.step, entry.facts)
            elif entry.event == UNDONE:
                standing.pop(entry.step, None)
        return standing


def execute(
    actions: Iterable[Action],
    record: RunRecord,
    progress: Progress,
    *,
    before_step: Callable[[Step], None] | None = None,
) -> None:
    """Carry out ``actions`` in order, or find that they are carried out.

    Args:
        actions: In order.
        record: The run they belong to.
        progress: Told of each step.
        before_step: Raises to end here, before the step is begun or looked at.

    Raises:
        TeraFerryError: What an action raised; it is journaled as failed first. The caller decides
            what becomes of the node.
    """
    for action in actions:
        step = action.step
        done = record.is_done(step.id)
        if action.is_moot():
            if not done:
                record.note(DONE, step.id, already=True)
            continue
        if before_step is not None:
            before_step(step)
        progress.say("step", step.text, step=step.id, action=step.action, node=step.node)
        if not record.is_begun(step.id):
            record.note(INTENT, step.id, **action.facts)
        try:
            if not action.is_true():
                action.act()
            facts = action.confirm()
        except TeraFerryError as error:
            record.note(FAILED, step.id, reference=error.reference, message=error.message)
            raise
        record.note(GATE if done else DONE, step.id, **facts)
