"""A model of blue-green rollouts: whatever is typed, killed and broken in whatever order, nothing unsafe ever happens.

Commands of the product run on a ``PairWorld``. Between and during them holds begin and end, clusters fall over,
gateways reboot, replication lags, writes cross. After every command nothing unsafe was done, the chain holds, traffic
is held by nobody, and the status names what to type. At the end everything is mended, and typing what the product
itself says leads to an installed release with every acknowledged write in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from teraferry.bundles.errors import RolledBackError, TeraFerryError
from teraferry.installer.rollout.blue_green_journal import pending_of
from teraferry.installer.status import status_of
from tests.fakes.pair_run import PairSite
from tests.fakes.pair_world import SIDES, PairWorld, other
from tests.fakes.rollout_run import Kit
from tests.fakes.rollout_site import Killed, Life

EVENTS: dict[str, Callable[[PairWorld], object]] = {
    "a legal hold begins": lambda world: setattr(world, "hold_running", True),
    "the hold is over": lambda world: setattr(world, "hold_running", False),
    "the probe falls silent": lambda world: setattr(world, "probe_answers", False),
    "green answers with errors": lambda world: world.health.update(green="error"),
    "green answers slowly": lambda world: world.health.update(green="slow"),
    "green is well": lambda world: world.health.update(green="ok"),
    "blue answers nothing": lambda world: world.health.update(blue="silent"),
    "green dies": lambda world: world.kill("green"),
    "green dies with all that was known of it": lambda world: world.kill("green", told=False),
    "blue dies": lambda world: world.kill("blue"),
    "both are back": lambda world: world.revive(*SIDES),
    "the smoke tests fail": lambda world: setattr(world, "smoke", "broken"),
    "the switch falls silent": lambda world: setattr(world.switch, "answers", False),
    "the switch answers": lambda world: setattr(world.switch, "answers", True),
    "the gateway reboots": lambda world: world.switch.reboot(),
    "a path is written on both": lambda world: (world.write("blue", "same"), world.write("green", "same")),
    "the change of the switch is lost": lambda world: setattr(world.switch, "fail_next", "before"),
    "the answer of the switch is lost": lambda world: setattr(world.switch, "fail_next", "after"),
    "replication lags": lambda world: setattr(world, "replicates", False),
    "nobody renews for a minute": lambda world: world.sleep(60),
}

TOUCHES, LOOKS = 220, 95
"""An install that nobody disturbs touches its site about so often, and the pair about so often."""

COMMANDS_TO_SETTLE = 8


class PairModel(RuleBasedStateMachine):
    """Give ``kits`` before it is run; ``runs`` counts how often planner and executor ran."""

    kits: ClassVar[tuple[Kit, Kit]]
    runs: ClassVar[int] = 0

    @initialize(writers=st.sampled_from(["two", "two", "one"]), has_dead_man=st.booleans())
    def begin(self, writers: str, has_dead_man: bool) -> None:
        self.site = PairSite(self.kits[0], writers=writers, has_dead_man=has_dead_man)
        self.site.between_seconds = 0

    @rule(event=st.sampled_from(sorted(EVENTS)))
    def happens(self, event: str) -> None:
        EVENTS[event](self.site.world)

    @rule(
        kit=st.sampled_from([0, 0, 1]),
        kill_at=st.none() | st.integers(1, TOUCHES),
        during=st.none() | st.tuples(st.integers(1, LOOKS), st.sampled_from(sorted(EVENTS))),
    )
    def install(self, kit: int, kill_at: int | None, during: tuple[int, str] | None) -> None:
        self._meanwhile(during)
        self._typed(lambda life: self.site.install(life, kit=self.kits[kit]), Life(kill_at))

    @rule(kill_at=st.none() | st.integers(1, TOUCHES), during=st.none() | st.sampled_from(sorted(EVENTS)))
    def rollback(self, kill_at: int | None, during: str | None) -> None:
        self._meanwhile(None if during is None else (20, during))
        self._typed(self.site.rollback, Life(kill_at))

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        self._mend()
        for _ in range(COMMANDS_TO_SETTLE):
            told = self._typed(lambda life: self.site.install(life), Life())
            if told == "ok":
                break
            if told in ("pending-recovery", "other-install-in-window"):
                told = self._typed(self.site.rollback, Life())
            if told == "commit-begun":
                self._typed(lambda life: self.site.install(life, kit=self.kits[1]), Life())
            self._mend()
        assert told == "ok", f"still {told} after {COMMANDS_TO_SETTLE} commands"
        standing = self.site.world.switch.observe().standing
        found = self.site.problems(standing=standing)
        assert [each for each in found if not each.startswith("lost: old")] == []

    def _meanwhile(self, during: tuple[int, str] | None) -> None:
        world = self.site.world
        world.due = {} if during is None else {world.touches + during[0]: lambda: EVENTS[during[1]](world)}

    def _typed(self, command: Callable[[Life], object], life: Life) -> str:
        """Type a command, and return the reference that it ended with."""
        type(self).runs += 1
        told = "ok"
        try:
            command(life)
        except Killed:
            told = "killed"
        except TeraFerryError as error:
            told = error.reference
            self._require_told_right(error)
            if error.exit_status in (41, 50):
                self._require_nobody_holds()
        else:
            self._require_nobody_holds()
        self.site.world.due = {}
        assert self.site.world.violations == []
        assert status_of(self.site.entries()).next
        return told

    def _require_told_right(self, error: TeraFerryError) -> None:
        if isinstance(error, RolledBackError) and self.site.world.writers == "two" and "pending" in error.facts:
            standby = other(str(error.facts["active"]))
            # Whoever was connected to it long before writes on, also after the last look: "old" paths, and "same".
            lacking = [path for path in self.site.world.lacking(standby) if not path.startswith(("old", "same"))]
            said_none = error.facts["pending"] == 0 and error.facts["pending_known"]
            assert not (said_none and lacking), f"said none, but {lacking} are missing"

    def _require_nobody_holds(self) -> None:
        seen = self.site.world.switch.observe() if self.site.world.switch.answers else None
        assert seen is None or seen.active == seen.standing, f"left {seen.active} with traffic"

    def _mend(self) -> None:
        world = self.site.world
        world.hold_running, world.probe_answers, world.smoke = False, True, "ok"
        world.switch.answers, world.switch.fail_next, world.replicates = True, "", True
        world.revive(*SIDES)
        world.resolve("same")
        # The service that replicates is restarted by whoever looks after it; what a window left behind is for us.
        world.two.running = world.two.running or pending_of(self.site.entries()) is None
