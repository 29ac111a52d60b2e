"""The rows of ``verify``: against openssl over the same file; and the small kit, where the start is all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.bench.data import BIN, SignedKit, Workshop
from tests.bench.measure import MIB, Pairs, Run, interleave, median_seconds, run_command
from tests.bench.site import BenchSite
from tests.bench.table import Row
from tests.bench.worker import profile_of, timed

SMALL_STARTS = 7
BUDGET_SECONDS = 0.5


def verify_rows(shop: Workshop, site: BenchSite, kit: SignedKit) -> list[Row]:
    """Return every row of verifying; the file lies in the page cache for both sides."""
    size_bytes = kit.bundle.stat().st_size
    openssl = partial(run_command, ["openssl", "dgst", "-sha256", kit.bundle])
    rows = []
    inside: dict[str, float] = {}
    for work, name, least in (("verify", "whole-file digest included", 0.9), ("chunks", "chunks only", 1.7)):
        pairs = Pairs(*interleave(partial(timed, work, kit.folder, shop.root), openssl, rounds=shop.sizes.many_pairs))
        ratio = pairs.faster()
        ours, theirs = median_seconds(pairs.ours), median_seconds(pairs.theirs)
        inside[work] = ours
        met = ratio.median >= least
        rows.append(
            Row(
                f"verify, {name}, work; openssl dgst -sha256",
                f"{ours:.2f} s against {theirs:.2f} ({size_bytes / MIB / ours:.0f} MiB/s)",
                ratio.text(),
                f">= {least:g} x",
                met,
                False,
                () if met else profile_of(work, kit.folder, shop.root),
            )
        )
    whole = {
        "teraferry verify, command": partial(
            run_command, [BIN / "teraferry", "verify", kit.folder, "--root", shop.root, "--quiet"]
        ),
        "installer file verify, command": partial(site.installer, "verify", kit.folder),
    }
    for name, command in whole.items():
        pairs = Pairs(*interleave(command, openssl, rounds=shop.sizes.many_pairs))
        ratio = pairs.faster()
        ours, theirs = median_seconds(pairs.ours), median_seconds(pairs.theirs)
        figure = f"{ours:.2f} s against {theirs:.2f} for {size_bytes / MIB:.0f} MiB"
        met = ratio.median >= 0.9
        spent = (
            f"{ours - inside['verify']:6.2f} s  the interpreter, imports and its end",
            f"{inside['verify']:6.2f} s  the work",
        )
        profile = () if met else spent
        rows.append(Row(f"{name}; openssl dgst -sha256", figure, ratio.text(), ">= 0.9 x", met, True, profile))
    return rows


def small_rows(shop: Workshop, site: BenchSite, kit: SignedKit) -> list[Row]:
    """Return the rows of a kit of 1 MB, and of the installer file's second start."""
    megabytes = kit.bundle.stat().st_size / 1e6
    commands = {
        f"teraferry verify of a kit of {megabytes:.1f} MB": partial(
            run_command, [BIN / "teraferry", "verify", kit.folder, "--root", shop.root, "--quiet"]
        ),
        f"installer file verify of a kit of {megabytes:.1f} MB": partial(site.installer, "verify", kit.folder),
        "second start of the installer file": partial(site.installer, "--help"),
    }
    rows = []
    for name, command in commands.items():
        command()  # The first start unpacks.
        runs: list[Run] = [command() for _ in range(SMALL_STARTS)]
        seconds = sorted(run.seconds for run in runs)
        median = median_seconds(runs)
        met = median <= BUDGET_SECONDS
        rows.append(
            Row(
                name,
                f"{median:.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f})",
                "",
                f"<= {BUDGET_SECONDS} s",
                met,
                False,
                () if met else _start_profile(shop, kit.folder),
            )
        )
    return rows


def _start_profile(shop: Workshop, kit: Path) -> tuple[str, ...]:
    """Return the dearest imports, and the rest of the work."""
    import subprocess

    done = subprocess.run(
        [
            BIN / "python",
            "-X",
            "importtime",
            "-m",
            "teraferry.builder.cli",
            "verify",
            kit,
            "--root",
            shop.root,
            "--quiet",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")][1:]
    dearest = sorted(((int(line[1]), line[2].rstrip()) for line in found), reverse=True)[:12]
    return (
        "imports, with all that they import in turn (slowed by being watched):",
        *(f"{micros / 1e6:6.2f} s  {name.strip()}" for micros, name in dearest),
        *profile_of("verify", kit, shop.root),
    )
