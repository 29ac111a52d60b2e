"""``scripts/bench``: every budget that building, verifying and loading have, measured in one go.

It needs root, as the installer's site file does, about 9 minutes and 4 GB of disk; ``--quick`` a minute.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from teraferry import __version__
from teraferry.bundles.system.clock import now_utc
from tests.bench.data import FULL, QUICK, Sizes, Workshop
from tests.bench.measure import MIB, BenchError
from tests.bench.run_build import build_rows
from tests.bench.run_load import Loads, load_rows
from tests.bench.run_peaks import peak_rows
from tests.bench.run_rollout import rollout_rows
from tests.bench.run_switch import switch_rows
from tests.bench.run_verify import small_rows, verify_rows
from tests.bench.site import BenchSite
from tests.bench.table import Row, kept_notes, markdown, plain

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "benchmarks.md"
PARTS = ("build", "verify", "small", "load", "peaks", "switch", "rollout")


def measure(folder: Path, sizes: Sizes, *, parts: frozenset[str]) -> list[Row]:
    """Return the rows of every part that was asked for."""
    shop = Workshop(folder, sizes).open()
    layout = shop.layout("a")
    kit = shop.signed_kit("4.2.0", layout)
    site = BenchSite(shop).open()
    rows: list[Row] = []
    steps: dict[str, Callable[[], list[Row]]] = {
        "build": lambda: build_rows(shop, layout),
        "verify": lambda: verify_rows(shop, site, kit),
        "small": lambda: small_rows(
            shop, site, shop.signed_kit("4.2.9", shop.layout("small", layer_bytes=MIB, layers=1))
        ),
        "load": lambda: _loads(shop, site, Loads(shop, site, kit, layout)),
        "peaks": lambda: peak_rows(shop, site, kit, layout),
        "switch": lambda: _in(folder / "switch", lambda room: switch_rows(room, quick=sizes is QUICK)),
        "rollout": lambda: _in(folder / "rollout", rollout_rows),
    }
    for name in PARTS:
        if name in parts:
            began = time.monotonic()
            print(f"bench: {name} ...", file=sys.stderr, flush=True)
            found = steps[name]()
            # Told at once: a run that is stopped later has not been for nothing.
            print(plain(found), file=sys.stderr, flush=True)
            rows += found
            print(f"bench: {name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return rows


def _in(folder: Path, work: Callable[[Path], list[Row]]) -> list[Row]:
    folder.mkdir(mode=0o755)
    return work(folder)


def _loads(shop: Workshop, site: BenchSite, loads: Loads) -> list[Row]:
    other = shop.layout("b", changed=1)
    return load_rows(shop, site, loads, Loads(shop, site, shop.signed_kit("4.2.1", other), other))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure every budget on this machine.")
    parser.add_argument(
        "--quick", action="store_true", help="Small sizes and few pairs: about a minute, to see it work."
    )
    parser.add_argument("--pairs", type=int, help="Pairs of each comparison, for all of them.")
    parser.add_argument("--markdown", action="store_true", help="Also write docs/benchmarks.md.")
    parser.add_argument("--note", default="", help="A sentence for the page, such as how quiet the machine was.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="Measure these parts alone.")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else FULL
    if arguments.pairs:
        sizes = replace(sizes, many_pairs=arguments.pairs, pairs=arguments.pairs, slow_pairs=arguments.pairs)
    place = (REPOSITORY / ".cache").resolve()  # The installer follows no link.
    place.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=place))
    folder.chmod(0o755)
    load_before = os.getloadavg()[0]
    began = time.monotonic()
    try:
        rows = measure(folder, sizes, parts=frozenset(arguments.only))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    print(plain(rows))
    what = f"Bundle: {8 * sizes.layer_bytes // MIB} MiB in 8 gzip layers of random bytes."
    noise = f"The whole run took {seconds:.0f} s; load of the machine before it: {load_before:.1f}. {arguments.note}"
    noise = noise.strip()
    print(f"\n{noise}")
    if arguments.markdown:
        notes = kept_notes(PAGE.read_text())
        PAGE.write_text(markdown(rows, now=now_utc(), noise=noise, what=what, version=__version__) + notes)
        print(f"written: {PAGE.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
