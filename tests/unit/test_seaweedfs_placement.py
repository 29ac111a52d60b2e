"""Where shards are, where their copies go, and which copies are dropped."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb
from teraferry.installer.adapters.cluster.seaweedfs_placement import (
    Move,
    Placement,
    VolumeKind,
    kinds_only_on,
    parse_placement,
    plan_copies,
    plan_drops,
    plan_sweep,
    plan_volume_moves,
)

Shards = dict[str, list[int]]


def placement(
    groups: dict[int, Shards] | None = None,
    *,
    nodes: str = "abcdef",
    volumes: dict[int, tuple[str, int]] | None = None,
    racks: dict[str, str] | None = None,
) -> Placement:
    """Build one as the master would tell it: node ``a`` is ``a:1``, in a rack of its own."""
    answer = pb.VolumeListResponse()
    center = answer.topology_info.data_center_infos.add(id="dc1")
    for name in nodes:
        rack = center.rack_infos.add(id=(racks or {}).get(name, f"rack-{name}"))
        disk = rack.data_node_infos.add(id=f"{name}:1").diskInfos[""]
        for number, holders in (groups or {}).items():
            if bits := sum(1 << shard for shard in holders.get(name, [])):
                disk.ec_shard_infos.add(id=number, collection="c", ec_index_bits=bits, shard_sizes=[7])
        for number, (holding, replication) in (volumes or {}).items():
            if name in holding:
                disk.volume_infos.add(id=number, replica_placement=replication, size=5)
    return parse_placement(answer)


SPREAD: Shards = {"a": [0, 6, 12], "b": [1, 7, 13], "c": [2, 8], "d": [3, 9], "e": [4, 10], "f": [5, 11]}


def test_parse_placement_reads_nodes_shards_and_copies() -> None:
    found = placement({7: SPREAD}, volumes={3: ("ab", 10)})
    (group,) = found.observation.stripe_groups
    (volume,) = found.observation.volumes
    assert found.observation.nodes == frozenset(f"{name}:1" for name in "abcdef")
    assert (group.id, group.holders["a:1"]) == (7, frozenset({0, 6, 12}))
    assert (volume.copies_wanted, volume.holders) == (2, frozenset({"a:1", "b:1"}))
    assert (found.collections[7], found.shard_bytes[7], found.volume_bytes[3]) == ("c", 7, 5)


def test_node_with_every_volume_that_takes_writes_is_told_by_kind() -> None:
    def volumes(**changes: object) -> Placement:
        answer = pb.VolumeListResponse(volume_size_limit_mb=1)
        center = answer.topology_info.data_center_infos.add(id="dc1")
        for name in "abc":
            disk = center.rack_infos.add(id=f"rack-{name}").data_node_infos.add(id=f"{name}:1").diskInfos[""]
            for number, holders in {1: "ab", 2: "bc", 3: "ac"}.items():
                if name in holders:
                    told = {"replica_placement": 10, "collection": "x" if number == 3 else "", **changes}
                    disk.volume_infos.add(id=number, **told)
        return parse_placement(answer)

    kind, other = VolumeKind("", 10, 0, ""), VolumeKind("x", 10, 0, "")
    assert kinds_only_on(volumes(), "b:1") == [kind]  # 1 and 2 are there
    assert kinds_only_on(volumes(), "a:1") == [other]  # 2 is not
    assert kinds_only_on(volumes(ttl=770), "b:1") == [VolumeKind("", 10, 770, "")]
    assert kinds_only_on(volumes(read_only=True), "b:1") == []
    assert kinds_only_on(volumes(size=1024 * 1024), "b:1") == []


def test_volume_that_one_server_holds_for_reading_takes_no_writes() -> None:
    answer = pb.VolumeListResponse(volume_size_limit_mb=1)
    rack = answer.topology_info.data_center_infos.add(id="dc1").rack_infos.add(id="r")
    for name in "ab":
        disk = rack.data_node_infos.add(id=f"{name}:1").diskInfos[""]
        disk.volume_infos.add(id=1, replica_placement=1)
        if name == "a":
            disk.volume_infos.add(id=2, replica_placement=1)
        else:
            disk.volume_infos.add(id=2, replica_placement=1, read_only=True)
    assert parse_placement(answer).writable == {VolumeKind("", 1, 0, ""): frozenset({1})}


def test_parse_placement_refuses_shards_beyond_ten_and_four() -> None:
    with pytest.raises(RefusedError) as caught:
        placement({7: {"a": [14]}})
    assert (caught.value.reference, caught.value.exit_status) == ("cannot-tell", 40)


def test_plan_copies_chooses_the_servers_with_fewest_shards_of_the_volume() -> None:
    moves = plan_copies(placement({7: SPREAD}), "a:1")
    assert {move.server for move in moves} == {"c:1", "d:1", "e:1"}
    assert sorted(shard for move in moves for shard in move.shards) == [0, 6, 12]
    assert {move.other for move in moves} == {"a:1"}


def test_plan_copies_leaves_out_what_another_server_has_already() -> None:
    moves = plan_copies(placement({7: {**SPREAD, "c": [2, 8, 0]}}), "a:1")
    assert sorted(shard for move in moves for shard in move.shards) == [6, 12]


def test_plan_copies_refuses_when_a_server_would_hold_more_than_parity_can_lose() -> None:
    four = {"a": [0, 4, 8, 12], "b": [1, 5, 9, 13], "c": [2, 6, 10], "d": [3, 7, 11]}
    with pytest.raises(RefusedError) as caught:
        plan_copies(placement({7: four}, nodes="abcd"), "a:1")
    assert (caught.value.reference, caught.value.facts["volume"]) == ("cannot-drain", 7)


def test_plan_drops_keeps_the_home_s_own_shards() -> None:
    doubled = {**SPREAD, "c": [2, 8, 0], "d": [3, 9, 6]}
    assert plan_drops(placement({7: doubled}), home="a:1") == [
        Move(7, "c:1", "a:1", frozenset({0})),
        Move(7, "d:1", "a:1", frozenset({6})),
    ]


def test_plan_drops_without_a_home_leaves_one_of_each_and_no_server_with_too_many() -> None:
    doubled = {**SPREAD, "c": [2, 8, 0], "d": [3, 9, 6], "e": [4, 10, 12]}
    dropped = sorted(shard for move in plan_drops(placement({7: doubled}), home="") for shard in move.shards)
    assert dropped == [0, 6, 12]


def test_plan_drops_of_a_whole_cluster_is_empty() -> None:
    assert plan_drops(placement({7: SPREAD}), home="a:1") == []


def test_plan_sweep_names_what_is_on_line_elsewhere_only() -> None:
    lost = {**SPREAD, "b": [1, 7], "f": [5, 11]}
    swept = {move.server: move.shards for move in plan_sweep(placement({7: lost}), home="a:1")}
    assert set(swept) == {f"{name}:1" for name in "bcdef"}
    assert swept["b:1"] == frozenset(range(13)) - {1, 7}
    assert all(13 not in shards for shards in swept.values())


def test_plan_sweep_leaves_a_shard_alone_whose_one_server_it_asks() -> None:
    doubled = {**SPREAD, "c": [2, 8, 0]}
    swept = {move.server: move.shards for move in plan_sweep(placement({7: doubled}), home="a:1")}
    assert not swept["c:1"] & {0, 2, 8}


def test_plan_volume_moves_keeps_copies_on_different_racks() -> None:
    racks = {"c": "rack-b", "d": "rack-b"}
    (move,) = plan_volume_moves(placement(volumes={3: ("ab", 10)}, nodes="abcde", racks=racks), "a:1", preferred=[])
    assert move == Move(3, "e:1", "a:1", frozenset())


def test_plan_volume_moves_keeps_copies_on_one_rack_where_that_is_asked() -> None:
    racks = {"a": "r", "b": "r", "c": "r"}
    (move,) = plan_volume_moves(placement(volumes={3: ("ab", 1)}, nodes="abcd", racks=racks), "a:1", preferred=["d:1"])
    assert move.server == "c:1"


def test_plan_volume_moves_prefers_nodes_that_were_drained_before() -> None:
    (move,) = plan_volume_moves(placement(volumes={3: ("ab", 10)}), "a:1", preferred=["e:1"])
    assert move.server == "e:1"


def test_plan_volume_moves_refuses_when_no_server_may_take_it() -> None:
    with pytest.raises(RefusedError) as caught:
        plan_volume_moves(placement(volumes={3: ("ab", 10)}, nodes="ab"), "a:1", preferred=[])
    assert caught.value.reference == "cannot-drain"


def test_plan_volume_moves_uses_the_copy_that_a_killed_run_left() -> None:
    (move,) = plan_volume_moves(placement(volumes={3: ("abc", 10)}), "a:1", preferred=["e:1"])
    assert move == Move(3, "b:1", "a:1", frozenset())
