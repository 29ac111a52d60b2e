"""The way back: new connections to the active cluster at once, then home with what was written on the standby.

With a living standby its writes are drained to the marker, and nothing is lost. With a dead one, what it acknowledged
and the other lacks is named, as far as that can be told without it; its disks are left alone until ``recover_pending``
merges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from teraferry.bundles.errors import Fact, RefusedError, TeraFerryError
from teraferry.installer.rollout.blue_green_journal import (
    CONFLICTS,
    PENDING,
    RECOVERED,
    facts_of_pending,
    marker_of,
    was_cut_over,
)
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.blue_green_plan import DRAIN_BACK, RETURN, other_cluster
from teraferry.installer.rollout.blue_green_window import let_writes_go
from teraferry.installer.rollout.execute import Action, RunRecord
from teraferry.installer.rollout.plan import Step

PREFIX = "rollback "


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the writes of a window. Read from the journal, so it is the same after a kill."""

    writers: str
    is_pending: bool
    pending: int | None  # when ``is_pending``: how many; None when nobody can tell
    names: tuple[str, ...]
    conflicts: tuple[str, ...] | None  # None when nobody can tell
    primary: str | None = None  # with one writer

    def summary(self) -> str:
        """Return it in words."""
        if self.writers == "one":
            return f"every write is on the one primary, on {self.primary or 'a cluster that nobody could tell'}"
        if self.is_pending:
            count = "how many writes are pending recovery cannot be told" if self.pending is None else ""
            return count or f"{self.pending} writes are pending recovery"
        clash = "what was written on both sides cannot be told" if self.conflicts is None else ""
        if self.conflicts:
            clash = f"{len(self.conflicts)} were written on both sides, both versions are kept"
        return "every write came home" + (f"; {clash}" if clash else "")

    def facts(self) -> dict[str, Fact]:
        """Return it for scripts."""
        if self.writers == "one":
            return {"pending": 0, "pending_known": True, "primary": self.primary}
        return {
            "pending": self.pending if self.is_pending else 0,
            "pending_known": not self.is_pending or self.pending is not None,
            "pending_names": list(self.names[:100]),
            "conflicts": None if self.conflicts is None else list(self.conflicts[:100]),
        }


class WayBack:
    """The two steps of a rollback."""

    def __init__(self, parts: BlueGreenParts, record: RunRecord, *, standby: str) -> None:
        self._parts = parts
        self._record = record
        self._standby = standby
        self._active = other_cluster(standby)

    def actions(self) -> list[Action]:
        """Return the steps, in order."""
        back = Step(PREFIX + RETURN, RETURN, self._active, f"send new connections back to {self._active}")
        home = Step(PREFIX + DRAIN_BACK, DRAIN_BACK, self._active, f"bring home what was written on {self._standby}")
        actions = [
            # Always told to release, also when it seems to have: what a reboot would bring is put right by that.
            Action(back, lambda: False, lambda: False, self._parts.switch.release, self._confirm_returned, {}),
        ]
        if was_cut_over(self._record.entries()):
            is_home = lambda: self._record.is_done(home.id)  # noqa: E731
            actions.append(Action(home, is_home, lambda: True, _nothing, self._bring_home, {}))
        return actions

    def outcome(self) -> Outcome:
        """Return what became of the writes."""
        if not was_cut_over(self._record.entries()):
            return Outcome("two", is_pending=False, pending=None, names=(), conflicts=())
        facts = self._record.done().get(PREFIX + DRAIN_BACK, {})
        names, clash = facts.get("names"), facts.get("conflicts")
        count, primary = facts.get("pending"), facts.get("primary")
        return Outcome(
            str(facts.get("writers", "two")),
            is_pending=facts.get("drained") is not True and facts.get("writers") != "one",
            pending=count if isinstance(count, int) else None,
            names=tuple(map(str, names)) if isinstance(names, Sequence) else (),
            conflicts=tuple(map(str, clash)) if isinstance(clash, Sequence) else None,
            primary=str(primary) if primary else None,
        )

    def _confirm_returned(self) -> Mapping[str, object]:
        seen = self._parts.switch.observe()
        if (seen.active, seen.standing) != (self._active, self._active):
            raise RefusedError(
                "switch-failed",
                f"traffic switch: new connections go to {seen.active}, {seen.standing} stands; expected {self._active}",
                hint="See what the switch says, then type the same command again.",
                facts={"active": seen.active, "standing": seen.standing},
            )
        return {"active": self._active, "still_served": self._parts.switch.established(self._standby)}

    def _bring_home(self) -> Mapping[str, object]:
        if self._parts.replicator.writers == "one":
            let_writes_go(self._parts)
            return {"writers": "one", "primary": self._primary()}
        self._parts.progress.start(f"bring home what was written on {self._standby}")
        try:
            drain_home(self._parts, self._standby, marker=f"{marker_of(self._record.run)}-back")
        except TeraFerryError as error:
            return self._left_behind(error)
        if any(entry.event == PENDING for entry in self._record.entries()):
            # It was dead for an earlier process, and is not any more.
            self._record.note(RECOVERED, cluster=self._standby)
        return {"writers": "two", "drained": True, "conflicts": self._conflicts()}

    def _left_behind(self, error: TeraFerryError) -> Mapping[str, object]:
        names = pending_writes(self._parts, self._standby)
        if names is not None and not names:
            return {"writers": "two", "drained": True, "proven": True, "conflicts": self._conflicts()}
        facts = facts_of_pending(self._standby, names)
        self._record.note(PENDING, "", **facts, reason=error.message)
        told = "how many cannot be told" if names is None else str(len(names))
        text = (
            f"pending recovery: writes on {self._standby} that {self._active} lacks: {told}; its disks are left alone"
        )
        self._parts.progress.say("pending-recovery", text, cluster=self._standby)
        return {"writers": "two", "drained": False, "pending": facts["count"], "names": facts["names"], "conflicts": ()}

    def _conflicts(self) -> Sequence[str] | None:
        """Name what was written on both sides, for the next install to ask after; None when nobody can tell."""
        marker = marker_of(self._record.run)
        try:
            names: list[str] | None = list(self._parts.replicator.conflicts(marker=marker))
        except TeraFerryError:
            names = None
        if names is None or names:
            self._record.note(CONFLICTS, marker=marker, count=None if names is None else len(names))
        return names if names is None else names[:100]

    def _primary(self) -> str | None:
        promotion = self._parts.promotion
        try:
            return None if promotion is None else promotion.primary()
        except TeraFerryError:
            return None


def drain_home(parts: BlueGreenParts, cluster: str, *, marker: str) -> None:
    """Bring what was written on ``cluster`` to the other one, to the last write.

    Raises:
        RefusedError: 40: ``cluster`` is dead, or it did not all come.
    """
    parts.replicator.start()
    parts.replicator.sync_state(cluster, marker=marker, stalled_after_seconds=parts.window.stalled_after_seconds)


def pending_writes(parts: BlueGreenParts, cluster: str) -> Sequence[str] | None:
    """Name the writes that did not come over; None when that cannot be told, for whatever reason."""
    try:
        return parts.replicator.pending(cluster)
    except TeraFerryError:
        return None


def _nothing() -> None:
    """There is nothing to do but to look."""
