"""What breaks at a site while a rollout runs there, how it is mended, and what an onlooker saw meanwhile.

A damage is done to real servers by a way that is not the product's: SIGKILL, a link that goes down, a script or a
program of the node that somebody else has changed. The onlooker asks the master itself, four times a second.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb
from teraferry.installer.adapters.cluster.seaweedfs_placement import parse_placement
from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError, call_leader
from teraferry.installer.ports import ClusterObservation
from teraferry.installer.rollout.gates import judge_health
from tests.lab.nodes import LabError, Node
from tests.lab.sshd import LabSshd
from tests.lab.weed import Service, WeedCluster

LOOK_EVERY_SECONDS = 0.25
OTHER = "other"  # folder on a node, beside ``bin``, for a program that nobody signed


class Damage(Protocol):
    """One thing that goes wrong."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Hosts that clients cannot rely on while it lasts."""

    def strike(self) -> None:
        """Do it."""

    def mend(self) -> None:
        """Do what a person would do about it."""


@dataclass(frozen=True)
class Killed:
    """Servers get SIGKILL; a person starts them."""

    services: tuple[Service, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(service.node.address for service in self.services)

    def strike(self) -> None:
        for service in self.services:
            service.node.sh(f"kill -KILL $(cat {service.folder}/pid)")

    def mend(self) -> None:
        for service in self.services:
            service.start()


@dataclass(frozen=True)
class CutOff:
    """A node's link goes down: nobody is told, packets just stop."""

    node: Node

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.node.address,)

    def strike(self) -> None:
        self.node.run("ip", "link", "set", "eth0", "down")

    def mend(self) -> None:
        self.node.run("ip", "link", "set", "eth0", "up")


@dataclass(frozen=True)
class Cut:
    """Every ssh connection to a node breaks; the next one is let in."""

    server: LabSshd

    @property
    def addresses(self) -> tuple[str, ...]:
        return ()

    def strike(self) -> None:
        if not self.server.cut():
            raise LabError("no connection to cut, expected one")

    def mend(self) -> None:
        """Nothing is broken any more."""


class Together:
    """Several damages at once; none is one, too."""

    def __init__(self, *damages: Damage) -> None:
        self._damages = damages

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(address for damage in self._damages for address in damage.addresses)

    def strike(self) -> None:
        for damage in self._damages:
            damage.strike()

    def mend(self) -> None:
        for damage in self._damages:
            damage.mend()


@dataclass(frozen=True)
class Restarted:
    """What a node does when it is told to start is not what site.toml's author meant.

    Args:
        service: The node's server.
        change: The text of its script, changed.
        program: Put into ``other`` on the node; None where that is not needed.
    """

    service: Service
    change: Callable[[str], str]
    program: Path | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.service.node.address,)

    def strike(self) -> None:
        script = self._folder / "service"
        shutil.copy2(script, script.with_name("service.as-it-was"))
        if self.program is not None:
            (self._folder / OTHER).mkdir(exist_ok=True)
            shutil.copy2(self.program, self._folder / OTHER / "weed")
        self._write(script, self.change(script.read_text()))

    def mend(self) -> None:
        """Stop what runs, put the script back, and start what is at the path by now."""
        self.service.stop()
        self._write(self._folder / "service", (self._folder / "service.as-it-was").read_text())
        shutil.rmtree(self._folder / OTHER, ignore_errors=True)
        self.service.start()

    @property
    def _folder(self) -> Path:
        return self.service.node.folder / self.service.folder.lstrip("/")

    @staticmethod
    def _write(script: Path, text: str) -> None:
        changed = script.with_name("service.new")
        changed.write_text(text)
        changed.chmod(0o755)
        changed.replace(script)


def never_starts(service: Service) -> Restarted:
    """The start command says that all is well and starts nothing."""
    return Restarted(service, lambda text: text.replace("start)\n", "start)\n  exit 0\n"))


def starts_another_file(service: Service, program: Path) -> Restarted:
    """The start command runs ``program``, wherever the path in site.toml leads."""
    return Restarted(service, lambda text: text.replace('"$folder/bin/weed"', f'"$folder/{OTHER}/weed"'), program)


def replaced_before_start(service: Service, program: Path) -> Restarted:
    """Somebody puts ``program`` at the path, once, between the patch and the start."""
    once = f'[ ! -e "$folder/{OTHER}/weed" ] || mv "$folder/{OTHER}/weed" "$folder/bin/weed"'
    return Restarted(service, lambda text: text.replace("start)\n", f"start)\n  {once}\n"), program)


def unsigned_copy(program: Path, target: Path) -> Path:
    """Return a program that works like ``program`` and is not what was signed."""
    shutil.copy2(program, target)
    with target.open("ab") as file:
        file.write(b"\0")  # beyond what the loader reads
    return target


def is_event(**wanted: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return what recognises one JSON line of the installer."""
    return lambda event: all(event.get(name) == value for name, value in wanted.items())


@dataclass(frozen=True)
class Look:
    """What the master said at one moment; ``observation`` is None when it said nothing."""

    time_utc: datetime
    observation: ClusterObservation | None
    is_full: bool

    @property
    def beyond_parity(self) -> bool:
        """Whether some stripe group lacks more shards than it can lose; also when nobody can tell."""
        if self.observation is None:
            return True
        return any(
            len(frozenset().union(*group.holders.values())) < group.data_shards
            for group in self.observation.stripe_groups
        )


class Onlooker:
    """Looks at the cluster all the while. Use as a context."""

    def __init__(self, weed: WeedCluster) -> None:
        self._weed = weed
        self._expected = frozenset(weed.volume_address(name) for name in weed.volumes)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.looks: list[Look] = []

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> Look:
        """Look once."""
        try:
            seen = self._weed.lab.node("site").call(partial(_observe, self._weed.master_addresses))
        except CallFailedError:
            return Look(datetime.now(UTC), None, is_full=False)
        return Look(datetime.now(UTC), seen, judge_health(seen, self._expected, single_copies=True).is_full)

    def between(self, begin: datetime, end: datetime) -> list[Look]:
        """Return the looks from ``begin`` to ``end``."""
        return [look for look in self.looks if begin <= look.time_utc <= end]

    def full_after(self, moment: datetime) -> datetime:
        """Return when health was first seen at 100 % after ``moment``; now where it never was."""
        found = (look.time_utc for look in self.looks if look.is_full and look.time_utc >= moment)
        return next(found, datetime.now(UTC))

    def _watch(self) -> None:
        while not self._over.is_set():
            self.looks.append(self.look())
            self._over.wait(LOOK_EVERY_SECONDS)


def _observe(masters: Sequence[str]) -> ClusterObservation:
    answer = call_leader(masters, "VolumeList", pb.VolumeListRequest(), pb.VolumeListResponse)
    return parse_placement(answer).observation


class Striker:
    """Does a damage when the installer says that it is at some point, and mends it some time later.

    Args:
        damage: What to do.
        when: Recognises the JSON line; None: before the installer is typed.
        after_seconds: Waited for, after that line.
        mended_after_seconds: From the strike; None: by whoever calls ``mend``.
    """

    def __init__(
        self,
        damage: Damage,
        *,
        when: Callable[[Mapping[str, Any]], bool] | None,
        after_seconds: float = 0.0,
        mended_after_seconds: float | None = None,
    ) -> None:
        self.damage = damage
        self._when = when
        self._after_seconds = after_seconds
        self._mended_after_seconds = mended_after_seconds
        self._threads: list[threading.Timer] = []
        self.struck_at: datetime | None = None
        self.mended_at: datetime | None = None

    def arm(self) -> None:
        """Strike at once where no line is waited for."""
        if self._when is None:
            self._strike()

    @property
    def is_due(self) -> bool:
        """Whether its moment has come."""
        return self.struck_at is not None or bool(self._threads)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Listen to the installer."""
        if self._when is not None and not self.is_due and self._when(event):
            if not self._after_seconds:
                self._strike()
                return
            self._later(self._after_seconds, self._strike)

    def mend(self) -> None:
        """Mend it, unless that was done; waits for what is still to come."""
        for thread in self._threads:  # one may add another
            thread.join()
        if self.struck_at is not None and self.mended_at is None:
            self._mend()

    def _strike(self) -> None:
        self.struck_at = datetime.now(UTC)  # before: nobody meets it earlier
        self.damage.strike()
        if self._mended_after_seconds is not None:
            self._later(self._mended_after_seconds, self._mend)

    def _mend(self) -> None:
        self.damage.mend()
        self.mended_at = datetime.now(UTC)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, what)
        self._threads.append(timer)
        timer.start()
