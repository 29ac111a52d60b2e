"""Which plan, and which hands, the tier of a site has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from teraferry.bundles.errors import RefusedError
from teraferry.installer import cli_wiring as wiring

if TYPE_CHECKING:
    from teraferry.bundles.progress import Progress
    from teraferry.installer.ports import Entry
    from teraferry.installer.rollout.foresee import Outlook
    from teraferry.installer.rollout.key_gate import KeyGate
    from teraferry.installer.rollout.plan import Plan
    from teraferry.installer.rollout.tier import Rollout
    from teraferry.installer.site.model import Site
    from teraferry.installer.verify import VerifiedBundle

BLUE_GREEN = "2"


def require_blue_green(tier: str, what: str) -> None:
    """Refuse what only tier 2 has.

    Raises:
        RefusedError: ``tier-not-supported``, 40.
    """
    if tier != BLUE_GREEN:
        raise RefusedError(
            "tier-not-supported",
            f"{what}: tier {tier}, expected tier 2: by hand only a blue-green site is rolled back",
            hint='Write on_failure = "rollback" into [cluster] of site.toml: then a failed install rolls back by '
            "itself. Or install the kit of the release before, if its upgrades_from allows that.",
            facts={"tier": tier},
        )


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
