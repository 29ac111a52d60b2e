"""Writes are held by pgbouncer's PAUSE: clients stay connected and wait, and know nothing of it.

A PAUSE has no end of its own. So before it, a small process is left on pgbouncer's node, which belongs to nobody and
lets writes go on when the time is over, whoever was killed by then. A file there says until when, and whose hold it is:
a hold that was renewed or released takes the file away from the process before it, which then does nothing.

Where writes go stands in a file that pgbouncer.ini includes, and that is ours to write::

    %include /etc/pgbouncer/teraferry.ini

It is renamed into place and then read by RELOAD, while all waits. A pgbouncer that starts reads it as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.replicator.postgresql_server import as_account, said
from teraferry.installer.adapters.replicator.write_gate import hold_failed, hold_lapsed
from teraferry.installer.ports import NodeTransport

ASK_SECONDS: Final = 10.0

MIN_HOLD_SECONDS: Final = 1.0

BETWEEN: Final = "-- teraferry --"
"""Printed between the answers of one session."""

_HOLD = """
set -eu
file=$1 token=$2 hundredths=$3 databases=$4; shift 4
read -r up _ </proc/uptime
until=$((${up%.*}${up#*.} + hundredths))
printf '%s %s\\n' "$token" "$until" >"$file.$token"
mv -f "$file.$token" "$file"
setsid sh -c '
file=$1 token=$2 hundredths=$3 databases=$4; shift 4
sleep "$((hundredths / 100)).$((hundredths / 10 % 10))$((hundredths % 10))"
for try in 1 2 3 4 5 6 7 8 9 10; do
  read -r holder _ <"$file" || exit 0
  [ "$holder" = "$token" ] || exit 0
  failed=
  for database in $databases; do "$@" -c "RESUME $database" || failed=yes; done
  if [ -z "$failed" ]; then rm -f "$file"; exit 0; fi
  sleep 1
done' sh "$file" "$token" "$hundredths" "$databases" "$@" </dev/null >/dev/null 2>&1 &
"""
# RESUME of what is not paused fails as well: then somebody else let writes go on, and ten times is enough.

_LEFT = """
read -r token until <"$1" || exit 1
read -r up _ </proc/uptime
echo $((until - ${up%.*}${up#*.}))
"""


@dataclass(frozen=True, slots=True)
class Bouncer:
    """One pgbouncer, and the databases through it whose primary moves."""

    name: str  # for messages
    databases: tuple[str, ...]
    include: str = "/etc/pgbouncer/teraferry.ini"
    socket: str = "/var/run/postgresql"
    port: int = 6432
    psql: str = "/usr/bin/psql"
    account: str = "postgres"  # of the system, that pgbouncer runs as: it lets that one in as its admin
    hold_file: str = "/var/run/postgresql/teraferry-hold"
    options: str = ""  # put behind each database: "auth_user=... pool_size=20"

    def __post_init__(self) -> None:
        if not self.databases:
            raise ValueError(f"pgbouncer {self.name}: no database, expected at least one")
        for word in self.databases:
            if not re.fullmatch(r"[a-z_][a-z0-9_]*", word):
                raise ValueError(f"pgbouncer {self.name}: database {word!r}, expected a plain lower-case name")
        if "\n" in self.options:
            raise ValueError(f"pgbouncer {self.name}: a line end in options, expected one line")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a pgbouncer says of its databases."""

    goes_to: Mapping[str, str]  # database -> host:port
    paused: set[str]
    busy: set[str]  # with a server connection that somebody uses


class Door:
    """One pgbouncer on its node.

    Args:
        transport: Reaches its node, as root or as ``bouncer.account``.
        bouncer: Which one.
        primaries: Cluster -> host and port of its PostgreSQL.
    """

    def __init__(self, transport: NodeTransport, bouncer: Bouncer, primaries: Mapping[str, tuple[str, int]]) -> None:
        self._transport = transport
        self._bouncer = bouncer
        self._primaries = primaries

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"pgbouncer {self._bouncer.name}"

    def hold(self, *, seconds: float, token: str) -> None:
        """Leave the process that ends the hold, then pause; return once no server connection is used.

        A PAUSE returns when the last transaction has ended. What is paused already is refused, and seen below.
        """
        bouncer = self._bouncer
        words = (bouncer.hold_file, token, str(int(seconds * 100)), " ".join(bouncer.databases))
        left = self._run(["sh", "-c", _HOLD, "sh", *words, *self._psql()])
        if left.status:
            raise hold_failed(self.name, f"nothing there would end the hold: {said(left)}")
        self._require_paused(self._tell([f"PAUSE {name}" for name in bouncer.databases], seconds=seconds), hold_failed)

    def require_held(self, *, seconds: float) -> None:
        """Check that all is paused and will be for ``seconds``."""
        done = self._run(["sh", "-c", _LEFT, "sh", self._bouncer.hold_file])
        left = int(done.text()) / 100 if re.fullmatch(r"-?\d+\n", done.text()) else 0.0
        if done.status or left < seconds:
            raise hold_lapsed(self.name, f"held for {max(0.0, left):.1f} s more")
        self._require_paused(self._tell([]), hold_lapsed)

    def release(self) -> None:
        """Let writes go on, then take the hold away from whoever would end it later."""
        shown = self._tell([f"RESUME {name}" for name in self._bouncer.databases])
        if held := sorted(set(self._bouncer.databases) & shown.paused):
            raise hold_failed(self.name, f"{', '.join(held)} paused still")
        self._run(["rm", "-f", self._bouncer.hold_file])

    def points_to(self) -> str | None:
        """Return the cluster that its file names and that it runs with; None where it is neither or both differ."""
        content = self._run(["cat", self._bouncer.include]).stdout
        named = next((cluster for cluster in self._primaries if content == self._text(cluster).encode()), None)
        return named if named is not None and self._runs_with(named, self._tell([])) else None

    def point_to(self, cluster: str) -> None:
        """Write the file, then have it read."""
        content = self._text(cluster).encode()
        self._transport.upload([content], self._bouncer.include, mode=0o644, digest=digest_of(content))
        if not self._runs_with(cluster, self._tell(["RELOAD"])):
            raise RefusedError(
                "promotion-failed",
                f"{self.name}: goes elsewhere after RELOAD, expected writes to go to {cluster}",
                hint=f"See {self._bouncer.include} and pgbouncer's log, then type the same command again.",
                facts={"door": self.name, "cluster": cluster},
            )

    def _runs_with(self, cluster: str, shown: Shown) -> bool:
        host, port = self._primaries[cluster]
        return all(shown.goes_to.get(database) == f"{host}:{port}" for database in self._bouncer.databases)

    def _require_paused(self, shown: Shown, refusal: Callable[[str, str], RefusedError]) -> None:
        databases = set(self._bouncer.databases)
        if running := sorted(databases - shown.paused):
            raise refusal(self.name, f"{', '.join(running)} not paused")
        if busy := sorted(databases & shown.busy):
            raise refusal(self.name, f"{', '.join(busy)} busy still")

    def _tell(self, commands: Sequence[str], *, seconds: float = ASK_SECONDS) -> Shown:
        """Send ``commands``, then look; what they did is seen by looking."""
        looks = ["SHOW DATABASES", f"\\echo {BETWEEN}", "SHOW POOLS"]
        words = [word for command in [*commands, f"\\echo {BETWEEN}", *looks] for word in ("-c", command)]
        done = self._run([*self._psql(), *words], seconds=seconds)
        parts = done.text().split(f"{BETWEEN}\n")
        if done.status == 0 and len(parts) == 3:
            databases, pools = _rows(parts[1]), _rows(parts[2])
            with suppress(KeyError):
                return Shown(
                    goes_to={row["name"]: f"{row['host']}:{row['port']}" for row in databases},
                    paused={row["name"] for row in databases if row["paused"] == "1"},
                    busy={row["database"] for row in pools if row["sv_active"] != "0"},
                )
        raise RefusedError(
            "replication-cannot-tell",
            f"{self.name}: {said(done)}, expected pgbouncer's answer",
            hint=f"See that it runs, and that {self._bouncer.account} may be its admin over the socket.",
            facts={"door": self.name},
        )

    def _psql(self) -> list[str]:
        bouncer = self._bouncer
        where = ["-h", bouncer.socket, "-p", str(bouncer.port), "-U", "pgbouncer", "-d", "pgbouncer"]
        return [bouncer.psql, "-X", "-q", "-A", "-P", "footer=off", *where]

    def _run(self, argv: Sequence[str], *, seconds: float = ASK_SECONDS) -> Completed:
        return self._transport.run(as_account(self._bouncer.account, argv), timeout_seconds=seconds)

    def _text(self, cluster: str) -> str:
        host, port = self._primaries[cluster]
        options = f" {self._bouncer.options}" if self._bouncer.options else ""
        lines = [f"{name} = host={host} port={port} dbname={name}{options}" for name in self._bouncer.databases]
        return "\n".join(["; Written by TeraFerry and written anew by it.", "[databases]", *lines, ""])


def _rows(table: str) -> Sequence[Mapping[str, str]]:
    header, *rows = [line.split("|") for line in table.splitlines() if line] or [[""]]
    return [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]


class PgbouncerGate:
    """``WriteGate`` of one pgbouncer or several: both clusters' applications have their own.

    Args:
        doors: Every pgbouncer that clients write through.
        new_token: Returns a word that was never used before.
    """

    def __init__(self, doors: Sequence[Door], new_token: Callable[[], str]) -> None:
        if not doors:
            raise ValueError("pgbouncer: none, expected at least one")
        self._doors = tuple(doors)
        self._new_token = new_token

    def hold(self, *, seconds: float) -> None:
        """Pause each; see ``WriteGate``. One that cannot be paused lets all go on."""
        if seconds < MIN_HOLD_SECONDS:
            raise ValueError(f"hold: {seconds} s, expected {MIN_HOLD_SECONDS} at least")
        ends = monotonic_seconds() + seconds
        try:
            for door in self._doors:
                door.hold(seconds=max(MIN_HOLD_SECONDS, ends - monotonic_seconds()), token=self._new_token())
        except RefusedError as error:
            with suppress(RefusedError):
                self.release()
            if error.reference == "write-hold-failed":
                raise
            raise hold_failed("pgbouncer", str(error)) from error

    def require_held(self, *, seconds: float) -> None:
        """See ``WriteGate``."""
        for door in self._doors:
            door.require_held(seconds=seconds)

    def release(self) -> None:
        """Resume each, also when one fails; see ``WriteGate``."""
        failed: RefusedError | None = None
        for door in self._doors:
            try:
                door.release()
            except RefusedError as error:
                failed = error
        if failed is not None:
            raise failed if failed.reference == "write-hold-failed" else hold_failed("pgbouncer", str(failed))

    def points_to(self) -> str:
        """See ``WriteGate``."""
        named = {door.name: door.points_to() for door in self._doors}
        (first, *others) = set(named.values())
        if others or first is None:
            raise RefusedError(
                "replication-cannot-tell",
                f"where writes go: {named}, expected one cluster",
                hint="See the file that pgbouncer.ini includes, on each pgbouncer's node.",
            )
        return first

    def point_to(self, cluster: str) -> None:
        """See ``WriteGate``."""
        for door in self._doors:
            if door.points_to() != cluster:
                door.point_to(cluster)
