"""What an install will do, step by step, before anything is done. Pure.

The order is: bring the new files to every node, then one node at a time, volume servers first,
filers last; masters stay, and the plan says so. Each step's id is stable, so that a resumed run
finds in the journal what an interrupted one did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.manifest import File, Manifest
from teraferry.installer.rollout.smoke import SmokeTest, plan_smoke
from teraferry.installer.site.model import Deploy, Node, Site

STAGE = "stage_file"
CHECK = "check_cluster_health"
DRAIN = "drain_node"
PATCH = "patch_binary"
REJOIN = "rejoin_cluster"
PROVE = "prove_keys"
SMOKE = "run_smoke_tests"
REBALANCE = "wait_for_rebalance"
BRING_UP = "bring_up"

TOUCHES = (DRAIN, PATCH, BRING_UP)
"""From the first of them on a node is not as it was."""

ROLL_ORDER = ("volume", "app", "filer")
"""Roles that roll, in this order: whoever holds data first, whoever only answers last."""


@dataclass(frozen=True, slots=True)
class Target:
    """One file of the release on one node."""

    node: str
    address: str
    role: str
    path: str
    file: str  # name in the manifest
    digest: Digest
    length_bytes: int
    mode: int


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do on one node."""

    id: str
    action: str
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an install will do, and what it leaves alone."""

    tier: str
    strategy: str
    steps: tuple[Step, ...]
    targets: tuple[Target, ...]
    stays: tuple[str, ...]  # sentences: what is not touched and why
    upload_bytes: int  # to nodes, at most
    keys: tuple[str, ...] = ()  # names of the keys that must survive it
    smoke: tuple[SmokeTest, ...] = ()  # of its nodes
    standby: str = ""  # tier 2: the cluster that is brought up and cut over to
    guarantees: tuple[str, ...] = ()  # tier 2: sentences, what this site can count on

    def targets_of(self, node: str) -> tuple[Target, ...]:
        """Return what of the release goes to ``node``."""
        return tuple(target for target in self.targets if target.node == node)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that are touched, in order."""
        return tuple(dict.fromkeys(target.node for target in self.targets))


def plan_rolling(manifest: Manifest, site: Site) -> Plan:
    """Return the steps of a rolling update of ``site`` to the release in ``manifest``.

    Raises:
        RefusedError: ``plan-file-missing``, 40: a deploy entry names a file the release does not hold.
            ``plan-nothing-to-do``, 40: no deploy entry applies, so nothing would be rolled out.
    """
    if site.cluster is None:
        raise RefusedError(
            "plan-no-cluster",
            f"site {site.name}: no [cluster] table, expected one in tier 1",
            hint="Describe the storage cluster in site.toml under [cluster], then `teraferry-installer plan KIT`.",
        )
    files = {file.name: file for file in manifest.files}
    targets = [
        target_of(node, deploy, files)
        for role in ROLL_ORDER
        for node in site.nodes
        if node.role == role
        for deploy in site.deploys
        if deploy.role == role and deploy.file is not None
    ]
    if site.deploys and not targets:
        raise RefusedError(
            "plan-nothing-to-do",
            f"site {site.name}: [[deploy]] names {', '.join(sorted({str(deploy.role) for deploy in site.deploys}))}, "
            f"expected at least one role that rolls: {', '.join(ROLL_ORDER)}",
            hint="Give a [[deploy]] in site.toml one of these roles, then `teraferry-installer plan KIT`.",
        )
    keys = tuple(key.name for key in site.keys)
    smoke = plan_smoke(manifest, site, dict.fromkeys(target.node for target in targets))
    return plan_targets(targets, mode=site.cluster.mode, stays=_staying(site), keys=keys, smoke=smoke)


def plan_targets(
    targets: Sequence[Target],
    *,
    mode: str,
    stays: tuple[str, ...] = (),
    prefix: str = "",
    keys: tuple[str, ...] = (),
    smoke: tuple[SmokeTest, ...] = (),
) -> Plan:
    """Return the plan that brings ``targets`` in, in their order, one node at a time.

    Args:
        targets: What goes where; several for one node are patched in one go.
        mode: ``safe`` empties a volume server first, ``quick`` lets it leave and come back.
        stays: Sentences for people.
        prefix: Put before every step id, "" or "rollback ".
        keys: Names of the keys that must survive; where there are any, each node is followed by a look at them.
        smoke: Tests of these nodes; each is asked its own. None on the way back: what was put back is no new release.
    """
    steps = [
        Step(
            f"{prefix}{STAGE} {target.node} {target.file}",
            STAGE,
            target.node,
            f"bring {target.file} ({target.length_bytes} bytes) to {target.node}, beside the running version",
        )
        for target in targets
    ]
    for node in dict.fromkeys(target.node for target in targets):
        role = next(target.role for target in targets if target.node == node)
        steps += [
            Step(f"{prefix}{action} {node}", action, node, text)
            for action, text in _node_steps(node, role, mode)
            if action != PROVE or keys
        ]
        tests = [test for test in smoke if test.node == node]
        if tests:
            # Before the cluster is waited for: a node that fails is put back while it is still in hand.
            text = f"after {node}: {'; '.join(test.expected for test in tests)}"
            steps.insert(-1, Step(f"{prefix}{SMOKE} {node}", SMOKE, node, text))
    upload_bytes = sum(target.length_bytes for target in targets)
    return Plan("1", "rolling", tuple(steps), tuple(targets), stays, upload_bytes, keys, smoke)


def reverse_targets(targets: Sequence[Target], old: Mapping[tuple[str, str], Digest]) -> tuple[Target, ...]:
    """Return ``targets`` that were patched, newest first, each with the digest it ran before.

    Args:
        targets: The plan's targets, in order.
        old: (node, path) -> the digest that ran before this run touched it.
    """
    return tuple(
        Target(t.node, t.address, t.role, t.path, t.file, old[t.node, t.path], 0, t.mode)
        for t in reversed(targets)
        if (t.node, t.path) in old
    )


def _node_steps(node: str, role: str, mode: str) -> list[tuple[str, str]]:
    check = (CHECK, f"before {node}: health exactly 100 % over all nodes, three polls in a row")
    patch = (PATCH, f"stop {node} and link the new version in")
    rejoin = (REJOIN, f"start {node}; it must run the signed digest and be back in the cluster")
    prove = (PROVE, f"after {node}: every key that must survive is still there")
    if role != "volume":
        return [check, patch, rejoin, prove, (REBALANCE, f"after {node}: health exactly 100 % again")]
    drain = (
        f"move everything off {node}; no shard is ever missing" if mode == "safe" else f"let {node} leave the cluster"
    )
    return [
        check,
        (DRAIN, drain),
        patch,
        rejoin,
        prove,
        (REBALANCE, f"spread shards again; blocks until 100 %, then soak, after {node}"),
    ]


def target_of(node: Node, deploy: Deploy, files: Mapping[str, File]) -> Target:
    """Return what of the release ``deploy`` brings to ``node``.

    Raises:
        RefusedError: ``plan-file-missing``, 40.
    """
    file = files.get(deploy.file or "")
    if file is None:
        raise RefusedError(
            "plan-file-missing",
            f"deploy {deploy.path}: file {deploy.file} is not in the release, expected one of {sorted(files)}",
            hint="Correct `file` of that [[deploy]] in site.toml, or ask for a release that holds it.",
            facts={"file": deploy.file, "files": sorted(files)},
        )
    return Target(
        node.name,
        node.address,
        node.role,
        deploy.path or "",
        file.name,
        file.digest,
        file.length_bytes,
        int(file.mode, 8),
    )


def _staying(site: Site) -> tuple[str, ...]:
    sentences = [
        f"{node.name} (master) stays on its version: its restart would stop lookups, and a restarted master has no "
        "gate of its own yet"
        for node in site.nodes
        if node.role == "master"
    ]
    rolling = {deploy.role for deploy in site.deploys}
    sentences += [
        f"{node.name} ({node.role}) stays: no [[deploy]] names its role"
        for node in site.nodes
        if node.role != "master" and node.role not in rolling
    ]
    return tuple(sentences)
