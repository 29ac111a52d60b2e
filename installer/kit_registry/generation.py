"""What the kit's registry runs, and what the journal says last proved to serve. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import Digest
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.execute import DONE

SERVE: Final = "serve_registry"
"""The step whose "done" says that the registry proved itself."""

BEGUN: Final = "registry-begun"
"""With which release, and who signed it: whoever finds the program must find who brought it."""

RETURNED: Final = "registry-returned"
"""The service went back to the program before."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What the service runs: a program, and the configuration that was made for it."""

    program: Digest
    configuration: Digest


def last_good_of(entries: Sequence[Entry]) -> Generation | None:
    """Return what the service last proved to serve; None where none ever did."""
    proven = [entry.facts for entry in entries if entry.event == DONE and entry.step == SERVE]
    return Generation(str(proven[-1].get("program")), str(proven[-1].get("configuration"))) if proven else None
