"""New connections are switched by a HAProxy that the site runs anyway, over its runtime API.

``haproxy_layout`` says what it holds for us and reads what it says. Here is the order of things:

- every change is read back and compared before it is believed: the runtime API answers with text, not with a status;
- before anything is held, the file that a start, a reload and a reboot read names the standing side;
- a cutover first sees that HAProxy itself finds a server up behind every service of that side, then turns one entry of
  a map, which moves all services in one moment;
- a rollback turns it back, and then pins the servers of the other side: in maintenance they get no new connection
  whatever else happens, a check that is green again, a map that a person edits. The next hold puts them into service.
  What is established there stays;
- a commit writes the file first. A power cut after it brings the new side, one before it the old side. A commit that
  was cut short between the file and the map is seen as not done, as with nftables.

There is **no dead-man**: what is held stays held until it is released, whoever is killed, or until HAProxy is reloaded
or started again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.traffic.haproxy_layout import (
    State,
    UnexpectedAnswerError,
    map_text,
    parse_established,
    parse_map,
    parse_state,
)
from teraferry.installer.adapters.traffic.haproxy_socket import RuntimeApi
from teraferry.installer.adapters.traffic.sides import (
    SIDES,
    Side,
    VirtualAddress,
    cannot_tell,
    failed,
    lapsed,
    require_idle_side,
    require_plain_path,
    require_side,
    whole_seconds,
)
from teraferry.installer.blue_green_ports import TrafficObservation
from teraferry.installer.ports import NodeTransport

CUT_SECONDS: Final = 5.0
"""A session that was told to end is gone with the next turn of its process's loop."""


@dataclass(frozen=True, slots=True)
class HaproxyFiles:
    """Where HAProxy's node has the socket of the runtime API, level admin, and the map."""

    socket: str = "/run/haproxy/admin.sock"
    map: str = "/etc/haproxy/teraferry.map"

    def __post_init__(self) -> None:
        for path in (self.socket, self.map):
            # A blank or a semicolon would end a word, or a command, of the runtime API.
            require_plain_path(path)


class HaproxySwitch:
    """``TrafficSwitch`` of one virtual address that HAProxy serves.

    Args:
        transport: Reaches HAProxy's node, as somebody who may use the socket and write the map.
        virtual: The address, its services, and the servers of both sides.
        files: Where the node has socket and map.
    """

    def __init__(self, transport: NodeTransport, virtual: VirtualAddress, *, files: HaproxyFiles | None = None) -> None:
        self._transport = transport
        self._virtual = virtual
        self._files = files or HaproxyFiles()
        self._api = RuntimeApi(transport, self._files.socket)

    @property
    def has_dead_man(self) -> bool:
        """Tell that a hold stays when nobody renews it."""
        return False

    def set_up(self, standing: str) -> None:
        """Write the map's file, without which HAProxy does not start with our lines; then see that it runs with them.

        Where HAProxy knows the map already, its own standing side counts, and what is held stays held. Where only the
        file is, what was committed counts.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40: the lines of ``docs/rollout.md`` are not in
                haproxy.cfg yet, or it was not reloaded since.
        """
        wanted = require_side(standing)
        try:
            side = self._state().standing
        except RefusedError as error:
            if error.reference != "switch-cannot-tell":
                raise
            self._persist(self._persisted() or wanted)
            side = self._state().standing
        self._persist(side)

    def observe(self) -> TrafficObservation:
        """Return what HAProxy says, now; see ``blue_green_ports.TrafficSwitch``."""
        state = self._state()
        return TrafficObservation(state.active, state.standing, None)

    def hold(self, cluster: str, *, seconds: float) -> None:
        """Turn the map to ``cluster`` until it is released; ``seconds`` mean nothing to HAProxy.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40; new connections go to the standing side.
        """
        side, _ = require_side(cluster), whole_seconds(seconds)
        state = self._state()
        if side == state.standing:
            raise self._failed("hold", f"{side} is the standing side", "the other one")
        self._persist(state.standing)
        try:
            self._put_into_service(state, side, "hold")
            self._turn("active", side, "hold")
        except RefusedError as error:
            # Whether HAProxy took it is not known. What may be held is let go now; nobody else would do it.
            with suppress(RefusedError):
                self._let_go()
            if error.reference == "switch-failed":
                raise
            raise self._failed("hold", str(error), f"{side} read back as held") from error

    def renew(self, *, seconds: float) -> None:
        """See that what is held is held still; a reload or a restart of HAProxy ends it.

        Raises:
            RefusedError: ``hold-lapsed`` or ``switch-cannot-tell``, 40.
        """
        whole_seconds(seconds)
        state = self._state()
        if state.active == state.standing:
            raise lapsed(self._virtual)

    def release(self) -> None:
        """Turn the map back, pin the other side; then see that a reboot would bring the same side.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40.
        """
        self._persist(self._let_go())

    def commit(self, cluster: str) -> None:
        """Write what a reload and a reboot read, then turn both entries of the map.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40. Commit again, or release.
        """
        side = require_side(cluster)
        state = self._state()
        if side == state.standing and side != state.active:
            self.release()
            return
        if side != state.standing:
            self._put_into_service(state, side, "commit")
        self._persist(side)
        # The note last: until it is turned, this commit is seen as not done.
        self._turn("active", side, "commit")
        self._turn("standing", side, "commit")

    def established(self, cluster: str) -> int | None:
        """Count the sessions of HAProxy's own statistics; None while an older process of it may still serve some.

        After a reload the process before it serves what it had until that ends, and answers nobody.
        """
        side = require_side(cluster)
        blocks = self._ask("show info", "show stat -1 2 -1", shown=2)
        try:
            pid = next((line.removeprefix("Pid: ") for line in blocks[0].splitlines() if line.startswith("Pid: ")), "")
            if not pid.isdecimal() or not self._api.is_alone(pid):
                return None
            return parse_established(blocks[1], self._virtual, side)
        except UnexpectedAnswerError as error:
            raise self._cannot_tell(str(error)) from error

    def require_can_cut(self) -> None:
        """See that HAProxy answers: its runtime API can end sessions.

        Raises:
            RefusedError: ``switch-cannot-tell``, 40.
        """
        self._state()

    def cut(self, cluster: str) -> None:
        """End every session of this HAProxy on the servers of ``cluster``, on both ends.

        One from before a reload, in a process that answers nobody, stays; then ``established`` cannot tell.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40.
        """
        side = require_idle_side(self._virtual, self.observe(), cluster)
        servers = self._state().of(side)
        give_up = monotonic_seconds() + CUT_SECONDS
        while True:
            _, said = self._change(*(f"shutdown sessions server {server.path}" for server in servers))
            left = self.established(side)
            if not left:
                return
            if monotonic_seconds() >= give_up:
                raise self._failed("cut", f"{left} sessions left, {said}", f"none on {side}")
            sleep_seconds(0.05)

    def _put_into_service(self, state: State, side: Side, what: str) -> None:
        """Take every server of ``side`` out of maintenance, and see that each service has one that is up."""
        seen, _ = self._change(*(f"set server {server.path} state ready" for server in state.of(side)))
        if down := seen.down(side):
            found = f"{', '.join(down)} without a server that HAProxy finds up"
            raise self._failed(what, found, f"one up for every service of {side}")

    def _turn(self, entry: str, side: Side, what: str) -> None:
        state, said = self._change(f"set map {self._files.map} {entry} {side}")
        if (state.active if entry == "active" else state.standing) != side:
            raise self._failed(what, f"{state.active} is active, {said}", f"{side} read back as {entry}")

    def _let_go(self) -> Side:
        """Turn the map to the standing side and pin the other; return the standing one."""
        standing = self._noted()
        other = SIDES[1 - SIDES.index(standing)]
        # Before any look at the rest: servers that somebody took away must not keep traffic from coming back.
        state, said = self._change(f"set map {self._files.map} active {standing}")
        if state.active != standing:
            raise self._failed("release", f"{state.active} is active, {said}", f"{standing} read back as active")
        state, said = self._change(*(f"set server {server.path} state maint" for server in state.of(other)))
        if loose := [server.path for server in state.of(other) if not server.is_pinned]:
            raise self._failed("release", f"{', '.join(loose)} in service, {said}", "in maintenance")
        return standing

    def _noted(self) -> Side:
        """Return the standing side by the map alone, whatever ``active`` and the servers are; else by its file."""
        (answer,) = self._ask(f"show map {self._files.map}", shown=1)
        with suppress(UnexpectedAnswerError):
            noted = parse_map(answer)["standing"]
            for side in SIDES:
                if side == noted:
                    return side
        persisted = self._persisted()
        if persisted is None:
            raise self._cannot_tell(f"neither the map nor {self._files.map} names a standing side")
        return persisted

    def _state(self) -> State:
        return self._change()[0]

    def _change(self, *commands: str) -> tuple[State, str]:
        """Send ``commands``, then look; return what is there and what was said to them."""
        *said, in_map, servers = self._ask(*commands, f"show map {self._files.map}", "show servers state", shown=2)
        try:
            return parse_state(in_map, servers, self._virtual), " ".join(said)[:200] or "no word"
        except UnexpectedAnswerError as error:
            raise self._cannot_tell(str(error)) from error

    def _persisted(self) -> Side | None:
        """Return the side that the file names; None where there is none of ours."""
        content = self._transport.run(["cat", self._files.map]).stdout
        return next((side for side in SIDES if content == map_text(side).encode()), None)

    def _persist(self, standing: Side) -> None:
        """Have a reload and a reboot bring ``standing``; nothing is written where they would already."""
        if self._persisted() != standing:
            content = map_text(standing).encode()
            self._transport.upload([content], self._files.map, mode=0o644, digest=digest_of(content))

    def _ask(self, *commands: str, shown: int) -> list[str]:
        try:
            return self._api.ask(*commands, shown=shown)
        except UnexpectedAnswerError as error:
            raise self._cannot_tell(str(error)) from error

    def _cannot_tell(self, found: str) -> RefusedError:
        hint = (
            f"Ask HAProxy itself over {self._files.socket}: `show map {self._files.map}`, `show servers state`."
            " A reload brings the standing side and cuts nothing. Then type the same command again."
        )
        return cannot_tell(self._virtual, found, "our map and backends in haproxy.cfg", hint=hint)

    def _failed(self, what: str, found: str, wanted: str) -> RefusedError:
        hint = f"See `show map {self._files.map}` over {self._files.socket}, then type the same command again."
        return failed(self._virtual, what, found, wanted, hint=hint)
