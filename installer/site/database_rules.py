"""What must hold in ``[replication.postgresql]``, and in what holds writes before it. Pure."""

from __future__ import annotations

from teraferry.installer.site.model import ReplicationTable, Site
from teraferry.installer.site.paths import require_absolute, require_words
from teraferry.installer.site.text import SiteText, Where

PATHS = {"postgresql": ("data", "bin", "socket"), "pgbouncer": ("include", "socket", "psql", "hold_file")}


def require_sound_database(table: ReplicationTable, site: Site, text: SiteText) -> None:
    """Check what engine ``postgresql`` must have and no other has: the servers, and one way to hold writes.

    Raises:
        UsageError: ``site-missing-field`` or ``site-bad-value``, 2.
    """
    for name in ("postgresql", "pgbouncer", "gate"):
        if getattr(table, name) and table.engine != "postgresql":
            found = f'beside engine = "{table.engine}", expected it only with postgresql'
            raise text.bad_value(("replication", name), found)
    if table.engine == "postgresql":
        for name, there in (("postgresql", table.postgresql), ("pgbouncer", table.pgbouncer or table.gate)):
            if not there:
                found = 'absent, expected it with engine = "postgresql"'
                raise text.bad_value(("replication", name), found, reference="site-missing-field")
    if table.pgbouncer and table.gate:
        raise text.bad_value(("replication", "gate"), "beside pgbouncer, expected one of them to hold writes")
    if table.gate is not None:
        require_words(table.gate, text, ("replication", "gate"))
    if table.postgresql is not None:
        _require_sound_servers(table, site, text)
    for number, bouncer in enumerate(table.pgbouncer):
        here: Where = ("replication", "pgbouncer", number)
        _require_node(bouncer.node, site, text, (*here, "node"))
        for field in PATHS["pgbouncer"]:
            require_absolute(getattr(bouncer, field), text, (*here, field))


def _require_sound_servers(table: ReplicationTable, site: Site, text: SiteText) -> None:
    servers, where = table.postgresql, ("replication", "postgresql")
    if servers is None:
        return
    for field in ("blue_node", "green_node"):
        _require_node(getattr(servers, field), site, text, (*where, field))
    if table.blue == table.green:
        raise text.bad_value(("replication", "green"), f"{table.green}, as blue, expected another server")
    for field in PATHS["postgresql"]:
        require_absolute(getattr(servers, field), text, (*where, field))
    for field in ("start", "stop"):
        if (argv := getattr(servers, field)) is not None:
            require_words(argv, text, (*where, field))
    if (servers.start is None) != (servers.stop is None):
        raise text.bad_value(where, "start without stop, or stop without start, expected both or neither")


def _require_node(name: str, site: Site, text: SiteText, where: Where) -> None:
    if name not in {node.name for node in site.nodes}:
        raise text.bad_value(where, f"{name}, which is no node, expected the name of a [[node]]")
