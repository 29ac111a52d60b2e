"""What an install asks of either tier: ``rolling_tier`` answers for tier 1, ``blue_green_tier`` for tier 2. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from teraferry.bundles.errors import Fact
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.execute import RunRecord
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.plan import Plan


class Rollout(Protocol):
    """How one tier brings a release to its nodes, and what it looks at before and after."""

    @property
    def keys(self) -> KeyGate:
        """The gate of the keys that must survive."""

    def is_in_hand(self, own: Sequence[Entry]) -> bool:
        """Tell whether the run of these entries left something half-way that is finished before all else."""

    def require_ready(self, entries: Sequence[Entry], *, run: str) -> Mapping[str, Any]:
        """Ask what may refuse before the first write, and return what the run must know of it, however often killed.

        Args:
            entries: The whole journal.
            run: The run that is begun or gone on with.

        Raises:
            RefusedError: 40.
        """

    def roll_out(self, plan: Plan, record: RunRecord, begun_with: Mapping[str, Any]) -> None:
        """Carry ``plan`` out, or go on with it.

        Args:
            plan: The steps.
            record: The run.
            begun_with: What ``require_ready`` returned when the run began.

        Raises:
            RefusedError: 40, 41, 43. RolledBackError: 50. OperatorNeededError: 60-62.
        """

    def require_done(self, plan: Plan, begun_with: Mapping[str, Any]) -> None:
        """Compare what runs with what was signed, and see that all is well.

        Raises:
            OperatorNeededError: 60.
        """

    def outcome(self, own: Sequence[Entry]) -> Mapping[str, Fact]:
        """Return what this tier has to say of a run that ended well, as result fields, by the run's own entries."""
