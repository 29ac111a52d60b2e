"""The plan of a rolling update: who rolls, in which order, what stays, and what cannot be planned."""

from __future__ import annotations

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.manifest import File, Manifest, Release
from teraferry.installer.rollout.plan import Plan, plan_rolling, reverse_targets
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site

HEAD = """\
[site]
name = "lab"
tier = "1"
[registry]
url = "https://10.0.0.2:5000"
"""
CLUSTER = '[cluster]\nengine = "seaweedfs"\nmasters = ["10.0.0.10:9333"]\nmode = "{mode}"\n'

NODES = [("filer-1", "filer"), ("vol-2", "volume"), ("master-1", "master"), ("vol-1", "volume"), ("app-1", "app")]


def site(*deploys: str, mode: str = "safe", nodes: list[tuple[str, str]] = NODES) -> Site:
    return parse_site(site_text(*deploys, mode=mode, nodes=nodes).encode(), name="site.toml")


def site_text(*deploys: str, mode: str = "safe", nodes: list[tuple[str, str]] = NODES) -> str:
    text = HEAD + CLUSTER.format(mode=mode)
    for number, (name, role) in enumerate(nodes, start=10):
        master = "10.0.0.10:9333" if nodes is NODES else f"10.0.0.{number}:9333"
        address = master if role == "master" else f"10.0.1.{number}:8080"
        text += f'[[node]]\nname = "{name}"\nrole = "{role}"\naddress = "{address}"\n'
        text += f'transport = {{ command = ["enter", "{name}"] }}\n'
    for deploy in deploys:
        role, _, file = deploy.partition(" ")
        text += f'[[deploy]]\nfile = "{file}"\nrole = "{role}"\nworkload = "binary"\n'
        text += f'path = "/opt/{file}"\nunit = "{role}"\n'
    return text


def manifest(*names: str) -> Manifest:
    files = tuple(File(name=name, mode="0755", digest=digest_of(name.encode()), length_bytes=1000) for name in names)
    return Manifest(format=1, release=Release(product="demo", version="1.0.0"), files=files)


def plan(*deploys: str, mode: str = "safe", files: tuple[str, ...] = ("bin/weed", "bin/other")) -> Plan:
    return plan_rolling(manifest(*files), site(*deploys, mode=mode))


def steps_of(made: Plan, node: str) -> list[str]:
    return [step.action for step in made.steps if step.node == node]


def test_plan_says_which_files_nodes_fetch_by_themselves() -> None:
    pulling = HEAD.replace("url = ", 'nodes_pull_above = "1KB"\nurl = ')
    text = site_text("volume bin/weed").replace(HEAD, pulling)

    made = plan_rolling(manifest("bin/weed"), parse_site(text.encode(), name="site.toml"))

    assert [target.is_pulled for target in made.targets] == [True, True]
    assert "from the local registry" in made.steps[0].text
    assert not any(target.is_pulled for target in plan("volume bin/weed").targets)


def test_volume_servers_roll_first_and_filers_last() -> None:
    assert plan("filer bin/weed", "app bin/other", "volume bin/weed").nodes == ("vol-2", "vol-1", "app-1", "filer-1")


def test_every_file_is_on_its_node_before_the_first_node_is_touched() -> None:
    actions = [step.action for step in plan("volume bin/weed", "filer bin/weed").steps]

    assert actions[:3] == ["stage_file"] * 3
    assert "stage_file" not in actions[3:]


def test_nodes_are_touched_one_after_the_other() -> None:
    touched = [step.node for step in plan("volume bin/weed", "filer bin/weed").steps if step.action != "stage_file"]

    assert touched == ["vol-2"] * 5 + ["vol-1"] * 5 + ["filer-1"] * 4


def test_volume_server_is_drained_between_the_gate_and_the_patch() -> None:
    wanted = ["check_cluster_health", "drain_node", "patch_binary", "rejoin_cluster", "wait_for_rebalance"]

    assert steps_of(plan("volume bin/weed"), "vol-1")[1:] == wanted


def test_filer_holds_no_shards_and_is_not_drained() -> None:
    assert "drain_node" not in steps_of(plan("filer bin/weed"), "filer-1")


def test_quick_mode_says_that_the_node_leaves() -> None:
    drain = next(step for step in plan("volume bin/weed", mode="quick").steps if step.action == "drain_node")

    assert "leave" in drain.text


def test_step_ids_are_different_from_each_other() -> None:
    ids = [step.id for step in plan("volume bin/weed", "volume bin/other", "filer bin/weed").steps]

    assert len(ids) == len(set(ids))


def test_two_files_of_one_node_are_patched_in_one_go() -> None:
    made = plan("volume bin/weed", "volume bin/other")

    assert steps_of(made, "vol-1").count("patch_binary") == 1
    assert [target.file for target in made.targets_of("vol-1")] == ["bin/weed", "bin/other"]


def test_bytes_to_nodes_are_counted_for_each_node() -> None:
    assert plan("volume bin/weed").upload_bytes == 2000


def test_target_carries_what_was_signed() -> None:
    (target,) = plan("filer bin/weed").targets

    assert (target.digest, target.length_bytes, target.mode) == (digest_of(b"bin/weed"), 1000, 0o755)


def test_masters_and_nodes_without_a_deploy_stay_and_it_is_said() -> None:
    stays = plan("volume bin/weed").stays

    assert sorted(sentence.split()[0] for sentence in stays) == ["app-1", "filer-1", "master-1"]


THREE_MASTERS = [("master-1", "master"), ("vol-1", "volume"), ("master-2", "master"), ("master-3", "master")]


def plan_with_masters(*deploys: str, named: int = 3) -> Plan:
    masters = [f'"10.0.0.{10 + number}:9333"' for number in (0, 2, 3)]
    text = site_text(*deploys, nodes=THREE_MASTERS)
    text = text.replace('masters = ["10.0.0.10:9333"]', f"masters = [{', '.join(masters[:named])}]")
    return plan_rolling(manifest("bin/weed"), parse_site(text.encode(), name="site.toml"))


def test_three_masters_roll_last() -> None:
    made = plan_with_masters("master bin/weed", "volume bin/weed")

    assert (made.nodes, made.stays) == (("vol-1", "master-1", "master-2", "master-3"), ())
    check = next(step for step in made.steps if (step.node, step.action) == ("master-1", "check_cluster_health"))
    assert "one leader" in check.text


def test_masters_of_which_not_all_are_asked_stay_and_it_is_said() -> None:
    made = plan_with_masters("master bin/weed", "volume bin/weed", named=2)

    assert made.nodes == ("vol-1",)
    assert [sentence.split()[0] for sentence in made.stays] == ["master-1", "master-2", "master-3"]
    assert "from 3 on" in made.stays[0]


def test_three_masters_that_no_deploy_names_stay() -> None:
    assert [sentence.split(": ")[1] for sentence in plan_with_masters("volume bin/weed").stays] == [
        "no [[deploy]] names its role"
    ] * 3


def test_deploy_of_a_file_that_the_release_lacks_is_refused() -> None:
    with pytest.raises(RefusedError) as refused:
        plan("volume bin/weed", files=("bin/other",))

    assert (refused.value.exit_status, refused.value.reference) == (40, "plan-file-missing")
    assert refused.value.facts == {"file": "bin/weed", "files": ["bin/other"]}


def test_site_that_deploys_to_masters_alone_is_refused() -> None:
    with pytest.raises(RefusedError) as refused:
        plan("master bin/weed")

    assert (refused.value.exit_status, refused.value.reference) == (40, "plan-nothing-to-do")


def test_way_back_is_the_way_forth_reversed_with_the_old_digests() -> None:
    made = plan("volume bin/weed")
    old = {("vol-2", "/opt/bin/weed"): digest_of(b"old 2"), ("vol-1", "/opt/bin/weed"): digest_of(b"old 1")}

    back = reverse_targets(made.targets, old)

    assert [(target.node, target.digest) for target in back] == [
        ("vol-1", digest_of(b"old 1")),
        ("vol-2", digest_of(b"old 2")),
    ]


def test_node_that_was_not_touched_is_not_on_the_way_back() -> None:
    back = reverse_targets(plan("volume bin/weed").targets, {("vol-2", "/opt/bin/weed"): digest_of(b"old")})

    assert [target.node for target in back] == ["vol-2"]
