"""``scripts/prove [NAME ...]``: the exhaustive runs. Interrupt them at will; typed again, they go on.

A proof that does not hold ends the command with 1, after the others had their turn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from tests.prove import (
    chaos,
    compressor,
    connections,
    crash_blue_green,
    crash_rolling,
    cutover,
    determinism,
    flips,
    fuzz,
    kills,
    model,
    oracle,
    promotion,
    registry_kills,
    replication,
    sizes,
    units,
)
from tests.prove.record import Outcome, Record

Proof = Callable[[Record], Outcome]

PROOFS: dict[str, tuple[Proof, Mapping[str, int | str]]] = {
    "determinism": (determinism.prove, determinism.SETTINGS),
    "compressor": (compressor.prove, compressor.SETTINGS),
    "flips": (flips.prove, flips.SETTINGS),
    "fuzz": (fuzz.prove_site, fuzz.SETTINGS),
    "fuzz-signing-room": (fuzz.prove_signing_room, fuzz.SETTINGS),
    "fuzz-home": (fuzz.prove_home, fuzz.SETTINGS),
    "oracle": (oracle.prove, oracle.SETTINGS),
    "sizes": (sizes.prove, sizes.SETTINGS),
    "kills": (kills.prove, kills.SETTINGS),
    "connections": (connections.prove, connections.SETTINGS),
    "chaos": (chaos.prove, chaos.SETTINGS),
    "crash-rolling": (crash_rolling.prove, crash_rolling.SETTINGS),
    "crash-blue-green": (crash_blue_green.prove, crash_blue_green.SETTINGS),
    "cutover": (cutover.prove, cutover.SETTINGS),
    "model": (model.prove, model.SETTINGS),
    "replication": (replication.prove, replication.SETTINGS),
    "promotion": (promotion.prove, promotion.SETTINGS),
    "registry-kills": (registry_kills.prove, registry_kills.SETTINGS),
    "units": (units.prove, units.SETTINGS),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/prove", description="Run the exhaustive proofs; hours, resumable.")
    # argparse compares an empty list of choices with each choice, so they are checked here.
    parser.add_argument("name", nargs="*", help=f"Proofs to run: {', '.join(PROOFS)}; all by default.")
    names = parser.parse_args().name or list(PROOFS)
    unknown = [name for name in names if name not in PROOFS]
    if unknown:
        parser.error(f"unknown proof {', '.join(unknown)}; there are {', '.join(PROOFS)}")
    failed = []
    for name in names:
        proof, settings = PROOFS[name]
        record = Record(name, settings).open()
        outcome = proof(record)
        record.publish(outcome)
        print(f"{name}: {'held' if outcome.held else 'FAILED'}: {outcome.said}", flush=True)
        if not outcome.held:
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
