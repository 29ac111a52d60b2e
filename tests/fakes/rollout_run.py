"""Installs on a ``World``: a real bundle, the real journal, the product's own ``install``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.archive_writer import write_archive
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import Fact
from teraferry.bundles.manifest import File, Manifest, encode_manifest
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.install import InstallParts, InstallReport, install
from teraferry.installer.ports import Entry, Journal
from teraferry.installer.rolling_rollback import RollingRollbackParts, roll_back_rolling
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.conditions import Condition
from teraferry.installer.rollout.execute import DONE, ENDED, INTENT, UNDONE
from teraferry.installer.rollout.gates import judge_health
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.plan import Plan, Target, plan_targets, reverse_targets
from teraferry.installer.rollout.rolling_parts import Patience, RollingParts
from teraferry.installer.rollout.rolling_tier import RollingRollout
from teraferry.installer.rollout.smoke import SmokeGate, SmokeTest
from teraferry.installer.verify import VerifiedBundle
from teraferry.keys.continuity.recovery import Recovery
from teraferry.keys.continuity.watch import KeyWatch, WatchedKey
from teraferry.keys.continuity.wrapped_blobs import WrappedBlobs
from teraferry.keys.trusted import Floor, TrustedRelease
from tests.fakes.journal import MemoryJournal
from tests.fakes.keys import FakeKeyStore, SeenKeyStore
from tests.fakes.memory_bundle import make_bundle, noise
from tests.fakes.rollout_records import SiteJournal, SiteRegistry
from tests.fakes.rollout_site import (
    FILER,
    MASTERS,
    VOLUME_NODES,
    Hands,
    Life,
    SiteCluster,
    SiteLock,
    SiteProbe,
    SiteQuorum,
    SiteWorkload,
    World,
    address_of,
)
from tests.fakes.small_bundle import signed_facts, sources_of
from tests.fakes.typed import Typed, stopped_after

PATH = "/opt/seaweedfs/bin/weed"
NODES = (*VOLUME_NODES, FILER)
MODES = ("safe", "quick")
NOW = datetime(2026, 3, 4, tzinfo=UTC)


@dataclass(frozen=True)
class Kit:
    """A real bundle on disk with two images and one program."""

    bundle: VerifiedBundle
    program: File
    image_blobs: frozenset[Digest]


def make_kit(folder: Path, version: str, *, has_images: bool = True) -> Kit:
    program = f"the program of {version}".encode() * (5000 if has_images else 5)
    shared = noise(3000, seed=1)
    layers: dict[str, Iterable[bytes]] = {
        "terachat/api": [shared, noise(900, seed=2)],
        "terachat/web": [shared, noise(800, seed=3)],
    }
    made = make_bundle(layers if has_images else {}, version=version)
    file = File(name="bin/weed", mode="0755", digest=digest_of(program), length_bytes=len(program))
    manifest = Manifest(format=1, release=made.manifest.release, images=made.manifest.images, files=(file,))
    sources = sources_of([*made.reader.blobs.values(), program], {layout.MANIFEST: encode_manifest(manifest)})
    path = folder / layout.bundle_name("terachat", version)
    with path.open("w+b") as sink:
        written = write_archive(sink, sources, jobs=1, mtime=0, progress=Silent())
    signed = signed_facts(written, name=path.name, product="terachat", version=version)
    release = TrustedRelease(signed, {}, ("a", "b"), b"", 1, "", {}, {}, Floor())
    reader = BundleReader(path, signed)
    reader.open()
    blobs = {digest for image in manifest.images for each in image.platforms for digest in (each.config, *each.layers)}
    return Kit(VerifiedBundle(release, manifest, reader, path, whole=True), file, frozenset(blobs))


KEYS = {"Company_Key": "vol-2", "Audit_Key": FILER}
"""Key that must survive -> its node, on a site with keys."""


class HoldProbe:
    """``ComplianceProbe`` of a site's legal hold."""

    name = "legal_hold"

    def __init__(self, site: Site) -> None:
        self._site = site

    def ask(self) -> bytes:
        return json.dumps({"active_holds": int(self._site.hold_running)}).encode()


class Site(Typed):
    """A world and a journal, on which installs are typed again and again.

    Args:
        journal: Where the real journal lies; None for one in memory.
        keys: Folder for copies of wrapped blobs, on a site with keys that must survive; None on one without.
        smoke: Whether every node is asked how it is.
        masters: Whether three masters roll as well.
    """

    def __init__(
        self,
        journal: Path | None,
        kit: Kit,
        *,
        mode: str = "safe",
        on_failure: str = "stop",
        keys: Path | None = None,
        smoke: bool = False,
        masters: bool = False,
    ) -> None:
        self.smoke = smoke
        self.hold_running = False  # a legal hold; only a rollback asks whether there is one
        self.nodes = (*NODES, *(MASTERS if masters else ()))
        self.unasked: frozenset[str] = frozenset()  # nodes whose tests the plan names and nobody asks
        self.world = World(safe=mode == "safe", masters=masters)
        self._path = journal
        self._content = bytearray()
        self.kit = kit
        self.mode = mode
        self.on_failure = on_failure
        self.backups = keys
        self.blobs: list[str] = []  # wrapped blobs of every key, real files of this machine
        self.recovery = Recovery(accepted_without="a test, 2026-01-01, a test")
        self.keys = {name: FakeKeyStore() for name in KEYS} if keys is not None else {}

    def plan(self, kit: Kit) -> Plan:
        file = kit.program
        targets = [
            Target(
                node,
                address_of(node),
                role_of(node),
                PATH,
                file.name,
                file.digest,
                file.length_bytes,
                0o755,
            )
            for node in self.nodes
        ]
        smoke = tuple(smoke_test(node) for node in self.nodes) if self.smoke else ()
        return plan_targets(targets, mode=self.mode, keys=tuple(self.keys), smoke=smoke)

    def install(
        self, life: Life | None = None, *, kit: Kit | None = None, stop_after: int | None = None
    ) -> InstallReport:
        """Type ``install`` once, as a new process; somebody asks for a stop after so many touches of the site."""
        kit, life = kit or self.kit, life or Life()
        plan = self.plan(kit)
        return install(kit.bundle, plan, self._parts(kit, plan, life, stopped_after(life, stop_after)))

    def rollback(self, life: Life | None = None) -> Mapping[str, Fact]:
        """Type ``rollback`` once, as a new process."""
        life = life or Life()
        journal = SiteJournal(self.world, life, self.journal(), self._tear)
        targets = self.plan(self.kit).targets

        def plan_back(old: Mapping[tuple[str, str], Digest]) -> Plan:
            return plan_targets(reverse_targets(targets, old), mode=self.mode, keys=tuple(self.keys))

        return roll_back_rolling(
            RollingRollbackParts(
                journal=journal,
                lock=SiteLock(self.world, life),
                clock=lambda: NOW,
                progress=Silent(),
                compliance=ComplianceGate([(HoldProbe(self), Condition("active_holds", 0))]),
                places=[(target.node, target.path) for target in targets],
                plan_back=plan_back,
                rollout=lambda plan: RollingRollout(self._rolling_parts(plan, life, journal)),
                confirm=lambda _: life.touch("confirm"),
            )
        )

    def written(self) -> bytes:
        """Return the journal's bytes; none when there is no journal."""
        if self._path is None:
            return bytes(self._content)
        return self._path.read_bytes() if self._path.exists() else b""

    def replace_journal(self, content: bytes) -> None:
        """Have other bytes in the journal in memory."""
        self._content[:] = content

    def entries(self) -> Sequence[Entry]:
        return self.journal().replay()

    def journal(self) -> Journal:
        return MemoryJournal(self._content) if self._path is None else FileJournal(self._path)

    def _tear(self, begun: bytes) -> None:
        if self._path is None:
            self._content += begun
            return
        with self._path.open("ab") as file:
            file.write(begun)

    def running(self) -> dict[str, Digest | None]:
        return {node: self.world.programs[node].running for node in self.nodes}

    def problems(self, *, digest: Digest | None = None) -> list[str]:
        """Return everything that is not as a finished install must leave it; the chain is verified on the way.

        Args:
            digest: What every node must run; the kit's program by default.
        """
        wanted = digest or self.kit.program.digest
        found = list(self.world.violations)
        found += [f"{node} runs {each}" for node, each in self.running().items() if each != wanted]
        found += [f"{node} would start {p.selected}" for node, p in self.world.programs.items() if p.selected != wanted]
        moved = [address for address, held in self.world.at_first.items() if self.world.on_line[address] != held]
        found += [f"{address} has other shards than at first" for address in moved]
        addresses = frozenset(address_of(node) for node in VOLUME_NODES)
        observation = self.world.placement().observation
        found += judge_health(observation, addresses, single_copies=self.mode == "safe").reasons
        return found + self._journal_problems()

    def key_gate(self, life: Life, journal: Journal) -> KeyGate:
        """Return the gate of one process; ``life`` is touched at each question to a key."""
        watched = []
        for name, store in self.keys.items():
            hands = Hands(self.world, life)
            seen = SeenKeyStore(store, partial(_reach_key, hands, name))
            blobs = WrappedBlobs(name, self.blobs, LocalTransport(KEYS[name]))
            watched.append(WatchedKey(name, KEYS[name], "fake", name, seen, blobs))
        return KeyGate(
            KeyWatch(watched, nonce=lambda: os.urandom(32)),
            journal,
            backups=self.backups or Path("/nowhere"),
            recoveries=dict.fromkeys(self.keys, self.recovery),
            progress=Silent(),
        )

    def _journal_problems(self) -> list[str]:
        entries = self.entries()
        found = []
        for run in dict.fromkeys(entry.run for entry in entries):
            counts = Counter[str]()
            for entry in (each for each in entries if each.run == run):
                counts[f"{entry.event} {entry.step}"] += entry.event in (DONE, INTENT, ENDED)
                if entry.event == UNDONE:
                    counts[f"{DONE} {entry.step}"] = counts[f"{INTENT} {entry.step}"] = 0
            found += [f"run {run}: {times} of {what}" for what, times in counts.items() if times > 1]
        ended = [entry for entry in entries if entry.event == ENDED]
        return found + (["no run ended"] if not ended else [])

    def _parts(self, kit: Kit, plan: Plan, life: Life, require_not_stopped: Callable[[], None]) -> InstallParts:
        world = self.world
        journal = SiteJournal(world, life, self.journal(), self._tear)
        return InstallParts(
            journal=journal,
            registry=SiteRegistry(world, life, kit.image_blobs),
            rollout=RollingRollout(
                self._rolling_parts(plan, life, journal, kit=kit, require_not_stopped=require_not_stopped)
            ),
            lock=SiteLock(world, life),
            clock=lambda: NOW,
            progress=Silent(),
            jobs=1,
            check_registry=False,
            accept_trust=lambda: life.touch("accept trust"),
            confirm=lambda _: life.touch("confirm"),
            require_compliance=lambda: life.touch("ask what an install must not disturb"),
            require_nodes_ready=lambda: life.touch("look at every node"),
            require_not_stopped=require_not_stopped,
        )

    def _rolling_parts(
        self,
        plan: Plan,
        life: Life,
        journal: Journal,
        *,
        kit: Kit | None = None,
        require_not_stopped: Callable[[], None] = lambda: None,
    ) -> RollingParts:
        world, kit = self.world, kit or self.kit

        def sleep(seconds: float) -> None:
            world.seconds += seconds

        asked = [test for test in plan.smoke if test.node not in self.unasked]
        return RollingParts(
            cluster=SiteCluster(world, life),
            workloads={(node, PATH): SiteWorkload(world, life, node) for node in self.nodes},
            volume_addresses=frozenset(address_of(node) for node in VOLUME_NODES),
            pieces=kit.bundle.pieces,
            patience=Patience(soak_seconds=1, stalled_after_seconds=30),
            staging_jobs=1,
            mode=self.mode,
            on_failure=self.on_failure,
            monotonic_seconds=lambda: world.seconds,
            sleep_seconds=sleep,
            progress=Silent(),
            keys=self.key_gate(life, journal),
            smoke=SmokeGate(
                {test.node: [(test, SiteProbe(world, life, test.node))] for test in asked},
                lambda: world.seconds,
                sleep,
                Silent(),
            ),
            quorum=SiteQuorum(world, life),
            master_addresses=frozenset(map(address_of, MASTERS)),
            require_not_stopped=require_not_stopped,
        )


def role_of(node: str) -> str:
    """Return what ``node`` of a world is."""
    return "filer" if node == FILER else "master" if node in MASTERS else "volume"


def smoke_test(node: str) -> SmokeTest:
    """Return what ``node`` of a site with smoke tests is asked."""
    return SmokeTest(node, f"http://{node}/health", None, (), Condition("status", "ok"), within_seconds=20)


def _reach_key(hands: Hands[World], name: str, question: str) -> None:
    hands.reach(f"key {name}: {question}")


def broken_site(
    path: Path | None,
    kit: Kit,
    *,
    node: str,
    fault: str,
    on_failure: str = "stop",
    mode: str = "safe",
    keys: Path | None = None,
    masters: bool = False,
) -> Site:
    """Return a site where the kit's program does not work on ``node``; ``fault`` is a set of ``Program``."""
    site = Site(path, kit, mode=mode, on_failure=on_failure, keys=keys, smoke="smoke" in fault, masters=masters)
    getattr(site.world.programs[node], fault).add(kit.program.digest)
    return site


def mended(site: Site, node: str, fault: str) -> Site:
    """Return the same site where it works now."""
    getattr(site.world.programs[node], fault).clear()
    return site
