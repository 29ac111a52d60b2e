"""New connections are switched by a program of the site's own: a load balancer, a router, whatever it knows to turn.

The installer runs it with one of these behind its arguments::

    observe                          changes nothing
    hold blue|green                  new connections go there; no established one is moved or cut
    release                          new connections go to the standing side, at once
    commit blue|green                that becomes the standing side, durably: a reboot brings it back

To each it answers with exit status 0 and, on stdout, where new connections go then::

    {"active": "green", "standing": "blue", "established": {"blue": 214, "green": 31}}

``established`` may be left out or be null by who cannot count. Anything else is no answer: to ``observe`` that is
"cannot tell", to a change "failed". A change is believed once ``observe``, asked anew, shows it. Each may be repeated.

There is **no dead-man**: what is held stays held until it is released, whoever is killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final, Literal

import msgspec

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.model import Model
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.traffic.sides import (
    Side,
    VirtualAddress,
    cannot_cut,
    cannot_tell,
    failed,
    lapsed,
    require_side,
    whole_seconds,
)
from teraferry.installer.blue_green_ports import TrafficObservation
from teraferry.installer.ports import NodeTransport

ANSWER_SECONDS: Final = 30.0
"""A change may have to reach two load balancers; new connections wait for a rollback as long as this."""

MAX_ANSWER_BYTES: Final = 64 * 1024

Count = Annotated[int, msgspec.Meta(ge=0)]


class Established(Model, frozen=True):
    """How many connections of the virtual address each side serves."""

    blue: Count
    green: Count


class Answer(Model, frozen=True):
    """What the program prints."""

    active: Literal["blue", "green"]
    standing: Literal["blue", "green"]
    established: Established | None = None


class NoAnswerError(Exception):
    """The program did not answer; the message says what it did and what was expected."""


class CommandSwitch:
    """``TrafficSwitch`` by a program of the site's own.

    Args:
        transport: Reaches the machine it runs on.
        virtual: The address, for messages.
        argv: The program and its arguments.
    """

    def __init__(self, transport: NodeTransport, virtual: VirtualAddress, argv: Sequence[str]) -> None:
        self._transport = transport
        self._virtual = virtual
        self._argv = tuple(argv)

    @property
    def has_dead_man(self) -> bool:
        """Tell that a hold stays when nobody renews it."""
        return False

    def set_up(self, standing: str) -> None:
        """See that the program answers; what it turns, and its standing side, are its own business.

        Raises:
            RefusedError: ``switch-cannot-tell``, 40.
        """
        require_side(standing)
        self._observe()

    def observe(self) -> TrafficObservation:
        """Return what the program says; see ``blue_green_ports.TrafficSwitch``."""
        answer = self._observe()
        return TrafficObservation(answer.active, answer.standing, None)

    def hold(self, cluster: str, *, seconds: float) -> None:
        """Have new connections go to ``cluster`` until it is released; ``seconds`` are not handed on.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40; new connections were told to go back.
        """
        side, _ = require_side(cluster), whole_seconds(seconds)
        standing = self._observe().standing
        if side == standing:
            raise self._failed("hold", f"{side} is the standing side", "the other one")
        try:
            self._change("hold", side, active=side, standing=standing)
        except RefusedError as error:
            # Whether it was done is not known. What may be held is let go now; nobody else would do it.
            with suppress(RefusedError):
                self.release()
            if error.reference == "switch-failed":
                raise
            raise self._failed("hold", str(error), f"{side} read back as held") from error

    def renew(self, *, seconds: float) -> None:
        """See that what is held is held still.

        Raises:
            RefusedError: ``hold-lapsed`` or ``switch-cannot-tell``, 40.
        """
        whole_seconds(seconds)
        answer = self._observe()
        if answer.active == answer.standing:
            raise lapsed(self._virtual)

    def release(self) -> None:
        """Have new connections go to the standing side, at once, whatever was said before.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40.
        """
        # Told first and asked afterwards: who cannot tell where traffic is may still bring it back.
        said = self._run("release")
        answer = self._observe()
        if answer.active != answer.standing:
            raise self._failed("release", f"{answer.active} is active, {_told(said)}", f"{answer.standing} active")
        self._require_answer(said, "release")

    def commit(self, cluster: str) -> None:
        """Have ``cluster`` be the standing side, durably.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40. Commit again, or release.
        """
        side = require_side(cluster)
        self._observe()  # Nothing is changed by a program that does not know where traffic is.
        self._change("commit", side, active=side, standing=side)

    def established(self, cluster: str) -> int | None:
        """Return what the program counts; None where it does not."""
        side, counted = require_side(cluster), self._observe().established
        if counted is None:
            return None
        return counted.blue if side == "blue" else counted.green

    def require_can_cut(self) -> None:
        """Refuse: nothing that the program is asked ends a connection.

        Raises:
            RefusedError: ``switch-cannot-cut``, 40.
        """
        raise cannot_cut(
            self._virtual,
            "a program of the site's own, which is never asked to cut connections",
            "an engine that is",
            hint="Remove cut_after from [traffic] in site.toml: what is left on the old side stays until it ends.",
        )

    def cut(self, cluster: str) -> None:
        """Refuse; see ``require_can_cut``."""
        require_side(cluster)
        self.require_can_cut()

    def _change(self, what: str, cluster: Side, *, active: Side, standing: Side) -> None:
        self._require_answer(self._run(what, cluster), what)
        found = self._observe()
        if (found.active, found.standing) != (active, standing):
            there = f"{found.active} active over {found.standing}"
            raise self._failed(what, there, f"{active} active over {standing}")

    def _observe(self) -> Answer:
        try:
            return _parse(self._run("observe"))
        except NoAnswerError as error:
            hint = f"Run `{self._argv[0]} observe` yourself. It must say where new connections go, as in docs/site.md."
            raise cannot_tell(self._virtual, str(error), "status 0 and JSON", hint=hint) from error

    def _require_answer(self, done: Completed, what: str) -> None:
        try:
            _parse(done)
        except NoAnswerError as error:
            raise self._failed(what, str(error), "status 0 and JSON") from error

    def _run(self, *words: str) -> Completed:
        return self._transport.run([*self._argv, *words], timeout_seconds=ANSWER_SECONDS)

    def _failed(self, what: str, found: str, wanted: str) -> RefusedError:
        hint = f"Run `{self._argv[0]} observe` and look at what it turns, then type the same command again."
        return failed(self._virtual, what, found, wanted, hint=hint)


def _parse(done: Completed) -> Answer:
    if done.status:
        raise NoAnswerError(_told(done))
    if len(done.stdout) > MAX_ANSWER_BYTES:
        raise NoAnswerError(f"{done.argv[0]}: more than {MAX_ANSWER_BYTES} bytes")
    try:
        return msgspec.json.decode(done.stdout, type=Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NoAnswerError(f"{done.argv[0]}: {error}") from error


def _told(done: Completed) -> str:
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"{done.argv[0]}: status {done.status}" + (f", {words[-1][:200]}" if done.status and words else "")
