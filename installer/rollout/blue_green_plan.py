"""What a blue-green install will do, step by step, and what this site can count on meanwhile. Pure.

The standby cluster is brought up and tried, writes are brought level, and then new connections move to it for as long
as somebody watches. Only a cluster that was well for the whole window becomes the standing side. Each step's id is
stable, so that a resumed run finds in the journal what an interrupted one did.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.manifest import Manifest
from teraferry.installer.rollout.plan import BRING_UP, PROVE, SMOKE, STAGE, Plan, Step, Target, target_of
from teraferry.installer.rollout.smoke import SmokeTest, plan_smoke
from teraferry.installer.site.model import MonitorTable, ReplicationTable, Site, TrafficTable
from teraferry.installer.site.monitor_rules import answer_seconds

SET_UP: Final = "set_up_switch"
REHEARSE: Final = "rehearse_check"
SYNC: Final = "sync_state"
ASK: Final = "ask_compliance"
SWITCH: Final = "switch_virtual_ip"
MONITOR: Final = "monitor_stability"
PROMOTE: Final = "promote_primary"
COMMIT: Final = "commit_switch"
CUT: Final = "cut_connections"
RETURN: Final = "return_traffic"
DRAIN_BACK: Final = "drain_back"

WINDOW_STEPS: Final = (SWITCH, MONITOR, PROMOTE, COMMIT)
"""New connections may be on the standby from the first of them on."""

BRING_UP_ORDER: Final = ("master", "volume", "filer", "app")
"""Who others ask comes first; nobody is served by this cluster, so nothing is drained."""

NO_DEAD_MAN: Final = "none"


def other_cluster(cluster: str) -> str:
    """Return blue for green, and the other way round."""
    return {"blue": "green", "green": "blue"}[cluster]


def plan_blue_green(manifest: Manifest, site: Site, *, standby: str, in_place: bool = False) -> Plan:
    """Return the steps that bring the release in ``manifest`` to the cluster ``standby`` and make it the standing side.

    Args:
        manifest: Of the release.
        site: With all tables of tier 2.
        standby: See ``blue_green_journal.standby_for``.
        in_place: It stands already with this very release: no step, and its nodes are compared with what was signed.

    Raises:
        RefusedError: ``plan-file-missing``, ``plan-nothing-to-do`` or ``no-write-guarantee``, 40.
    """
    traffic, replication = require_tables(site)
    guarantees = guarantees_of(site, standby=standby)
    targets = _targets(manifest, site, standby)
    if not targets:
        raise RefusedError(
            "plan-nothing-to-do",
            f"site {site.name}: no [[deploy]] has the role of a node of {standby}, expected at least one",
            hint=f"Give the nodes of {standby} in site.toml the roles of [[deploy]], then `teraferry-installer plan "
            "KIT`.",
            facts={"cluster": standby},
        )
    made = Plan(
        tier="2",
        strategy="blue-green",
        steps=(),
        targets=tuple(targets),
        stays=(f"{standby} stands with this release already: its nodes are compared with what was signed",),
        upload_bytes=0,
        keys=tuple(key.name for key in site.keys),
        standby=standby,
        guarantees=guarantees,
    )
    if in_place:
        return made
    smoke = plan_smoke(manifest, site, made.nodes)
    steps = (
        *_bring_up_steps(targets, standby, has_keys=bool(made.keys)),
        *_trial_steps(smoke, standby),
        *cutover_steps(standby, traffic, replication, window=_window(site)),
    )
    upload_bytes = sum(target.length_bytes for target in targets)
    return replace(made, steps=steps, stays=_staying(site, standby), upload_bytes=upload_bytes, smoke=smoke)


def plan_back(site: Site, *, standby: str) -> Plan:
    """Return the steps that cut over to ``standby`` as it is: the release it has was signed and proven when it came.

    Raises:
        RefusedError: ``no-write-guarantee`` or ``plan-no-traffic``, 40.
    """
    traffic, replication = require_tables(site)
    steps = (*_trial_steps((), standby), *cutover_steps(standby, traffic, replication, window=_window(site)))
    return Plan(
        tier="2",
        strategy="blue-green",
        steps=steps,
        targets=(),
        stays=(),
        upload_bytes=0,
        keys=tuple(key.name for key in site.keys),
        standby=standby,
        guarantees=guarantees_of(site, standby=standby),
    )


def require_tables(site: Site) -> tuple[TrafficTable, ReplicationTable]:
    """Return ``[traffic]`` and ``[replication]`` of a tier 2 site.

    Raises:
        RefusedError: ``plan-no-traffic``, 40.
    """
    if site.traffic is None or site.replication is None or site.monitor is None:
        raise _lacks_a_table(site)
    return site.traffic, site.replication


def require_monitor(site: Site) -> MonitorTable:
    """Return ``[monitor]`` of a tier 2 site.

    Raises:
        RefusedError: ``plan-no-traffic``, 40.
    """
    if site.monitor is None:
        raise _lacks_a_table(site)
    return site.monitor


def guarantees_of(site: Site, *, standby: str) -> tuple[str, ...]:
    """Return what this site can count on, in sentences for people; nothing of it is hoped for.

    Raises:
        RefusedError: ``no-write-guarantee``, 40: nothing can be promised for what is written meanwhile.
    """
    traffic, replication = require_tables(site)
    active = other_cluster(standby)
    if traffic.dead_man == NO_DEAD_MAN:
        returns = (
            f"if the installer is killed after the cutover, new connections stay on {standby}, unwatched, until "
            "install or rollback is typed: this switch has no dead-man"
        )
    else:
        returns = (
            f"if the installer is killed after the cutover, the switch itself returns new connections to {active} "
            f"within {traffic.dead_man}"
        )
    return (
        _stays(traffic, active=active),
        returns,
        _noticed(site, active=active, standby=standby),
        *_writes(replication, active=active, standby=standby),
        f"{active} stays as it is, as the standby, after the commit",
    )


def _stays(traffic: TrafficTable, *, active: str) -> str:
    if traffic.cut_after is None:
        return f"established connections stay on {active} until they end; none is moved or cut"
    return (
        f"established connections stay on {active}; those left there {traffic.cut_after} after the cutover, and after "
        "the commit, are cut, as site.toml says: their clients see an error"
    )


def _noticed(site: Site, *, active: str, standby: str) -> str:
    monitor = require_monitor(site)
    every = monitor.every_seconds
    longest = every + answer_seconds(every_seconds=every, latency_p99_ms=monitor.latency_p99_ms)
    return (
        f"if {standby} fails, freezes or dies in the window, the next check finds it and new connections return to "
        f"{active}: {longest:g} s later at most, and what one turn of the switch takes"
    )


def cutover_steps(
    standby: str, traffic: TrafficTable, replication: ReplicationTable, *, window: str
) -> tuple[Step, ...]:
    """Return the steps from level writes to the commit."""
    active = other_cluster(standby)
    held = "unwatched holds do not end" if traffic.dead_man == NO_DEAD_MAN else f"held for {traffic.dead_man} at a time"
    promote = Step(
        PROMOTE,
        PROMOTE,
        standby,
        f"hold writes for at most {replication.write_hold_seconds} s, make {standby} the primary, let them go on",
    )
    cut = Step(CUT, CUT, standby, f"{traffic.cut_after} after the cutover, cut the connections left on {active}")
    return (
        Step(SYNC, SYNC, standby, f"bring {standby} level with {active}: a marker written there is read here"),
        Step(ASK, ASK, standby, "keys, and the compliance lock once more, right before the cutover"),
        Step(SWITCH, SWITCH, standby, f"send new connections of {traffic.virtual_ip} to {standby} ({held})"),
        Step(MONITOR, MONITOR, standby, f"watch {standby} for {window}; anything wrong: back to {active} at once"),
        *((promote,) if replication.writers == "one" else ()),
        Step(COMMIT, COMMIT, standby, f"make {standby} the standing side; {active} stays as the standby"),
        *((cut,) if traffic.cut_after is not None else ()),
    )


def _lacks_a_table(site: Site) -> RefusedError:
    return RefusedError(
        "plan-no-traffic",
        f"site {site.name}: no [traffic], [monitor] or [replication], expected all three in tier 2",
        hint="Describe them in site.toml, then `teraferry-installer plan KIT`.",
    )


def _targets(manifest: Manifest, site: Site, cluster: str) -> list[Target]:
    return [
        target_of(node, deploy, manifest, site.registry)
        for role in BRING_UP_ORDER
        for node in site.nodes_of_cluster(cluster)
        if node.role == role
        for deploy in site.deploys
        if deploy.role == role
    ]


def _bring_up_steps(targets: list[Target], standby: str, *, has_keys: bool) -> list[Step]:
    steps = [Step(SET_UP, SET_UP, standby, "see that the traffic switch is set up; nothing is moved")]
    steps += [Step(target.stage_id, STAGE, target.node, target.stage_text) for target in targets]
    for node in dict.fromkeys(target.node for target in targets):
        text = f"restart {node} on the new version; it must run the signed digest ({standby} serves nobody)"
        steps.append(Step(f"{BRING_UP} {node}", BRING_UP, node, text))
        if has_keys:
            steps.append(
                Step(f"{PROVE} {node}", PROVE, node, f"after {node}: every key that must survive is still there")
            )
    return steps


def _trial_steps(smoke: tuple[SmokeTest, ...], standby: str) -> list[Step]:
    """Return what the standby must answer before anybody is sent there, once all of it runs."""
    steps = []
    for node in dict.fromkeys(test.node for test in smoke):
        told = "; ".join(test.expected for test in smoke if test.node == node)
        steps.append(Step(f"{SMOKE} {node}", SMOKE, node, f"smoke tests of {node}: {told}"))
    return [
        *steps,
        Step(REHEARSE, REHEARSE, standby, f"one health check of {standby}, as there are many after cutover"),
    ]


def _writes(replication: ReplicationTable, *, active: str, standby: str) -> tuple[str, ...]:
    if replication.writers == "two":
        return (
            f"no acknowledged write is lost by a rollback while {standby} is alive: what was written there is drained "
            f"back to {active}",
            f"if {standby} dies after the cutover, its writes that {active} lacks are counted and named as pending "
            "recovery, never as none unless that is proven; `rollback` merges them when it is back",
            "what was written on both clusters is kept in both versions, and nothing is committed until it is resolved",
        )
    if not replication.write_hold_seconds:
        raise RefusedError(
            "no-write-guarantee",
            'site with writers = "one": no write_hold_seconds in [replication], expected how long writes may wait',
            hint="Write write_hold_seconds = 5 into [replication] of site.toml: without it the primary cannot be moved "
            "without failing writes, and nothing can be promised.",
        )
    return (
        f"no acknowledged write is lost by a rollback: until {standby} was well for the whole window, every write goes "
        f"to the one primary, on {active}",
        f"writes wait, and do not fail, for at most {replication.write_hold_seconds} s while {standby} becomes the "
        "primary",
    )


def _window(site: Site) -> str:
    return f"{site.monitor.seconds} s" if site.monitor else ""


def _staying(site: Site, standby: str) -> tuple[str, ...]:
    active = other_cluster(standby)
    names = ", ".join(node.name for node in site.nodes_of_cluster(active))
    rolling = {deploy.role for deploy in site.deploys}
    return (
        *((f"{active} ({names}) stays on its version: it serves, and is the standby afterwards",) if names else ()),
        *(
            f"{node.name} ({node.role}) stays: no [[deploy]] names its role"
            for node in site.nodes_of_cluster(standby)
            if node.role not in rolling
        ),
    )
