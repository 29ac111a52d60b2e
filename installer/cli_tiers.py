"""Which plan, which hands and which way back the tier of a site has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from teraferry.bundles.system.clock import now_utc
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.cli_gates import make_compliance

if TYPE_CHECKING:
    from teraferry.bundles.errors import Fact
    from teraferry.bundles.progress import Progress
    from teraferry.installer.cli_wiring import Place
    from teraferry.installer.ports import Entry, Lock
    from teraferry.installer.rollout.foresee import Outlook
    from teraferry.installer.rollout.key_gate import KeyGate
    from teraferry.installer.rollout.plan import Plan
    from teraferry.installer.rollout.tier import Rollout
    from teraferry.installer.site.model import Site
    from teraferry.installer.verify import VerifiedBundle

BLUE_GREEN = "2"


def make_plan(tier: str, bundle: VerifiedBundle, site: Site, entries: Sequence[Entry]) -> Plan:
    """Return what an install of ``bundle`` would do at ``site``, in the tier that was decided.

    Raises:
        RefusedError: 40; ``plan-...``, ``no-write-guarantee``.
    """
    if tier != BLUE_GREEN:
        from teraferry.installer.rollout.plan import plan_rolling

        return plan_rolling(bundle.manifest, site)
    from teraferry.installer.rollout.blue_green_journal import is_in_place, standby_for
    from teraferry.installer.rollout.blue_green_plan import plan_blue_green

    digest = bundle.release.bundle.digest
    standby, in_place = standby_for(entries, digest), is_in_place(entries, digest)
    return plan_blue_green(bundle.manifest, site, standby=standby, in_place=in_place)


def make_rollout(
    site: Site,
    plan: Plan,
    bundle: VerifiedBundle,
    progress: Progress,
    *,
    keys: KeyGate,
    stop_requested: Callable[[], bool],
) -> Rollout:
    """Return the hands of the rollout that ``plan`` is for."""
    if plan.tier != BLUE_GREEN:
        from teraferry.installer.rollout.rolling_tier import RollingRollout

        return RollingRollout(
            wiring.make_rolling(site, plan, bundle.pieces, progress, keys=keys, stop_requested=stop_requested)
        )
    from teraferry.installer.cli_blue_green import make_blue_green
    from teraferry.installer.rollout.blue_green_tier import BlueGreenRollout

    parts = make_blue_green(site, plan, bundle.pieces, progress, keys=keys, stop_requested=stop_requested)
    return BlueGreenRollout(parts, plan.standby)


def make_outlook(site: Site, plan: Plan, bundle: VerifiedBundle, progress: Progress, *, keys: KeyGate) -> Outlook:
    """Return what ``plan`` shows beside what both tiers have."""
    from teraferry.installer.rollout.foresee import blue_green_outlook, rolling_outlook

    if plan.tier != BLUE_GREEN:
        return rolling_outlook(wiring.make_rolling(site, plan, bundle.pieces, progress, keys=keys))
    from teraferry.installer.cli_blue_green import make_blue_green

    return blue_green_outlook(make_blue_green(site, plan, bundle.pieces, progress, keys=keys), plan)


def roll_back(
    tier: str,
    site: Site,
    place: Place,
    progress: Progress,
    *,
    lock: Lock,
    confirm: Callable[[str], None],
    stop_requested: Callable[[], bool],
) -> Mapping[str, Fact]:
    """Roll back what there is to roll back in a tier, and return the result fields.

    Raises:
        RefusedError: 40-43. RolledBackError: 50. OperatorNeededError: 60-62.
    """
    if tier == BLUE_GREEN:
        from teraferry.installer.cli_blue_green import make_rollback
        from teraferry.installer.rollback import roll_back as roll_back_pair

        return roll_back_pair(
            make_rollback(site, place, progress, lock=lock, confirm=confirm, stop_requested=stop_requested)
        )
    from teraferry.installer.cli_key_wiring import make_key_gate
    from teraferry.installer.rolling_rollback import RollingRollbackParts, roll_back_rolling
    from teraferry.installer.rollout.places import rolling_places
    from teraferry.installer.rollout.plan import plan_way_back
    from teraferry.installer.rollout.rolling_tier import RollingRollout

    journal = place.journal()
    keys = make_key_gate(site, place, progress, journal=journal)
    return roll_back_rolling(
        RollingRollbackParts(
            journal=journal,
            lock=lock,
            clock=now_utc,
            progress=progress,
            compliance=make_compliance(site),
            places=[(node.name, deploy.place) for node, deploy in rolling_places(site)],
            plan_back=partial(plan_way_back, site),
            rollout=lambda plan: RollingRollout(
                wiring.make_rolling(site, plan, wiring.no_bytes, progress, keys=keys, stop_requested=stop_requested)
            ),
            confirm=confirm,
        )
    )
