"""New connections are switched by the kernel of the gateway: an nftables table of our own on that node.

``nftables_layout`` says what the table is and how it moves connections; ``nftables_listing`` reads it. Here is the
order of things:

- every change is one transaction, and is read back and compared before it is believed: nft's status 0 alone says
  little (a bare add of what is there is answered with 0 and renews nothing);
- before anything is held, the file that a reboot loads names the standing side, and a unit loads it;
- a commit writes that file first. A power cut after it brings the new side, one before it the old side, and neither
  brings a side that nobody decided for. A commit that was cut short between the file and the map is seen as not
  done: the next ``commit`` finishes it, and the next ``release`` or ``hold`` takes the file back;
- no other table is read, written or flushed, and ours is never deleted.

The kernel of one gateway knows the established connections. It is the node's own business to forward
(``net.ipv4.ip_forward``), to be the way back from the servers to the clients, and to own the virtual address.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.traffic.nftables_conntrack import KernelConnections
from teraferry.installer.adapters.traffic.nftables_layout import (
    FAMILY,
    TABLE,
    UNIT,
    commit_commands,
    hold_commands,
    persisted_text,
    release_commands,
    unit_text,
)
from teraferry.installer.adapters.traffic.nftables_listing import (
    Held,
    Listing,
    UnexpectedListingError,
    has_table,
    parse_listing,
)
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

NFT_SECONDS: Final = 10.0
"""nft needs some 15 ms; what takes this long is a node in trouble."""

ATTEMPTS: Final = 3
"""What is held may end between a look and the transaction that takes it away, which then fails as a whole. Once."""

_ENABLE = """
set -eu
link=$1 target=$2 rules=$3
if [ "$(readlink "$link")" != "$target" ]; then
  mkdir -p "$(dirname "$link")"
  ln -sfn "$target" "$link"
fi
sync "$(dirname "$rules")" "$(dirname "$link")/.." "$(dirname "$link")"
"""
# What `systemctl enable` makes, and needs no running systemd. The folders are synced even when all is there: who put
# it there may have been killed before it was durable.


@dataclass(frozen=True, slots=True)
class SwitchFiles:
    """Where the gateway keeps what a reboot needs."""

    rules: str = "/etc/teraferry/traffic.nft"
    units: str = "/etc/systemd/system"

    def __post_init__(self) -> None:
        for path in (self.rules, self.units):
            # Both are written into a unit file, where blanks and % mean something.
            require_plain_path(path)


class NftablesSwitch:
    """``TrafficSwitch`` of one virtual address on one gateway.

    Args:
        transport: Reaches the gateway as root.
        virtual: The address, its services, and the servers of both sides.
        files: Where the gateway keeps what a reboot needs.
    """

    def __init__(self, transport: NodeTransport, virtual: VirtualAddress, *, files: SwitchFiles | None = None) -> None:
        self._transport = transport
        self._virtual = virtual
        self._files = files or SwitchFiles()
        self._connections = KernelConnections(transport, virtual)

    @property
    def has_dead_man(self) -> bool:
        """Tell that the kernel itself ends a hold that nobody renews."""
        return True

    def set_up(self, standing: str) -> None:
        """Lay the table down with ``standing`` as its standing side, and have it survive a reboot. Idempotent.

        Where the table is already, its own standing side counts, and what is held stays held. Where only its file
        is, somebody flushed the ruleset, and what was committed counts.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40.
        """
        done = self._nft("-j", "list", "tables", FAMILY)
        try:
            there = done.status == 0 and has_table(done.stdout)
        except UnexpectedListingError as error:
            raise self._cannot_tell(str(error)) from error
        if done.status:
            raise self._cannot_tell(_said(done))
        side = self._listing().standing if there else self._persisted() or require_side(standing)
        self._persist(side)
        if not there:
            laid = self._nft("-f", self._files.rules)
            if laid.status or self._listing() != Listing(side, None):
                raise self._failed("set-up", _said(laid), f"table {FAMILY} {TABLE} as laid down")

    def observe(self) -> TrafficObservation:
        """Return what the kernel says, now; see ``blue_green_ports.TrafficSwitch``."""
        listing = self._listing()
        if listing.held is None or listing.held.side == listing.standing:
            return TrafficObservation(listing.standing, listing.standing, None)
        return TrafficObservation(listing.held.side, listing.standing, float(listing.held.remaining_seconds))

    def hold(self, cluster: str, *, seconds: float) -> None:
        """Lay ``cluster`` over the standing side for ``seconds``, rounded up to whole ones.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40; new connections go to the standing side.
        """
        side, whole = require_side(cluster), whole_seconds(seconds)
        standing = self._listing().standing
        if side == standing:
            raise self._failed("hold", f"{side} is the standing side", "the other one")
        self._persist(standing)
        try:
            self._lay_over(side, whole)
        except RefusedError as error:
            # Whether the kernel took it is not known. What may be held is let go now, and ends by itself otherwise.
            with suppress(RefusedError):
                self._let_go()
            if error.reference == "switch-failed":
                raise
            raise self._failed("hold", str(error), f"{side} read back as held") from error

    def renew(self, *, seconds: float) -> None:
        """Let what is held hold for ``seconds`` from now, rounded up to whole ones.

        Raises:
            RefusedError: ``hold-lapsed``, or ``switch-failed`` and ``switch-cannot-tell``, after which the hold ends
                when it would have without us; all 40.
        """
        whole = whole_seconds(seconds)
        held = self._require_held()
        started = monotonic_seconds()
        done = self._transact(hold_commands(self._virtual, held.side, seconds=whole, replace=True))
        found = self._require_held()
        if done.status or not found.is_fresh(held.side, whole, gone_seconds=monotonic_seconds() - started):
            raise self._failed("renew", f"{_said(done)}, {found}", f"{held.side} for {whole} s")

    def release(self) -> None:
        """Take away what is held, at once; then see that a reboot would bring the same side.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40.
        """
        self._persist(self._let_go().standing)

    def commit(self, cluster: str) -> None:
        """Write what a reboot loads, then flip the standing side and let go what is held, in one transaction.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40. Commit again, or release.
        """
        side = require_side(cluster)
        self._listing()  # Nothing is written for a table that is not ours any more.
        self._persist(side)
        for _ in range(ATTEMPTS):
            listing = self._listing()
            if listing == Listing(side, None):
                return
            done = self._transact(commit_commands(self._virtual, side, held=listing.held is not None))
        if self._listing() != Listing(side, None):
            raise self._failed("commit", _said(done), f"{side} read back as the standing side")

    def established(self, cluster: str) -> int | None:
        """Count what the kernel keeps track of; None where it does not show that."""
        return self._connections.established(require_side(cluster))

    def require_can_cut(self) -> None:
        """See that the gateway has what cuts; see ``nftables_conntrack``."""
        self._connections.require_can_cut()

    def cut(self, cluster: str) -> None:
        """Have the kernel forget the connections that ``cluster`` serves; see ``blue_green_ports.TrafficSwitch``."""
        self._connections.cut(require_idle_side(self._virtual, self.observe(), cluster))

    def _lay_over(self, side: Side, seconds: int) -> None:
        for _ in range(ATTEMPTS):
            started = monotonic_seconds()
            replace = self._listing().held is not None
            done = self._transact(hold_commands(self._virtual, side, seconds=seconds, replace=replace))
            if done.status == 0:
                break
        found = self._listing().held
        if (
            done.status
            or found is None
            or not found.is_fresh(side, seconds, gone_seconds=monotonic_seconds() - started)
        ):
            raise self._failed("hold", f"{_said(done)}, {found}", f"{side} for {seconds} s")

    def _let_go(self) -> Listing:
        for _ in range(ATTEMPTS):
            # Before any look: a table that somebody changed cannot be read, and this may still bring traffic back.
            # It fails when nothing is held, so its status says nothing.
            done = self._transact(release_commands(self._virtual))
            listing = self._listing()
            if listing.held is None:
                return listing
        raise self._failed("release", _said(done), "nothing held")

    def _require_held(self) -> Held:
        held = self._listing().held
        if held is None:
            raise lapsed(self._virtual)
        return held

    def _listing(self) -> Listing:
        done = self._nft("-j", "list", "table", FAMILY, TABLE)
        if done.status:
            raise self._cannot_tell(_said(done))
        try:
            return parse_listing(done.stdout, self._virtual)
        except UnexpectedListingError as error:
            raise self._cannot_tell(str(error)) from error

    def _persisted(self) -> Side | None:
        """Return the side a reboot brings; None where there is no file of ours."""
        content = self._transport.run(["cat", self._files.rules]).stdout
        return next((side for side in SIDES if content == persisted_text(self._virtual, side).encode()), None)

    def _persist(self, standing: Side) -> None:
        """Have a reboot bring ``standing``; nothing is written where it would already."""
        unit = f"{self._files.units}/{UNIT}"
        for path, text in (
            (self._files.rules, persisted_text(self._virtual, standing)),
            (unit, unit_text(self._files.rules)),
        ):
            content = text.encode()
            if self._transport.run(["cat", path]).stdout != content:
                self._transport.upload([content], path, mode=0o644, digest=digest_of(content))
        link = f"{self._files.units}/sysinit.target.wants/{UNIT}"
        done = self._transport.run(["sh", "-c", _ENABLE, "sh", link, f"../{UNIT}", self._files.rules])
        if done.status:
            raise self._failed("enable", _said(done), f"{link} made")

    def _transact(self, commands: bytes) -> Completed:
        return self._nft("-j", "-f", "-", stdin=commands)

    def _nft(self, *arguments: str, stdin: bytes = b"") -> Completed:
        return self._transport.run(["nft", *arguments], stdin=stdin, timeout_seconds=NFT_SECONDS)

    def _cannot_tell(self, found: str) -> RefusedError:
        hint = (
            f"See `nft list table {FAMILY} {TABLE}` on the gateway. `nft -f {self._files.rules}` there lays the"
            " table down again and cuts nothing. Then type the same command again."
        )
        return cannot_tell(self._virtual, found, f"table {FAMILY} {TABLE} as laid down", hint=hint)

    def _failed(self, what: str, found: str, wanted: str) -> RefusedError:
        hint = f"See `nft list table {FAMILY} {TABLE}` on the gateway, then type the same command again."
        return failed(self._virtual, what, found, wanted, hint=hint)


def _said(done: Completed) -> str:
    words = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return f"nft: status {done.status}" + (f", {words[0][:200]}" if done.status and words else "")
