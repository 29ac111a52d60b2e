"""What a proof remembers while it runs, and what it leaves in ``docs/proof/``.

A proof may take hours and be interrupted at any moment, so each finished piece of it is written down in
``.cache/prove/NAME.json`` by renaming a whole file; the next run goes on after it. The pieces of another
version of the product prove nothing about this one: when the source has changed, it starts again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teraferry import __version__
from teraferry.bundles.system.clock import monotonic_seconds, now_utc
from teraferry.bundles.system.durable import write_durably

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache" / "prove"
PAGES = REPOSITORY / "docs" / "proof"
PACKAGES = ("bundles", "keys", "builder", "installer")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished proof found."""

    held: bool
    said: str  # one sentence
    counts: Mapping[str, int | str]
    matrix: str = ""  # every case, where a count says too little


class Record:
    """The finished pieces of one proof. Use from one thread."""

    def __init__(
        self, name: str, settings: Mapping[str, int | str], *, cache: Path = CACHE, pages: Path = PAGES
    ) -> None:
        self.name = name
        self.folder = cache / name
        self._path = cache / f"{name}.json"
        self._pages = pages
        self._key = {"source": source_digest(), **settings}
        self._pieces: dict[str, Any] = {}
        self._seconds_before = 0.0
        self._began = monotonic_seconds()

    def open(self) -> Record:
        """Read what an interrupted run left, unless it was about other code or other settings."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            left = json.loads(self._path.read_bytes())
            if left["key"] == self._key:
                self._pieces, self._seconds_before = left["pieces"], left["seconds"]
        return self

    def __contains__(self, piece: str) -> bool:
        return piece in self._pieces

    def __getitem__(self, piece: str) -> Any:
        return self._pieces[piece]

    @property
    def is_new(self) -> bool:
        """Whether nothing is done yet."""
        return not self._pieces

    def pieces(self) -> dict[str, Any]:
        """Return every finished piece."""
        return dict(self._pieces)

    def done(self, piece: str, found: Any) -> None:
        """Remember a finished piece."""
        self._pieces[piece] = found
        whole = {"key": self._key, "pieces": self._pieces, "seconds": self._seconds}
        write_durably(self._path, json.dumps(whole).encode())

    def tell(self, text: str) -> None:
        """Say where the proof is."""
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    @property
    def _seconds(self) -> float:
        return self._seconds_before + monotonic_seconds() - self._began

    def publish(self, outcome: Outcome) -> None:
        """Write the result page, and put the pieces aside for whoever asks why: the next run proves everything anew."""
        self._pages.mkdir(parents=True, exist_ok=True)
        page = {
            "proof": self.name,
            "held": outcome.held,
            "said": outcome.said,
            "counts": dict(outcome.counts),
            "date_utc": now_utc().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds": round(self._seconds),
            "version": __version__,
            "source": str(self._key["source"]),
        }
        write_durably(self._pages / f"{self.name}.json", (json.dumps(page, indent=2) + "\n").encode())
        if outcome.matrix:
            write_durably(self._pages / f"{self.name}.matrix.txt", outcome.matrix.encode())
        write_durably(self._pages / "README.md", overview(self._pages).encode())
        if self._path.exists():
            self._path.replace(self._path.with_suffix(".last.json"))


def overview(pages: Path) -> str:
    """Return the page that lists every proof that was run."""
    lines = [
        "# Proofs",
        "",
        "Written by `scripts/prove`, which takes hours and goes on where it was interrupted;",
        "`scripts/prove NAME` runs one. The suite (`scripts/test`) holds a short form of each.",
        "*Source* is a digest of the product's code at that run. Of the crash proofs, `NAME.matrix.txt` lists",
        "every point at which the installer died.",
        "",
        "| proof | outcome | found | date | seconds | version, source |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for path in sorted(pages.glob("*.json")):
        page = json.loads(path.read_bytes())
        counts = "; ".join(f"{name}: {count}" for name, count in page["counts"].items())
        lines.append(
            f"| `{page['proof']}` | {'held' if page['held'] else '**FAILED**'} | {page['said']} ({counts}) "
            f"| {page['date_utc']} | {page['seconds']} | {page['version']}, `{page['source'][:12]}` |"
        )
    return "\n".join(lines) + "\n"


def source_digest() -> str:
    """Return the digest of the product's source: what a proof is about."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
