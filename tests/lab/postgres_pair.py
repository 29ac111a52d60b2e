"""Blue and green with a PostgreSQL and a pgbouncer each, and clients that write through both: one primary, one standby.

Real servers of Debian's packages, in namespaces, run by the account ``postgres``; nothing of the machine's own.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from teraferry.installer.adapters.replicator.postgresql import PostgresqlReplicator
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.cli_database import make_postgresql
from teraferry.installer.ports import NodeTransport
from teraferry.installer.site.database_table import PgbouncerTable, PostgresqlTable
from teraferry.installer.site.model import ReplicationTable
from tests.lab.nodes import Lab, Node, Nodes, wait_until

ADDRESSES = {"site": "10.79.0.2", "blue": "10.79.0.11", "green": "10.79.0.12"}
NETWORK = "10.79.0.0/24"
OTHER = {"blue": "green", "green": "blue"}
PORT, BOUNCER_PORT = 5432, 6432
BIN = "/usr/lib/postgresql/15/bin"
FOLDER = "/srv/pg"
DATA = f"{FOLDER}/data"
AS_POSTGRES = ("runuser", "-u", "postgres", "--")
START = (*AS_POSTGRES, f"{BIN}/pg_ctl", "-D", DATA, "-l", f"{FOLDER}/log", "-w", "-t", "60", "start")
STOP = (*AS_POSTGRES, f"{BIN}/pg_ctl", "-D", DATA, "-m", "fast", "-w", "-t", "60", "stop")

SETTINGS = f"""
listen_addresses = '*'
port = {PORT}
unix_socket_directories = '{FOLDER}'
shared_buffers = 16MB
# In the data folder, so that a server that was killed leaves nothing behind on this machine.
dynamic_shared_memory_type = mmap
max_wal_size = 64MB
wal_retrieve_retry_interval = 200ms
wal_receiver_timeout = 60s
"""

BOUNCER = f"""
%include {FOLDER}/teraferry.ini
[pgbouncer]
listen_addr = 0.0.0.0
listen_port = {BOUNCER_PORT}
unix_socket_dir = {FOLDER}
auth_type = trust
auth_file = {FOLDER}/users
pool_mode = transaction
logfile = {FOLDER}/pgbouncer.log
pidfile = {FOLDER}/pgbouncer.pid
server_login_retry = 1
"""


@contextmanager
def postgres_pair(folder: Path) -> Iterator[PostgresPair]:
    """Have a pair on nodes of its own."""
    with Lab(folder, ADDRESSES) as lab:
        pair = PostgresPair(lab)
        pair.start_all()
        yield pair


class PostgresPair:
    """Two servers, green the standby of blue.

    Args:
        lab: Nodes ``blue``, ``green`` and, for clients, ``site``, each with its address of ``ADDRESSES``.
    """

    def __init__(self, lab: Nodes) -> None:
        self.lab = lab

    def node(self, cluster: str) -> Node:
        """Return one cluster's node."""
        return self.lab.node(cluster)

    def transport(self, cluster: str) -> NodeTransport:
        """Return the way to it."""
        return CommandTransport(cluster, tuple(self.node(cluster).prefix))

    def replicator(
        self, *, way: Callable[[str], NodeTransport] | None = None, write_hold_seconds: int = 60
    ) -> PostgresqlReplicator:
        """Return the replicator, as an installer that just started makes it of site.toml."""
        return make_postgresql(
            replication_table(write_hold_seconds), lambda name: (way or self.transport)(name or "site")
        )

    def sql(self, cluster: str, statement: str) -> list[str]:
        """Ask one server itself, past every pgbouncer."""
        psql = [*AS_POSTGRES, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", FOLDER, "-d", "app"]
        return self.node(cluster).run(*psql, "-c", statement).stdout.decode().splitlines()

    def through(self, cluster: str) -> list[str]:
        """Return what starts a session of a client, through one cluster's pgbouncer."""
        where = ["-h", ADDRESSES[cluster], "-p", str(BOUNCER_PORT), "-U", "postgres", "-d", "app"]
        psql = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where]
        return [*self.lab.node("site").prefix, *psql]

    def stop(self, cluster: str) -> None:
        """Shut one server down well, as an admin does."""
        self.node(cluster).run(*STOP)

    def start(self, cluster: str) -> None:
        """Start one server."""
        self.node(cluster).run(*START)

    def kill(self, cluster: str) -> None:
        """End one server and all its processes at once: what it did not send stays on its disk."""
        self.node(cluster).sh("while pids=$(pidof postgres); do kill -KILL $pids 2>/dev/null; sleep 0.01; done; true")
        self.node(cluster).sh(f"rm -f {DATA}/postmaster.pid")

    def part(self, cluster: str) -> None:
        """Let nothing of one server reach the other."""
        self.node(cluster).run("ip", "route", "add", "blackhole", f"{ADDRESSES[OTHER[cluster]]}/32")

    def join(self, cluster: str) -> None:
        """Let it."""
        self.node(cluster).run("ip", "route", "del", "blackhole", f"{ADDRESSES[OTHER[cluster]]}/32")

    def admin(self, cluster: str, command: str) -> str:
        """Say something to one cluster's pgbouncer, as its admin."""
        where = ["-h", FOLDER, "-p", str(BOUNCER_PORT), "-U", "pgbouncer", "-d", "pgbouncer"]
        return self.node(cluster).run(*AS_POSTGRES, "psql", "-X", "-A", *where, "-c", command).stdout.decode()

    def start_all(self) -> None:
        """Make both servers, and a pgbouncer beside each that leads to blue's."""
        self._make_primary()
        self._make_standby()
        for cluster in ("blue", "green"):
            self._start_bouncer(cluster)

    def _make_primary(self) -> None:
        hba = f"host all all {NETWORK} trust\nhost replication all {NETWORK} trust\n"
        self.node("blue").sh(
            f"mkdir -p {FOLDER}; chown postgres {FOLDER}; cd {FOLDER}\n"
            f"{shlex.join(AS_POSTGRES)} {BIN}/initdb -N --auth=trust -D {DATA} >/dev/null\n"
            f"printf %s {shlex.quote(SETTINGS)} >>{DATA}/postgresql.conf\n"
            f"printf %s {shlex.quote(hba)} >>{DATA}/pg_hba.conf",
        )
        self.start("blue")
        self.node("blue").run(*AS_POSTGRES, "createdb", "-h", FOLDER, "app")
        self.sql("blue", "CREATE ROLE replicator REPLICATION LOGIN")
        self.sql("blue", "CREATE TABLE kept (id bigserial PRIMARY KEY, content text NOT NULL, sum text NOT NULL)")

    def _make_standby(self) -> None:
        copy = [f"{BIN}/pg_basebackup", "-h", ADDRESSES["blue"], "-U", "replicator", "-D", DATA, "-N", "-R"]
        self.node("green").sh(
            f"mkdir -p {FOLDER}; chown postgres {FOLDER}; cd {FOLDER}\n"
            f"{shlex.join(AS_POSTGRES)} {shlex.join(copy)} --checkpoint=fast",
        )
        self.start("green")

    def _start_bouncer(self, cluster: str) -> None:
        node = self.node(cluster)
        first = (
            f"; Written by TeraFerry and written anew by it.\n[databases]\napp = host={ADDRESSES['blue']} port={PORT}"
        )
        node.run("tee", f"{FOLDER}/teraferry.ini", stdin=f"{first} dbname=app\n".encode())
        node.run("tee", f"{FOLDER}/pgbouncer.ini", stdin=BOUNCER.encode())
        node.run("tee", f"{FOLDER}/users", stdin=b'"postgres" ""\n')
        node.sh(f"{shlex.join(AS_POSTGRES)} pgbouncer -q -d {FOLDER}/pgbouncer.ini")
        wait_until(f"pgbouncer of {cluster}", lambda: "app" in self.admin(cluster, "SHOW DATABASES"))


def replication_table(write_hold_seconds: int) -> ReplicationTable:
    """Return ``[replication]`` of a site with this pair."""
    servers = PostgresqlTable(
        blue_node="blue", green_node="green", data=DATA, bin=BIN, socket=FOLDER, database="app", start=START, stop=STOP
    )
    doors = tuple(
        PgbouncerTable(
            node=cluster,
            databases=("app",),
            include=f"{FOLDER}/teraferry.ini",
            socket=FOLDER,
            port=BOUNCER_PORT,
            hold_file=f"{FOLDER}/hold",
        )
        for cluster in OTHER
    )
    return ReplicationTable(
        engine="postgresql",
        writers="one",
        blue=f"{ADDRESSES['blue']}:{PORT}",
        green=f"{ADDRESSES['green']}:{PORT}",
        write_hold_seconds=write_hold_seconds,
        postgresql=servers,
        pgbouncer=doors,
    )
