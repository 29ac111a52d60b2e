"""Tier 2 with one writer by the command line, on real parts: HAProxy, PostgreSQL, pgbouncer, and rows that are kept.

Clients write through the virtual address through the upgrade, the cutover, the promotion and the rollback.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.database_pair_site import WRITE_HOLD_SECONDS, DatabasePairLab
from tests.lab.gateway import GatewayLab

pytestmark = pytest.mark.real

ROWS = 20
"""Of each client, between one command and the next."""


@pytest.fixture(scope="module")
def pair(gateway_lab: GatewayLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabasePairLab]:
    with DatabasePairLab(gateway_lab, tmp_path_factory.mktemp("pair")) as lab:
        yield lab


def test_primary_moves_with_the_traffic_and_back_and_every_acknowledged_row_is_on_both_servers(
    pair: DatabasePairLab,
) -> None:
    kit, digest = pair.kit("1.0.0")
    seen = pair.type("plan", str(kit))
    assert seen.status == 0, seen.stderr
    guarantees = " ".join(seen.result["guarantees"])
    assert "this switch has no dead-man" in guarantees
    assert f"writes wait, and do not fail, for at most {WRITE_HOLD_SECONDS} s" in guarantees
    primaries = [pair.database.replicator().primary()]

    with pair.clients() as clients:
        clients.wait_for(ROWS)
        upgraded = pair.install(kit)
        primaries.append(pair.database.replicator().primary())
        stands = [pair.gateway.answers()]
        runs = pair.services["green"].running_digest()
        clients.wait_for(ROWS)
        back = pair.type("rollback", "--yes")
        primaries.append(pair.database.replicator().primary())
        stands.append(pair.gateway.answers())
        clients.wait_for(ROWS)

    assert (upgraded.status, upgraded.result["hold_lapsed"]) == (0, False), (upgraded.result, upgraded.stderr)
    # Who stays on one connection was served by blue to the end.
    assert upgraded.result["still_served"] >= 2
    assert (back.status, back.result["did"]) == (0, "cut-back"), (back.result, back.stderr)
    assert (stands, primaries, runs) == (["green", "blue"], ["blue", "green", "blue"], digest)
    assert clients.errors == []
    pair.database.replicator().sync_state("blue", marker="read-back", stalled_after_seconds=60)
    for cluster in ("blue", "green"):
        assert clients.acknowledged <= pair.rows(cluster)
    assert pair.type("journal", "verify").status == 0
