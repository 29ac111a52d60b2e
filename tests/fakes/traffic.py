"""A traffic switch in memory, with a clock that a test moves on."""

from __future__ import annotations

from dataclasses import dataclass

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import TrafficObservation


@dataclass(frozen=True)
class _Hold:
    cluster: str
    until_seconds: float


class FakeTrafficSwitch:
    """``TrafficSwitch`` in memory. ``calls`` tells what was asked of it, in order.

    ``now_seconds`` is its clock: a hold that is not renewed is over once the clock is past its end. ``persisted`` is
    what a reboot brings back, ``open`` how many connections each side serves; None when nobody can tell. ``fail_next``
    is what the next change does instead of its work: "before" leaves all as it is, "after" does it and then loses the
    answer.
    """

    def __init__(self, standing: str = "blue", *, has_dead_man: bool = True) -> None:
        self.now_seconds = 0.0
        self.standing = self.persisted = standing
        self.answers = self.can_cut = True
        self.open: dict[str, int] | None = {"blue": 0, "green": 0}
        self.fail_next = ""
        self.calls: list[str] = []
        self._has_dead_man = has_dead_man
        self._hold: _Hold | None = None

    @property
    def has_dead_man(self) -> bool:
        return self._has_dead_man

    def set_up(self, standing: str) -> None:
        _require_side(standing)
        self.observe()

    def observe(self) -> TrafficObservation:
        if not self.answers:
            raise RefusedError("switch-cannot-tell", "switch: silent, expected an answer", hint="Look at it.")
        held = self._held()
        if held is None:
            return TrafficObservation(self.standing, self.standing, None)
        remaining = held.until_seconds - self.now_seconds if self._has_dead_man else None
        return TrafficObservation(held.cluster, self.standing, remaining)

    def hold(self, cluster: str, *, seconds: float) -> None:
        _require_side(cluster)
        _require_some(seconds)
        self.calls.append(f"hold {cluster}")
        if self.observe().standing == cluster:
            raise _failed(f"{cluster} is the standing side", "the other one")
        self._may_fail("before")
        self.persisted = self.standing
        self._hold = _Hold(cluster, self.now_seconds + seconds)
        if self.fail_next == "after":
            self._hold = None
        self._may_fail("after")

    def renew(self, *, seconds: float) -> None:
        _require_some(seconds)
        self.calls.append("renew")
        self.observe()
        held = self._held()
        if held is None:
            raise RefusedError("hold-lapsed", "switch: nothing held, expected a hold", hint="Roll back.")
        self._may_fail("before")
        self._hold = _Hold(held.cluster, self.now_seconds + seconds)
        self._may_fail("after")

    def release(self) -> None:
        self.calls.append("release")
        self.observe()
        self._may_fail("before")
        self._hold = None
        self.persisted = self.standing
        self._may_fail("after")

    def commit(self, cluster: str) -> None:
        _require_side(cluster)
        self.calls.append(f"commit {cluster}")
        self.observe()
        self._may_fail("before")
        self.persisted = cluster
        self._may_fail("between")
        self.standing = cluster
        self._hold = None
        self._may_fail("after")

    def established(self, cluster: str) -> int | None:
        _require_side(cluster)
        return None if self.open is None else self.open[cluster]

    def require_can_cut(self) -> None:
        if not self.can_cut:
            raise RefusedError("switch-cannot-cut", "switch: no way to cut, expected one", hint="Do without.")

    def cut(self, cluster: str) -> None:
        _require_side(cluster)
        self.calls.append(f"cut {cluster}")
        seen = self.observe()
        if cluster in (seen.active, seen.standing):
            raise _failed(f"{cluster} has new connections", "it to have none")
        self.require_can_cut()
        self._may_fail("before")
        if self.open is not None:
            self.open[cluster] = 0
        self._may_fail("after")

    def reboot(self) -> None:
        """The gateway loses what only its memory held."""
        self._hold = None
        self.standing = self.persisted

    def _held(self) -> _Hold | None:
        if self._hold and self._has_dead_man and self.now_seconds >= self._hold.until_seconds:
            self._hold = None
        return self._hold

    def _may_fail(self, when: str) -> None:
        if self.fail_next == when:
            self.fail_next = ""
            raise _failed("no answer", "one")


def _failed(found: str, wanted: str) -> RefusedError:
    return RefusedError("switch-failed", f"switch: {found}, expected {wanted}", hint="Look at it.")


def _require_side(cluster: str) -> None:
    if cluster not in ("blue", "green"):
        raise ValueError(f"cluster {cluster}: expected blue or green")


def _require_some(seconds: float) -> None:
    if not seconds > 0:
        raise ValueError(f"hold: {seconds} s, expected above 0")
