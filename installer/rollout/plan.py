"""What an install will do, step by step, before anything is done. Pure.

The order is: bring the new files to every node, then one node at a time, volume servers first,
then apps, filers, and masters last where there are enough of them; else they stay, and the plan
says so. Each step's id is stable, so that a resumed run finds in the journal what an interrupted
one did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.manifest import File, Image, Manifest
from teraferry.installer.rollout.places import ROLL_ORDER, rolling_places, staying
from teraferry.installer.rollout.smoke import SmokeTest, plan_smoke
from teraferry.installer.site.model import Deploy, Node, Site
from teraferry.installer.site.registry_table import RegistryTable

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


@dataclass(frozen=True, slots=True)
class Target:
    """One file or image of the release on one node."""

    node: str
    address: str
    role: str
    path: str
    file: str  # its name in the manifest, or the image's
    digest: Digest
    length_bytes: int
    mode: int
    image_ids: frozenset[Digest] = frozenset()  # of an image: every name that its content may have on a node
    is_pulled: bool = False  # a file that the node fetches from the local registry, if it can

    @property
    def stage_id(self) -> str:
        """The id of the step that brings it there."""
        return f"{STAGE} {self.node} {self.file}"

    @property
    def stage_text(self) -> str:
        """How it comes to its node, for people."""
        if self.image_ids:
            return f"let {self.node} pull {self.file} by its digest from the local registry, beside the running version"
        if self.is_pulled:
            return (
                f"let {self.node} pull {self.file} ({self.length_bytes} bytes) from the local registry, beside the "
                "running version; where that fails it is sent from here"
            )
        return f"bring {self.file} ({self.length_bytes} bytes) to {self.node}, beside the running version"


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
    targets = [target_of(node, deploy, manifest, site.registry) for node, deploy in rolling_places(site)]
    if site.deploys and not targets:
        raise RefusedError(
            "plan-nothing-to-do",
            f"site {site.name}: [[deploy]] names {', '.join(sorted({str(deploy.role) for deploy in site.deploys}))}, "
            f"expected at least one role that rolls: {', '.join(ROLL_ORDER)} (from three masters on)",
            hint="Give a [[deploy]] in site.toml one of these roles, then `teraferry-installer plan KIT`.",
        )
    keys = tuple(key.name for key in site.keys)
    smoke = plan_smoke(manifest, site, dict.fromkeys(target.node for target in targets))
    return plan_targets(targets, mode=site.cluster.mode, stays=staying(site), keys=keys, smoke=smoke)


def plan_way_back(site: Site, old: Mapping[tuple[str, str], Digest]) -> Plan:
    """Return the steps that bring nodes back to what they ran before, the newest first; no byte of a release is needed.

    Args:
        site: Its ``[[deploy]]`` say how what ran there is stopped and started.
        old: (node, path) -> the digest that ran there before.

    Raises:
        RefusedError: ``rollback-place-unknown``, 40: site.toml has one of these places no more.
    """
    places = {(node.name, deploy.place): (node, deploy) for node, deploy in rolling_places(site)}
    for node, path in old:
        if (node, path) not in places:
            raise RefusedError(
                "rollback-place-unknown",
                f"site {site.name}: {path} on {node} is named no more, expected what the last install brought there",
                hint="Write that [[node]] and [[deploy]] into site.toml as they were, then type rollback again.",
                facts={"node": node, "path": path},
            )
    targets = [
        Target(node.name, node.address, node.role, path, deploy.image or deploy.file or "", old[name, path], 0, 0o755)
        for (name, path), (node, deploy) in reversed(places.items())
        if (name, path) in old
    ]
    mode = "safe" if site.cluster is None else site.cluster.mode
    return plan_targets(targets, mode=mode, keys=tuple(key.name for key in site.keys))


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
            f"{prefix}{target.stage_id}",
            STAGE,
            target.node,
            target.stage_text,
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
        replace(t, digest=old[t.node, t.path], length_bytes=0) for t in reversed(targets) if (t.node, t.path) in old
    )


def _node_steps(node: str, role: str, mode: str) -> list[tuple[str, str]]:
    check = (CHECK, f"before {node}: health exactly 100 % over all nodes, three polls in a row")
    patch = (PATCH, f"stop {node} and link the new version in")
    rejoin = (REJOIN, f"start {node}; it must run the signed digest and be back in the cluster")
    prove = (PROVE, f"after {node}: every key that must survive is still there")
    if role == "master":
        agreed = "health exactly 100 %, every master up, and all agree about one leader"
        return [
            (CHECK, f"before {node}: {agreed}, three polls in a row; the master that leads is the last"),
            patch,
            (REJOIN, f"start {node}; it must run the signed digest and agree with the other masters"),
            prove,
            (REBALANCE, f"after {node}: {agreed} again"),
        ]
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


def target_of(node: Node, deploy: Deploy, manifest: Manifest, registry: RegistryTable) -> Target:
    """Return what of the release ``deploy`` brings to ``node``; ``registry`` says which files the node fetches itself.

    Raises:
        RefusedError: ``plan-file-missing``, 40.
    """
    place = (node.name, node.address, node.role, deploy.place)
    if deploy.image is not None:
        image = _named(deploy, "image", deploy.image, manifest.images)
        contents = {digest for each in image.platforms for digest in (each.manifest, each.config)}
        return Target(*place, image.name, image.digest, 0, 0, frozenset({image.digest, *contents}))
    file = _named(deploy, "file", deploy.file or "", manifest.files)
    is_pulled = registry.is_pulled(file.length_bytes)
    return Target(*place, file.name, file.digest, file.length_bytes, int(file.mode, 8), is_pulled=is_pulled)


_Held = TypeVar("_Held", File, Image)


def _named(deploy: Deploy, what: str, name: str, held: Sequence[_Held]) -> _Held:
    found = next((each for each in held if each.name == name), None)
    if found is not None:
        return found
    names = sorted(each.name for each in held)
    raise RefusedError(
        "plan-file-missing",
        f"deploy {deploy.place}: {what} {name} is not in the release, expected one of {names}",
        hint=f"Correct `{what}` of that [[deploy]] in site.toml, or ask for a release that holds it.",
        facts={"file": name, "files": names},
    )
