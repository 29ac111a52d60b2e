"""A tier 2 site whose application writes to PostgreSQL, one primary and one standby, behind the site's own HAProxy.

Each cluster's application writes through its own cluster's pgbouncer, so that both write to the same primary, whichever
cluster that is on. Clients write through the virtual address all the while.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.lab.gateway import PORTS, VIRTUAL, GatewayLab
from tests.lab.kept_rows import GOOD_ROWS, RowClient, RowClients
from tests.lab.pair_site import ClientAsSite, PairLab, words
from tests.lab.postgres_pair import ADDRESSES, BIN, BOUNCER_PORT, DATA, FOLDER, PORT, START, STOP, PostgresPair

WRITE_HOLD_SECONDS = 30


class DatabasePairLab(PairLab):
    """Blue and green with a PostgreSQL and a pgbouncer each; a release moves the primary."""

    def __init__(self, gateway: GatewayLab, folder: Path) -> None:
        super().__init__(gateway, folder, engine="haproxy")
        self.database = PostgresPair(ClientAsSite(gateway.lab))

    def start_services(self) -> None:
        """Bring servers, pgbouncers and programs up."""
        for name in ("blue", "green"):
            self.gateway.lab.node(name).run("ip", "address", "add", f"{ADDRESSES[name]}/24", "dev", "eth0")
        self.database.start_all()
        super().start_services()

    def clients(self) -> RowClients:
        """Return clients of the virtual address: two that keep their connection, two that come anew for each row."""
        clients = [RowClient(f"{kind}-{n}", stays=kind == "stays") for kind in ("stays", "comes") for n in (1, 2)]
        return RowClients(self.node, (VIRTUAL, PORTS[0]), clients)

    def rows(self, cluster: str) -> set[str]:
        """Return what a server has, each row's checksum compared by the server itself."""
        return set(self.database.sql(cluster, GOOD_ROWS))

    def tables(self) -> dict[str, Any]:
        """Return what site.toml says differently here."""
        doors = "".join(
            f'[[replication.pgbouncer]]\nnode = "{name}-1"\ndatabases = ["app"]\ninclude = "{FOLDER}/teraferry.ini"\n'
            f'socket = "{FOLDER}"\nport = {BOUNCER_PORT}\nhold_file = "{FOLDER}/hold"\n'
            for name in ("blue", "green")
        )
        return super().tables() | {
            "replicated": {name: f"{ADDRESSES[name]}:{PORT}" for name in ("blue", "green")},
            "replication": (
                f'engine = "postgresql"\nwriters = "one"\nwrite_hold_seconds = {WRITE_HOLD_SECONDS}\n'
                f'[replication.postgresql]\nblue_node = "blue-1"\ngreen_node = "green-1"\ndata = "{DATA}"\n'
                f'bin = "{BIN}"\nsocket = "{FOLDER}"\ndatabase = "app"\n'
                f"start = {words(START)}\nstop = {words(STOP)}\n{doors}"
            ),
        }
