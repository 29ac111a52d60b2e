"""What site.toml says of a database with one primary: its servers, and every way that clients have to it. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from teraferry.bundles.model import Model
from teraferry.installer.site.fields import Argv, Name, Text, Unit

Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,63}\Z")]
"""Part of a connection string: nothing to quote in it."""

Database = Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}\Z")]
"""A word of pgbouncer's console: nothing to quote in it."""

OneLine = Annotated[str, msgspec.Meta(pattern=r"^[^\n\r]{0,1000}\Z")]


class PostgresqlTable(Model, frozen=True):
    """``[replication.postgresql]``: a server on a node of each cluster, alike but for their addresses."""

    blue_node: Name
    green_node: Name
    data: Text = "/var/lib/postgresql/15/main"
    bin: Text = "/usr/lib/postgresql/15/bin"
    socket: Text = "/var/run/postgresql"  # the folder of its Unix socket
    account: Word = "postgres"  # of the system; a superuser of the same name
    database: Database = "postgres"  # where the marker's table is
    replication_user: Word = "replicator"
    unit: Unit = "postgresql@15-main"  # or
    start: Argv | None = None
    stop: Argv | None = None

    @property
    def start_argv(self) -> tuple[str, ...]:
        """The command that starts a server on its node."""
        return self.start or ("systemctl", "start", self.unit)

    @property
    def stop_argv(self) -> tuple[str, ...]:
        """The command that shuts a server down, well, on its node."""
        return self.stop or ("systemctl", "stop", self.unit)


class PgbouncerTable(Model, frozen=True):
    """``[[replication.pgbouncer]]``: one that clients of either cluster write through."""

    node: Name
    databases: Annotated[tuple[Database, ...], msgspec.Meta(min_length=1, max_length=100)]
    include: Text = "/etc/pgbouncer/teraferry.ini"  # written by us, included by pgbouncer.ini
    socket: Text = "/var/run/postgresql"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 6432
    psql: Text = "/usr/bin/psql"
    account: Word = "postgres"  # of the system, that it runs as
    hold_file: Text = "/var/run/postgresql/teraferry-hold"
    options: OneLine = ""  # put behind each database in ``include``
