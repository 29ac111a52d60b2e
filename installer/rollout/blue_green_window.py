"""While the standby has the traffic: it is held for a few seconds at a time, and only as long as all is well.

Whatever ends the watching, an error of ours included, lets go at once: new connections are back on the active cluster
before anybody writes down why. If even that fails, or this process is killed, the switch's own dead-man does it.
"""

from __future__ import annotations

from contextlib import suppress

from teraferry.bundles.errors import RefusedError, TeraFerryError
from teraferry.installer.blue_green_ports import HealthAnswer, HealthProbe, Promotion
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.conditions import CannotAnswerError
from teraferry.installer.rollout.stability import Limits, Tally, count_answer, inconclusive

UP_SECONDS = 120.0
"""How long the application of a cluster may take to be well after its processes were started."""

LEVEL_SECONDS = 30.0
"""How much longer traffic is held while writes are brought level right before the commit."""


def rehearse_check(parts: BlueGreenParts, standby: str) -> Tally:
    """Make one check of the window before there is one: what cannot be asked then must be found out now.

    A cluster whose processes were just started may take ``UP_SECONDS`` until it passes.

    Raises:
        RefusedError: ``unstable`` or ``monitor-inconclusive``, 40.
    """
    limits = parts.window.limits
    alone = Limits(1, limits.error_rate_max, limits.latency_p99_ms)
    give_up = parts.monotonic_seconds() + UP_SECONDS
    while True:
        try:
            return count_answer(Tally(), ask_health(parts.health, standby), alone)
        except RefusedError as error:
            if parts.monotonic_seconds() >= give_up:
                raise
            parts.progress.waiting(f"{standby} to be well", error.message)
        parts.sleep_seconds(parts.window.every_seconds)


def ask_health(health: HealthProbe, cluster: str) -> HealthAnswer:
    """Return the application's answer, unjudged.

    Raises:
        RefusedError: ``monitor-inconclusive``, 40.
    """
    try:
        return health.ask(cluster)
    except CannotAnswerError as error:
        raise inconclusive(str(error)) from error


def watch_window(parts: BlueGreenParts, standby: str) -> Tally:
    """Check the standby until the window is over, renewing its hold at first and after each check that it passed.

    Raises:
        RefusedError: ``unstable``, ``monitor-inconclusive``, ``hold-lapsed`` or what the switch raised, 40. Traffic
            was let go.
    """
    try:
        return _watch(parts, standby)
    except (Exception, KeyboardInterrupt):
        let_go(parts)
        raise


def let_go(parts: BlueGreenParts) -> None:
    """Send new connections to the standing side, if the switch can be reached at all; the caller tells why."""
    with suppress(TeraFerryError):
        parts.switch.release()


def let_writes_go(parts: BlueGreenParts) -> None:
    """Let writes go on that a killed process may have left waiting; if that fails, their hold ends by itself."""
    if parts.promotion is not None:
        with suppress(TeraFerryError):
            parts.promotion.release_writes()


def move_primary(parts: BlueGreenParts, active: str, standby: str, *, marker: str) -> None:
    """Make ``standby`` the primary while writes wait; whatever happens, they go on, to whoever is primary then.

    Raises:
        RefusedError: ``promotion-failed`` and others of ``Promotion`` and ``Replicator``, 40.
    """
    promotion = _promotion(parts)
    hold = parts.window.write_hold_seconds
    # Traffic must not lapse while writes are held: it is renewed for as long as that may take on top.
    parts.switch.renew(seconds=parts.window.hold_seconds + hold)
    began = parts.monotonic_seconds()
    try:
        promotion.hold_writes(seconds=hold)
        left = max(1.0, hold - (parts.monotonic_seconds() - began))
        stalled = min(left, parts.window.stalled_after_seconds)
        parts.replicator.sync_state(active, marker=marker, stalled_after_seconds=stalled)
        promotion.promote(standby)
    finally:
        # After a kill, or when even this fails, the hold on writes ends by itself.
        promotion.release_writes()
    parts.switch.renew(seconds=parts.window.hold_seconds)


def level_once_more(parts: BlueGreenParts, active: str, marker: str) -> None:
    """Have all that the active cluster acknowledged on the standby before that stands.

    One that died in the window and is back has writes that replication never hears of by itself. Nobody asks for
    health meanwhile, so it has to be quick: the hold, which is renewed behind it, may not lapse.

    Raises:
        RefusedError: ``hold-lapsed``, ``replication-stalled`` and others of ``Replicator``, 40.
    """
    parts.switch.renew(seconds=parts.window.hold_seconds + LEVEL_SECONDS)
    parts.replicator.start()
    stalled = min(LEVEL_SECONDS, parts.window.stalled_after_seconds)
    parts.replicator.sync_state(active, marker=marker, stalled_after_seconds=stalled)


def _watch(parts: BlueGreenParts, standby: str) -> Tally:
    window, limits = parts.window, parts.window.limits
    parts.progress.start(f"watch {standby}")
    tally, began = Tally(), parts.monotonic_seconds()
    # What an earlier process held may be about to end.
    parts.switch.renew(seconds=window.hold_seconds)
    for number in range(1, limits.checks + 1):
        tally = count_answer(tally, ask_health(parts.health, standby), limits)
        # Behind the check, not before it: a standby that fell silent is found as much sooner.
        parts.switch.renew(seconds=window.hold_seconds)
        left = limits.checks - number
        parts.progress.waiting(f"{standby} to be well for {window.seconds:g} s", f"{tally.summary()}; {left} to go")
        parts.sleep_seconds(max(0.0, began + number * window.every_seconds - parts.monotonic_seconds()))
    parts.switch.renew(seconds=window.hold_seconds)
    return tally


def _promotion(parts: BlueGreenParts) -> Promotion:
    if parts.promotion is None:
        raise RefusedError(
            "no-write-guarantee",
            "replication with one writer: nothing here can move the primary, expected a replicator that can",
            hint="Name a replicator in site.toml that promotes.",
        )
    return parts.promotion
