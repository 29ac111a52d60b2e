"""The plan of a blue-green install: in which order, for which cluster, and what a site can count on."""

from __future__ import annotations

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.manifest import File, Manifest, Release
from teraferry.installer.cli_blue_green import make_window
from teraferry.installer.rollout.blue_green_plan import guarantees_of, plan_blue_green
from teraferry.installer.rollout.plan import Plan
from teraferry.installer.site.load import parse_site
from tests.fakes.site_toml import PAIR_KEY, pair_site


def manifest(name: str = "bin/weed") -> Manifest:
    file = File(name=name, mode="0755", digest=digest_of(b"program"), length_bytes=1000)
    return Manifest(format=1, release=Release(product="demo", version="1.0.0"), files=(file,))


def plan(text: str, *, standby: str = "green", in_place: bool = False, name: str = "bin/weed") -> Plan:
    return plan_blue_green(
        manifest(name), parse_site(text.encode(), name="site.toml"), standby=standby, in_place=in_place
    )


def guarantees(text: str) -> str:
    return " ".join(guarantees_of(parse_site(text.encode(), name="site.toml"), standby="green"))


def test_cutover_comes_after_everything_that_may_refuse_it() -> None:
    actions = list(dict.fromkeys(step.action for step in plan(pair_site() + PAIR_KEY).steps))

    assert actions == [
        *("set_up_switch", "stage_file", "bring_up", "prove_keys", "run_smoke_tests", "rehearse_check"),
        *("sync_state", "ask_compliance", "switch_virtual_ip", "monitor_stability", "commit_switch"),
    ]


def test_one_writer_is_promoted_after_the_window_and_before_the_commit() -> None:
    actions = [step.action for step in plan(pair_site(writers="one")).steps]

    assert actions[-3:] == ["monitor_stability", "promote_primary", "commit_switch"]


@pytest.mark.parametrize("standby", ["blue", "green"])
def test_only_the_standby_is_touched(standby: str) -> None:
    made = plan(pair_site(), standby=standby)

    assert made.nodes == (f"{standby}-1", f"{standby}-2")
    assert "stays on its version" in made.stays[0]


def test_release_that_stands_needs_no_step() -> None:
    made = plan(pair_site(), in_place=True)

    assert (made.steps, made.nodes) == ((), ("green-1", "green-2"))


def test_release_that_lacks_a_file_is_refused() -> None:
    with pytest.raises(RefusedError) as caught:
        plan(pair_site(), name="bin/other")

    assert caught.value.reference == "plan-file-missing"


def test_one_writer_without_a_hold_on_writes_can_keep_no_promise() -> None:
    with pytest.raises(RefusedError) as caught:
        plan(pair_site(writers="one").replace("write_hold_seconds = 5", ""))

    assert (caught.value.exit_status, caught.value.reference) == (40, "no-write-guarantee")


def test_program_of_the_site_moves_a_primary_within_the_hold_on_writes() -> None:
    text = pair_site().replace('engine = "seaweedfs"', 'engine = "command"\ncommand = ["keep-alike"]')
    one = text.replace('path = "/data"', "write_hold_seconds = 5").replace('writers = "two"', 'writers = "one"')

    assert "5 s" in guarantees(one)
    with pytest.raises(RefusedError) as caught:
        plan(one.replace("write_hold_seconds = 5", ""))
    assert caught.value.reference == "no-write-guarantee"


def test_guarantees_say_what_a_dead_man_does_and_what_none_does() -> None:
    without = pair_site().replace('engine = "nftables"', 'engine = "haproxy"').replace('"10s"', '"none"')

    assert "returns new connections to blue within 10s" in guarantees(pair_site())
    assert "stay on green, unwatched" in guarantees(without)


def test_guarantees_say_what_becomes_of_writes() -> None:
    assert "pending recovery, never as none unless that is proven" in guarantees(pair_site())
    assert "writes wait, and do not fail, for at most 5 s" in guarantees(pair_site(writers="one"))


def test_plan_says_how_soon_a_standby_that_fell_silent_is_found() -> None:
    assert "new connections return to blue: 1.8 s later at most" in guarantees(pair_site())


def test_plan_cuts_connections_only_where_the_site_says_when_and_claims_no_zero_then() -> None:
    cutting = pair_site().replace('dead_man = "10s"', 'dead_man = "10s"\ncut_after = "30m"')

    assert [step.action for step in plan(cutting).steps][-2:] == ["commit_switch", "cut_connections"]
    assert "30m after the cutover, and after the commit, are cut" in guarantees(cutting)
    assert "none is moved or cut" not in guarantees(cutting)
    assert "cut_connections" not in [step.action for step in plan(pair_site()).steps]
    assert "until they end; none is moved or cut" in guarantees(pair_site())


def test_window_of_a_site_knows_when_it_cuts() -> None:
    cutting = pair_site().replace('dead_man = "10s"', 'dead_man = "10s"\ncut_after = "30m"')

    assert make_window(parse_site(cutting.encode(), name="site.toml")).cut_after_seconds == 1800
    assert make_window(parse_site(pair_site().encode(), name="site.toml")).cut_after_seconds is None
