"""What people and scripts see: plain lines, one live view, JSON, results, errors, exit statuses."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teraferry.bundles.errors import OperatorNeededError, RefusedError, TrustError
from teraferry.bundles.system import console_text as words
from teraferry.bundles.system.clock import monotonic_seconds
from teraferry.bundles.system.console import Console, output_options, run_command, run_program
from teraferry.bundles.system.console_phase import Phase, Sample, estimate

LATER_SECONDS = 60.0
MIB = 1024 * 1024


class Streams:
    """A console over two texts that can be read back."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, terminal: bool = False) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.console = Console(json=as_json, quiet=quiet, out=self.out, err=self.err, terminal=terminal, color=False)

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def lines(self) -> list[str]:
        return self.err.getvalue().splitlines()


def degraded(**facts: object) -> RefusedError:
    return RefusedError(
        "cluster-degraded",
        "cluster: 98 %, expected 100 %",
        hint="Type: weed shell",
        facts=facts,  # type: ignore[arg-type]
    )


# ---- plain lines


def test_phase_is_told_at_its_start() -> None:
    streams = Streams()

    streams.console.start("load", total_bytes=3 * MIB, detail="api")
    streams.console.close()

    assert streams.lines() == ["load: 3.0 MiB, api"]


def test_line_is_told_while_bytes_move() -> None:
    streams = Streams()
    streams.console.start("load", total_bytes=4 * MIB)
    streams.console.advance(MIB)

    streams.console.tick(monotonic_seconds() + LATER_SECONDS)
    streams.console.close()

    assert streams.lines()[-1].startswith("load: 1.0 MiB of 4.0 MiB (25 %), ")


def test_line_is_told_while_a_phase_moves_no_bytes() -> None:
    streams = Streams()
    streams.console.start("drain vol-1", detail="node 1 of 6")

    streams.console.tick(monotonic_seconds() + LATER_SECONDS)
    streams.console.close()

    assert streams.lines()[-1].startswith("drain vol-1: still at work (node 1 of 6), ")


def test_wait_is_told_once_and_then_again_with_its_time() -> None:
    streams = Streams()
    streams.console.start("gate")
    for missing in (3, 2, 1):
        streams.console.waiting("cluster health", f"{missing} shards missing")

    streams.console.tick(monotonic_seconds() + LATER_SECONDS)
    streams.console.close()

    assert streams.lines()[1] == "waiting for cluster health: 3 shards missing"
    assert streams.lines()[2].startswith("still waiting for cluster health: 1 shards missing, ")


@pytest.mark.parametrize("end", ["advance", "say", "start"])
def test_wait_is_over_once_something_happens(end: str) -> None:
    streams = Streams()
    streams.console.start("gate")
    streams.console.waiting("cluster health", "1 shard missing")

    if end == "advance":
        streams.console.advance(1)
    elif end == "say":
        streams.console.say("gate-passed", "cluster health: 100 %")
    else:
        streams.console.start("drain")
    streams.console.tick(monotonic_seconds() + LATER_SECONDS)
    streams.console.close()

    assert "still waiting" not in streams.err.getvalue()


def test_wait_before_any_phase_is_told() -> None:
    streams = Streams()

    streams.console.waiting("the lock", "held by admin2")
    streams.console.close()

    assert streams.lines() == ["waiting for the lock: held by admin2"]


def test_ticker_tells_by_itself_that_a_silent_phase_goes_on() -> None:
    told = threading.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            if "still at work" in text:
                told.set()
            return super().write(text)

    console = Console(json=False, quiet=False, out=io.StringIO(), err=Watched(), terminal=False, color=False)
    console.start("silent")

    assert told.wait(timeout=30)
    console.close()


def test_negative_progress_is_refused() -> None:
    console = Streams().console
    console.start("load", total_bytes=10)

    with pytest.raises(ValueError, match="expected 0 or more"):
        console.advance(-1)
    console.close()


def test_progress_counts_every_byte_of_many_threads() -> None:
    streams = Streams(as_json=True)
    streams.console.start("load", total_bytes=8000)

    def work() -> None:
        for _ in range(1000):
            streams.console.advance(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    streams.console.result("load", {})

    assert next(event for event in streams.events() if event["event"] == "phase-done")["done_bytes"] == 8000


def test_quiet_console_prints_only_the_result() -> None:
    streams = Streams(quiet=True)
    streams.console.start("load", total_bytes=10)
    streams.console.say("x", "y")
    streams.console.waiting("a", "b")

    streams.console.result("load", {"product": "terachat"})

    assert (streams.lines(), streams.out.getvalue()) == ([], "load: done\n  product: terachat\n")


def test_quiet_console_still_prints_the_error() -> None:
    streams = Streams(quiet=True)

    streams.console.error("install", degraded())

    assert "cluster: 98 %, expected 100 %" in streams.err.getvalue()


# ---- speed and time left


def test_speed_and_time_left_follow_from_the_samples() -> None:
    pace = estimate([Sample(10.0, 0), Sample(12.0, 100), Sample(14.0, 400)], total_bytes=1000)

    assert (pace.bytes_per_second, pace.remaining_seconds) == (100.0, 6.0)


@pytest.mark.parametrize(
    ("samples", "total"),
    [([], 10), ([Sample(1.0, 5)], 10), ([Sample(1.0, 0), Sample(1.0, 5)], 10), ([Sample(2.0, 0), Sample(1.0, 5)], 10)],
)
def test_speed_is_not_guessed_from_too_little(samples: list[Sample], total: int) -> None:
    assert estimate(samples, total).bytes_per_second is None


def test_time_left_is_not_guessed_while_nothing_moves() -> None:
    assert estimate([Sample(0.0, 5), Sample(9.0, 5)], 10).remaining_seconds is None


def test_speed_is_that_of_the_recent_past() -> None:
    phase = Phase("load", "", None, 0.0)
    phase.advance(1_000_000)
    phase.sample(1.0)
    for second in range(2, 40):
        phase.advance(10)
        pace = phase.sample(float(second))

    assert pace.bytes_per_second == 10


@given(st.lists(st.integers(0, 10_000)), st.integers(0, 50_000))
def test_share_never_falls_and_never_passes_one(counts: list[int], total: int) -> None:
    phase = Phase("load", "", total, 0.0)
    shares = []
    for count in counts:
        phase.advance(count)
        shares.append(phase.share() or 0.0)

    assert shares == sorted(shares)
    assert all(share <= 1 for share in shares)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (9.96, "10.0 s"), (12, "12 s"), (59.7, "1 min 00 s"), (3900, "1 h 05 min")]
)
def test_duration_reads_as_people_say_it(seconds: float, shown: str) -> None:
    assert words.duration_text(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 * 1024**4, "5.0 TiB")]
)
def test_size_reads_as_people_say_it(count: int, shown: str) -> None:
    assert words.size_text(count) == shown


# ---- names from outside


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_printed(name: str) -> None:
    assert words.printable(name).isprintable()


def test_vietnamese_is_shown_as_it_is() -> None:
    assert words.printable("Phiên bản 4.2 đã sẵn sàng") == "Phiên bản 4.2 đã sẵn sàng"


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\rb", "a\u202eb", "a\u2028b", "a\x9bb", "a\udc80b"])
def test_name_with_a_trap_is_escaped_everywhere(name: str) -> None:
    streams = Streams()
    streams.console.start(name, detail=name)
    streams.console.say("read", f"blob {name}")
    streams.console.waiting(name, name)
    streams.console.result("inspect", {"files": [name], "rows": [{"name": name}]})
    streams.console.error("inspect", TrustError("x", f"file {name}: bad", hint=name, facts={"names": [name]}))

    printed = streams.err.getvalue() + streams.out.getvalue()
    assert all(line.isprintable() for line in printed.split("\n"))


def test_newline_in_a_name_cannot_forge_a_line() -> None:
    streams = Streams()

    streams.console.error("verify", TrustError("x", "file a\nverify: done\n b: bad", hint="h"))
    streams.console.result("verify", {"file": "a\nverify: done"})

    assert "verify: done" not in streams.lines()
    assert streams.out.getvalue().splitlines().count("verify: done") == 1


def test_phase_of_the_live_view_cannot_carry_markup() -> None:
    streams = Streams(terminal=True)

    streams.console.start("load [bold red]x[/] :smile: \x1b[31m")
    streams.console.close()

    assert "[bold red]x[/] :smile: \\x1b[31m" in streams.err.getvalue()


# ---- JSON


def test_json_holds_one_object_a_line_and_text_for_people_stays_on_stderr() -> None:
    streams = Streams(as_json=True)
    streams.console.start("verify", total_bytes=10)
    streams.console.say("verified", "it is good", product="terachat")
    streams.console.waiting("gate", "why")
    streams.console.result("verify", {"chunks": 3})

    events = [event["event"] for event in streams.events()]
    assert events == ["phase", "verified", "waiting", "phase-done", "result"]
    assert "it is good" in streams.err.getvalue()


def test_last_json_line_is_the_result() -> None:
    streams = Streams(as_json=True)
    streams.console.start("verify")

    streams.console.result("verify", {"product": "terachat", "chunks": 3})

    expected = {"event": "result", "command": "verify", "status": 0, "reference": "ok"}
    assert streams.events()[-1] == {**expected, "product": "terachat", "chunks": 3}


def test_last_json_line_of_an_error_holds_its_facts() -> None:
    streams = Streams(as_json=True)

    streams.console.error("install", degraded(percent=98, groups=["7"]))

    assert streams.events()[-1] == {
        "event": "result",
        "command": "install",
        "status": 40,
        "reference": "cluster-degraded",
        "message": "cluster: 98 %, expected 100 %",
        "hint": "Type: weed shell",
        "percent": 98,
        "groups": ["7"],
    }


def test_fact_cannot_take_the_place_of_the_status() -> None:
    streams = Streams(as_json=True)

    streams.console.error("install", degraded(status=0, reference="ok"))
    streams.console.result("install", {"status": 7, "event": "x"})

    error, result = streams.events()[-2:]
    assert (error["status"], error["fact_status"], error["reference"]) == (40, 0, "cluster-degraded")
    assert (result["status"], result["fact_status"], result["event"]) == (0, 7, "result")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Path("/a"), "/a"),
        (float("nan"), None),
        (float("inf"), None),
        (frozenset({"b", "a"}), ["a", "b"]),
        ((1, {"x": Path("y")}), [1, {"x": "y"}]),
        ("\udc80\x1b", "\udc80\x1b"),
        (Sample(1.0, 2), {"at_seconds": 1.0, "done_bytes": 2}),
        (True, True),
    ],
)
def test_json_holds_whatever_a_command_answers(value: object, shown: object) -> None:
    line = words.encode_line({"x": value})

    assert line.isascii()
    assert json.loads(line)["x"] == shown


def test_quiet_json_is_the_result_alone() -> None:
    streams = Streams(as_json=True, quiet=True)
    streams.console.start("verify")
    streams.console.say("a", "b")

    streams.console.result("verify", {})

    assert [event["event"] for event in streams.events()] == ["result"]


def test_table_in_a_result_has_a_line_for_each_row() -> None:
    lines = words.result_lines(
        "sign", {"missing": {"targets": {"have": 1, "need": 2}, "snapshot": {"have": 0, "need": 1}}}
    )

    assert lines == ["sign: done", "  missing:", "    targets: have=1, need=2", "    snapshot: have=0, need=1"]


# ---- errors for people


def test_error_says_what_happened_and_what_to_do_and_its_reference() -> None:
    streams = Streams()

    streams.console.error("install", degraded(groups=["7", "8"]))

    assert streams.lines() == [
        "install: REFUSED",
        "  what happened: cluster: 98 %, expected 100 %",
        "  groups:",
        "    7",
        "    8",
        "  what to do:    Type: weed shell",
        "  reference:     cluster-degraded, exit status 40",
    ]
    assert streams.out.getvalue() == ""


def test_error_after_something_was_changed_is_not_called_a_refusal() -> None:
    streams = Streams()

    streams.console.error("install", OperatorNeededError("halted", "m", hint="h"))

    assert streams.lines()[0] == "install: FAILED"


# ---- commands


def run(action: object, *, as_json: bool = True) -> tuple[int, Streams]:
    streams = Streams(as_json=as_json)
    return run_command("verify", streams.console, action), streams  # type: ignore[arg-type]


def test_command_that_succeeds_ends_with_status_0() -> None:
    status, streams = run(lambda: {"product": "x"})

    assert (status, streams.events()[-1]["product"]) == (0, "x")


def test_command_that_is_refused_ends_with_the_status_of_its_error() -> None:
    def action() -> Mapping[str, object]:
        raise TrustError("root-expired", "m", hint="h", exit_status=21)

    status, streams = run(action)

    assert (status, streams.events()[-1]["status"]) == (21, 21)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, click.Abort])
def test_command_that_is_interrupted_ends_with_43(stop: type[BaseException]) -> None:
    def action() -> Mapping[str, object]:
        raise stop

    status, streams = run(action)

    last = streams.events()[-1]
    assert (status, last["status"], last["reference"]) == (43, 43, "stopped-by-operator")


def test_command_with_a_bug_ends_with_1_and_its_traceback_on_stderr() -> None:
    def action() -> Mapping[str, object]:
        raise KeyError("volume")

    status, streams = run(action)

    last = streams.events()[-1]
    assert (status, last["status"], last["reference"]) == (1, 1, "internal-error")
    assert "Traceback" in streams.err.getvalue()


@click.group()
def program() -> None:
    pass


@program.command(help="Example.")
@output_options
@click.argument("kit")
def verify(json: bool, quiet: bool, kit: str) -> int:
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command("verify", console, lambda: {"kit": kit})


def test_output_options_are_given_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    status = run_program(program, ["verify", "KIT", "--json", "--quiet"], name="teraferry")

    assert (status, json.loads(capsys.readouterr().out)["kit"]) == (0, "KIT")


@pytest.mark.parametrize("arguments", [["verify"], ["verify", "KIT", "--force"], ["publish"]])
def test_wrong_command_line_is_2_with_a_result_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status = run_program(program, [*arguments, "--json"], name="teraferry")

    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (status, last["status"], last["reference"]) == (2, 2, "usage")


def test_help_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(program, ["verify", "--help"], name="teraferry") == 0
    assert "--quiet" in capsys.readouterr().out


# ---- streams that go away, and real terminals

WORK = """
import sys
from teraferry.bundles.system.console import Console, run_command
console = Console.from_environment(json={json}, quiet=False)
def action():
    for number in range(3000):
        console.say("step", f"step {{number}}")
    console.start("load", total_bytes=100)
    console.advance(40)
    console.tick(0.0)
    with console.paused():
        pass
    console.start("drain vol-1", detail="node 1 of 6")
    console.waiting("cluster health", "1 shard missing")
    console.tick(0.0)
    return {{"nodes": 6}}
sys.exit(run_command("install", console, action))
"""


def environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
    return {**kept, "TERM": "xterm-256color", **extra}


@pytest.mark.parametrize("as_json", [False, True])
def test_readers_that_go_away_do_not_stop_the_work_nor_change_its_status(as_json: bool) -> None:
    read_out, write_out = os.pipe()
    read_err, write_err = os.pipe()
    os.close(read_out)
    os.close(read_err)
    done = subprocess.run(
        [sys.executable, "-c", WORK.format(json=as_json)], stdout=write_out, stderr=write_err, check=False, timeout=60
    )
    os.close(write_out)
    os.close(write_err)

    assert done.returncode == 0


def test_full_disk_behind_stdout_does_not_stop_the_work() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", WORK.format(json=True)],
            stdout=full,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=60,
        )

    assert done.returncode == 0


def on_terminal(**extra: str) -> str:
    """Run the work with stderr on a terminal; return what the terminal was sent."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", WORK.format(json=False)],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(COLUMNS="100", **extra),
    )
    os.close(theirs)
    sent = b""
    try:
        while piece := os.read(ours, 65536):
            sent += piece
    except OSError:
        pass  # Linux says EIO where the other side of a terminal is closed
    finally:
        os.close(ours)
    assert child.wait(timeout=60) == 0
    return sent.decode()


def test_terminal_shows_one_live_view_and_gets_its_cursor_back() -> None:
    sent = on_terminal()

    assert "40 bytes of 100 bytes (40 %)" in sent
    assert "waiting for cluster health: 1 shard missing, " in sent
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")


def test_terminal_that_is_closed_in_the_middle_does_not_stop_the_work() -> None:
    ours, theirs = pty.openpty()
    program = WORK.format(json=False).replace(
        "def action():", "console.start('x')\nprint('ready', flush=True)\ninput()\ndef action():"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program + "\n"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(),
    )
    os.close(theirs)
    if child.stdout is None or child.stdout.readline() != b"ready\n":
        pytest.fail("the console was not made")
    os.close(ours)
    out, _ = child.communicate(b"go\n", timeout=60)

    assert (child.returncode, out) == (0, b"install: done\n  nodes: 6\n")


def test_live_view_is_colored_unless_no_color_is_set() -> None:
    assert "\x1b[38;5;" in on_terminal()
    assert "\x1b[38;5;" not in on_terminal(NO_COLOR="1")


def test_dumb_terminal_gets_plain_lines() -> None:
    assert "\x1b" not in on_terminal(TERM="dumb")


def test_rich_is_not_imported_without_a_terminal() -> None:
    seen = WORK.format(json=False).replace("sys.exit(", "status = (") + "\nsys.exit('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, check=False, timeout=60)

    assert done.returncode == 0
