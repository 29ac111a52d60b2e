"""``[replication.postgresql]`` and ``[[replication.pgbouncer]]``: both or neither, and no word that is a command."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import UsageError
from teraferry.installer.cli_blue_green import make_replicator
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.fakes.site_toml import ONE_WRITER, pair_site


def site(text: str) -> Site:
    return parse_site(text.encode(), name="site.toml")


def changed(old: str, new: str) -> str:
    text = pair_site(writers="one")
    assert old in text
    return text.replace(old, new)


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        site(text)
    assert caught.value.exit_status == 2
    return caught.value


def test_one_adapter_replicates_and_moves_the_primary() -> None:
    replicator, promotion = make_replicator(site(pair_site(writers="one")))
    assert id(replicator) == id(promotion)
    assert replicator.writers == "one"


def test_servers_are_handled_by_debians_units_unless_told_otherwise() -> None:
    table = site(pair_site(writers="one")).replication
    assert table is not None and table.postgresql is not None
    assert table.postgresql.stop_argv == ("systemctl", "stop", "postgresql@15-main")


def test_neither_table_may_be_left_out() -> None:
    servers, _, doors = ONE_WRITER.partition("[[replication.pgbouncer]]")
    for left_out in (servers.partition("\n\n")[2], "[[replication.pgbouncer]]" + doors):
        assert refused(changed(left_out, "")).reference == "site-missing-field"


def test_another_engine_has_neither() -> None:
    text = changed('engine = "postgresql"\nwriters = "one"', 'engine = "seaweedfs"\nwriters = "two"\npath = "/data"')
    assert refused(text.replace("write_hold_seconds = 5\n", "")).reference == "site-bad-value"


def test_program_of_the_sites_own_may_hold_writes_in_place_of_pgbouncer() -> None:
    servers = ONE_WRITER.partition("\n\n[[replication.pgbouncer]]")[0]
    text = changed(ONE_WRITER, 'gate = ["/usr/local/bin/write-gate"]\n' + servers)
    replicator, promotion = make_replicator(site(text))
    assert id(replicator) == id(promotion)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("write_hold_seconds = 5\n", 'write_hold_seconds = 5\ngate = ["/usr/local/bin/write-gate"]\n'),
        ('blue_node = "blue-1"', 'blue_node = "blue-9"'),
        ('green_node = "green-1"', 'green_node = "green-9"'),
        ('node = "green-1"\ndatabases', 'node = "green-9"\ndatabases'),
        ('databases = ["app"]', "databases = []"),
        ('databases = ["app"]', 'databases = ["app; SHUTDOWN"]'),
        ('databases = ["app"]', 'databases = ["app"]\noptions = "pool_size=5\\nother = host=10.9.9.9"'),
        ('databases = ["app"]', 'databases = ["app"]\ninclude = "teraferry.ini"'),
        ('databases = ["app"]', 'databases = ["app"]\nport = 0'),
        ('green_node = "green-1"', 'green_node = "green-1"\nreplication_user = "r\' password=\'x"'),
        ('green_node = "green-1"', 'green_node = "green-1"\ndata = "data"'),
        ('green_node = "green-1"', 'green_node = "green-1"\nstop = ["/bin/stop"]'),
        ('green = "10.0.2.10:8888"', 'green = "10.0.1.10:8888"'),
    ],
)
def test_what_cannot_work_is_refused(old: str, new: str) -> None:
    assert refused(changed(old, new)).reference == "site-bad-value"
