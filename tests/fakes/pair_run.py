"""Blue-green installs on a ``PairWorld``: a real bundle, a real journal, the product's own ``install``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import Fact
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.install import InstallParts, InstallReport, install
from teraferry.installer.ports import Entry, Journal
from teraferry.installer.rollback import RollbackParts, roll_back
from teraferry.installer.rollout.blue_green_journal import is_in_place, standby_for
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts, Window
from teraferry.installer.rollout.blue_green_plan import plan_back, plan_blue_green
from teraferry.installer.rollout.blue_green_tier import BlueGreenRollout
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.conditions import Condition
from teraferry.installer.rollout.execute import DONE, ENDED, INTENT, UNDONE
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.plan import Plan
from teraferry.installer.rollout.smoke import SmokeGate, SmokeTest, plan_smoke
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from teraferry.keys.continuity.recovery import Recovery
from teraferry.keys.continuity.watch import KeyWatch, WatchedKey
from teraferry.keys.continuity.wrapped_blobs import WrappedBlobs
from tests.fakes.journal import MemoryJournal
from tests.fakes.keys import FakeKeyStore, SeenKeyStore
from tests.fakes.pair_hands import (
    PairHands,
    PairHealth,
    PairLock,
    PairProbe,
    PairReplicator,
    PairSmoke,
    PairSwitch,
    PairWorkload,
)
from tests.fakes.pair_world import CHECKS, HOLD_SECONDS, NODES, PairWorld
from tests.fakes.rollout_records import SiteJournal, SiteRegistry
from tests.fakes.rollout_run import NOW, Kit
from tests.fakes.rollout_site import Life
from tests.fakes.site_toml import PAIR_KEY, pair_site
from tests.fakes.typed import Typed, stopped_after

PATH = "/opt/seaweedfs/bin/weed"
KEY = "Company_Key"
CUT_AFTER_SECONDS = 1800.0


@cache
def parsed_site(writers: str, *, has_key: bool, cuts: bool) -> Site:
    text = pair_site(writers=writers) + (PAIR_KEY if has_key else "")
    if cuts:
        text = text.replace("[monitor]", f'cut_after = "{CUT_AFTER_SECONDS:.0f}s"\n\n[monitor]')
    return parse_site(text.encode(), name="site.toml")


class PairSite(Typed):
    """A pair and a journal, on which commands are typed again and again. ``between_seconds`` pass between two.

    Args:
        kit: What is installed.
        writers: "two" or "one".
        has_key: Whether a key must survive, on green-1.
        has_dead_man: Whether the switch returns traffic by itself.
        journal: Where the real journal lies; None for one in memory.
        cuts: Whether what is left on the old side is cut after a while.
    """

    def __init__(
        self,
        kit: Kit,
        *,
        writers: str = "two",
        has_key: bool = False,
        has_dead_man: bool = True,
        journal: Path | None = None,
        cuts: bool = False,
    ) -> None:
        self._path = journal
        self.world = PairWorld(writers=writers, has_dead_man=has_dead_man)
        self.cut_after_seconds = CUT_AFTER_SECONDS if cuts else None
        self.kit = kit
        self.key = FakeKeyStore() if has_key else None
        self.between_seconds = 60.0
        self._content = bytearray()
        self.site = parsed_site(writers, has_key=has_key, cuts=cuts)

    def plan(self, kit: Kit) -> Plan:
        entries, bundle = self.entries(), kit.bundle.release.bundle.digest
        standby, in_place = standby_for(entries, bundle), is_in_place(entries, bundle)
        return plan_blue_green(kit.bundle.manifest, self.site, standby=standby, in_place=in_place)

    def install(
        self, life: Life | None = None, *, kit: Kit | None = None, stop_after: int | None = None
    ) -> InstallReport:
        """Type ``install`` once, as a new process."""
        kit, life = kit or self.kit, life or Life()
        self.world.sleep(self.between_seconds)
        self.world.looked_open = False
        plan = self.plan(kit)
        return install(kit.bundle, plan, self._install_parts(kit, life, plan, stopped_after(life, stop_after)))

    def rollback(self, life: Life | None = None) -> Mapping[str, Fact]:
        """Type ``rollback`` once, as a new process."""
        life = life or Life()
        self.world.sleep(self.between_seconds)
        self.world.looked_open = False
        journal = self.journal(life)
        return roll_back(
            RollbackParts(
                journal=journal,
                lock=PairLock(self.world, life),
                clock=lambda: NOW,
                progress=Silent(),
                switch=self.parts(self.kit, life, journal),
                plan_back=lambda standby: plan_back(self.site, standby=standby),
                confirm=lambda _: life.touch("confirm"),
            )
        )

    def written(self) -> bytes:
        return bytes(self._content)

    def replace_journal(self, content: bytes) -> None:
        """Have other bytes in the journal in memory."""
        self._content[:] = content

    def entries(self) -> Sequence[Entry]:
        return self._kept().replay()

    def events(self) -> list[str]:
        return [f"{entry.event} {entry.step}".strip() for entry in self.entries()]

    def problems(self, *, standing: str = "green", digest: Digest | None = None) -> list[str]:
        """Return everything that is not as a finished run must leave it."""
        world = self.world
        found = list(world.violations)
        seen = world.switch.observe()
        if (seen.active, seen.standing, world.switch.persisted) != (standing,) * 3:
            found.append(f"traffic {seen}, a reboot brings {world.switch.persisted}, expected {standing}")
        wanted = digest or self.kit.program.digest
        for node in NODES[standing]:
            program = world.programs[node]
            if (program.running, program.selected) != (wanted, wanted):
                found.append(f"{node} runs {program.running}, would start {program.selected}")
        world.sleep(1)
        found += [f"lost: {path}" for path in world.lost()]
        if world.one.is_held:
            found.append("writes are held")
        return found + self._journal_problems()

    def parts(
        self, kit: Kit, life: Life, journal: Journal, *, require_not_stopped: Callable[[], None] = lambda: None
    ) -> BlueGreenParts:
        world = self.world
        replicator = PairReplicator(world, life)
        nodes = [node for cluster in NODES.values() for node in cluster]
        return BlueGreenParts(
            switch=PairSwitch(world, life),
            replicator=replicator,
            promotion=replicator if world.writers == "one" else None,
            health=PairHealth(world, life),
            compliance=ComplianceGate([(PairProbe(world, life), Condition("active_holds", 0))]),
            smoke=SmokeGate(
                {node: [(test, PairSmoke(world, life, node))] for node, test in self._smoke_tests(kit)},
                lambda: world.seconds,
                world.sleep,
                Silent(),
            ),
            workloads={(node, PATH): PairWorkload(world, life, node) for node in nodes},
            pieces=kit.bundle.pieces,
            staging_jobs=1,
            window=Window(
                seconds=CHECKS,
                every_seconds=1,
                error_rate_max=0.001,
                latency_p99_ms=500,
                hold_seconds=HOLD_SECONDS,
                stalled_after_seconds=30,
                write_hold_seconds=5 if world.writers == "one" else 0,
                cut_after_seconds=self.cut_after_seconds,
            ),
            monotonic_seconds=lambda: world.seconds,
            sleep_seconds=world.sleep,
            progress=Silent(),
            keys=self._key_gate(life, journal),
            require_not_stopped=require_not_stopped,
        )

    def _smoke_tests(self, kit: Kit) -> list[tuple[str, SmokeTest]]:
        tests = plan_smoke(kit.bundle.manifest, self.site, [node for nodes in NODES.values() for node in nodes])
        return [(test.node, test) for test in tests]

    def journal(self, life: Life) -> Journal:
        return SiteJournal(self.world, life, self._kept(), self._content.extend)

    def _kept(self) -> Journal:
        return MemoryJournal(self._content) if self._path is None else FileJournal(self._path)

    def _install_parts(self, kit: Kit, life: Life, plan: Plan, require_not_stopped: Callable[[], None]) -> InstallParts:
        journal = self.journal(life)
        parts = self.parts(kit, life, journal, require_not_stopped=require_not_stopped)
        return InstallParts(
            journal=journal,
            registry=SiteRegistry(self.world, life, kit.image_blobs),
            rollout=BlueGreenRollout(parts, plan.standby),
            lock=PairLock(self.world, life),
            clock=lambda: NOW,
            progress=Silent(),
            jobs=1,
            check_registry=False,
            accept_trust=lambda: life.touch("accept trust"),
            confirm=lambda _: life.touch("confirm"),
            require_compliance=parts.compliance.require_open,
            require_nodes_ready=lambda: life.touch("look at every node"),
            require_not_stopped=require_not_stopped,
        )

    def _key_gate(self, life: Life, journal: Journal) -> KeyGate:
        watched = []
        if self.key is not None:
            hands = PairHands(self.world, life)
            seen = SeenKeyStore(self.key, partial(_reach_key, hands))
            watched.append(
                WatchedKey(KEY, "green-1", "fake", KEY, seen, WrappedBlobs(KEY, [], LocalTransport("green-1")))
            )
        return KeyGate(
            KeyWatch(watched, nonce=lambda: os.urandom(32)),
            journal,
            backups=Path("/nowhere"),
            recoveries={KEY: Recovery(accepted_without="a test, 2026-01-01, a test")},
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
        return found + ([] if any(entry.event == ENDED for entry in entries) else ["no run ended"])


def _reach_key(hands: PairHands, question: str) -> None:
    hands.reach(f"key: {question}")
