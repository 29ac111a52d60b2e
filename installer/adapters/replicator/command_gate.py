"""Writes are held by a program of the site's own, where clients reach the primary by something else than pgbouncer.

The installer runs it with one of these behind its arguments::

    observe                 changes nothing
    hold SECONDS            new writes wait, none is sent away; ends by itself after so long, whoever is killed
    release                 writes go on
    point-to blue|green     that is where they go, once they go on, also after a restart

To each it answers with exit status 0 and, on stdout, what is so then::

    {"goes_to": "blue", "held_seconds": 14.2, "under_way": 0}

``held_seconds`` is how long the hold lasts still, null without one; ``under_way`` how many writes began before it and
have not ended. Anything else is no answer. A change is believed once ``observe``, asked anew, shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final, Literal

import msgspec

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.model import Model
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.replicator.postgresql_server import said
from teraferry.installer.adapters.replicator.write_gate import hold_failed, hold_lapsed
from teraferry.installer.ports import NodeTransport

ANSWER_SECONDS: Final = 30.0
MAX_ANSWER_BYTES: Final = 64 * 1024


class Answer(Model, frozen=True):
    """What the program prints."""

    goes_to: Literal["blue", "green"]
    held_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None
    under_way: Annotated[int, msgspec.Meta(ge=0)]


class CommandGate:
    """``WriteGate`` by a program of the site's own.

    Args:
        transport: Reaches the machine it runs on.
        argv: The program and its arguments.
    """

    def __init__(self, transport: NodeTransport, argv: Sequence[str]) -> None:
        self._transport = transport
        self._argv = tuple(argv)

    def hold(self, *, seconds: float) -> None:
        """Have new writes wait; see ``WriteGate``. A hold that cannot be seen is released."""
        whole = math.floor(seconds)
        if whole < 1:
            raise ValueError(f"hold: {seconds} s, expected 1 at least")
        done = self._run("hold", str(whole), seconds=max(ANSWER_SECONDS, seconds))
        try:
            answer = self._observe()
            if done.status or answer.held_seconds is None or answer.under_way:
                raise hold_failed(self._argv[0], f"hold: {said(done)}, {answer}")
        except RefusedError as error:
            with suppress(RefusedError):
                self.release()
            if error.reference == "write-hold-failed":
                raise
            raise hold_failed(self._argv[0], str(error)) from error

    def require_held(self, *, seconds: float) -> None:
        """See ``WriteGate``."""
        answer = self._observe()
        if answer.held_seconds is None or answer.held_seconds < seconds or answer.under_way:
            raise hold_lapsed(self._argv[0], str(answer))

    def release(self) -> None:
        """See ``WriteGate``. Told first and asked afterwards: who cannot tell may still let writes go on."""
        done = self._run("release")
        try:
            answer = self._observe()
        except RefusedError as error:
            raise hold_failed(self._argv[0], str(error)) from error
        if answer.held_seconds is not None:
            raise hold_failed(self._argv[0], f"release: {said(done)}, {answer}")

    def points_to(self) -> str:
        """See ``WriteGate``."""
        return self._observe().goes_to

    def point_to(self, cluster: str) -> None:
        """See ``WriteGate``."""
        done = self._run("point-to", cluster)
        answer = self._observe()
        if done.status or answer.goes_to != cluster:
            raise RefusedError(
                "promotion-failed",
                f"{self._argv[0]} point-to {cluster}: {said(done)}, {answer}, expected writes to go to {cluster}",
                hint=f"Run `{self._argv[0]} observe` yourself, then type the same command again.",
                facts={"door": self._argv[0], "cluster": cluster},
            )

    def _observe(self) -> Answer:
        done = self._run("observe")
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            if done.status == 0 and len(done.stdout) <= MAX_ANSWER_BYTES:
                return msgspec.json.decode(done.stdout, type=Answer)
        raise RefusedError(
            "replication-cannot-tell",
            f"{self._argv[0]} observe: {said(done)}, {done.stdout[:200]!r}, expected status 0 and its JSON",
            hint=f"Run `{self._argv[0]} observe` yourself; docs/site.md says what it must print.",
            facts={"door": self._argv[0]},
        )

    def _run(self, *words: str, seconds: float = ANSWER_SECONDS) -> Completed:
        return self._transport.run([*self._argv, *words], timeout_seconds=seconds)
