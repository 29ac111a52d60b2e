"""Where the parts of a database with one primary are put together, as site.toml names them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from teraferry.installer.site.addresses import parse_address

if TYPE_CHECKING:
    from teraferry.installer.adapters.replicator.pgbouncer import Bouncer
    from teraferry.installer.adapters.replicator.postgresql import PostgresqlReplicator
    from teraferry.installer.adapters.replicator.postgresql_server import Place
    from teraferry.installer.adapters.replicator.write_gate import WriteGate
    from teraferry.installer.ports import NodeTransport
    from teraferry.installer.site.database_table import PgbouncerTable, PostgresqlTable
    from teraferry.installer.site.model import ReplicationTable

    Ways = Callable[[str | None], NodeTransport]


def make_postgresql(table: ReplicationTable, transport_to: Ways) -> PostgresqlReplicator:
    """Return the replicator of two servers, which also moves their primary; nothing is asked yet.

    Args:
        table: ``[replication]`` with engine ``postgresql``, sound.
        transport_to: Returns the way to a node by its name; to this machine without one.
    """
    from teraferry.installer.adapters.replicator.postgresql import PostgresqlReplicator
    from teraferry.installer.adapters.replicator.postgresql_server import Server
    from teraferry.installer.adapters.replicator.postgresql_streaming import REPLAY_SECONDS

    named = table.postgresql
    if named is None:
        raise ValueError("engine postgresql without its table was let through")
    addresses = {"blue": parse_address(table.blue), "green": parse_address(table.green)}
    blue = Server(transport_to(named.blue_node), _place(named, "blue", addresses["blue"]))
    green = Server(transport_to(named.green_node), _place(named, "green", addresses["green"]))
    gate = _gate(table, addresses, transport_to)
    # The end of the log is waited for while writes are held.
    patience = min(REPLAY_SECONDS, float(table.write_hold_seconds or REPLAY_SECONDS))
    return PostgresqlReplicator(blue, green, gate, replay_seconds=patience)


def _gate(
    table: ReplicationTable,
    addresses: Mapping[str, tuple[str, int]],
    transport_to: Ways,
) -> WriteGate:
    if table.gate is not None:
        from teraferry.installer.adapters.replicator.command_gate import CommandGate

        return CommandGate(transport_to(table.node), table.gate)
    from teraferry.installer.adapters.replicator.pgbouncer import Door, PgbouncerGate

    doors = [Door(transport_to(each.node), _bouncer(each), addresses) for each in table.pgbouncer]
    return PgbouncerGate(doors, lambda: uuid.uuid4().hex)


def _place(named: PostgresqlTable, cluster: str, address: tuple[str, int]) -> Place:
    from teraferry.installer.adapters.replicator.postgresql_server import Place

    return Place(
        cluster=cluster,
        host=address[0],
        port=address[1],
        data=named.data,
        stop=named.stop_argv,
        start=named.start_argv,
        socket=named.socket,
        bin=named.bin,
        account=named.account,
        database=named.database,
        replication_user=named.replication_user,
    )


def _bouncer(named: PgbouncerTable) -> Bouncer:
    from teraferry.installer.adapters.replicator.pgbouncer import Bouncer

    return Bouncer(
        name=named.node,
        databases=named.databases,
        include=named.include,
        socket=named.socket,
        port=named.port,
        psql=named.psql,
        account=named.account,
        hold_file=named.hold_file,
        options=named.options,
    )
