"""Who wrote what, when a path differs between two clusters. Pure.

``filer.sync.verify`` tells that a path differs, and nothing tells why: one cluster may be ahead and replication
under way or dead, or both were written at once and the versions crossed on the way, each cluster ending with what the
other wrote. The two change logs tell these apart. A change in them is a client's or replication's.

Each side's present version has a maker:

- ``OWN``: a client of this cluster made it.
- ``OTHER``: replication brought it from the other cluster.
- ``BEFORE``: it is older than the logs were read.

A cluster that was killed has lost the last minute of its change log (measured: all 1,390 entries), while its files are
whole. So a log that says nothing proves nothing: what the log of the *other* cluster never saw, and what is younger
than the window, was made here. When replication is quicker than we are, and replaces it, the line that says so names
what it replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum


@dataclass(frozen=True, slots=True)
class Version:
    """What one cluster holds under a path."""

    size_bytes: int
    content: str  # equal exactly when the bytes are: their MD5, or those of the chunks in order
    modified_ns: int  # by the clock of the cluster that made it; replication keeps it
    is_directory: bool = False

    def same_bytes(self, other: Version | None) -> bool:
        """Tell whether ``other`` holds the same, whenever it was made."""
        if other is None or self.is_directory != other.is_directory:
            return False
        return self.is_directory or (self.size_bytes, self.content) == (other.size_bytes, other.content)


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a part of a file lies in its cluster's volumes; it can be read there for a while after its deletion."""

    file_id: str
    offset: int
    size_bytes: int
    is_plain: bool  # neither encrypted nor a list of further pieces


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a cluster's change log, for one path."""

    version: Version | None  # None: it was deleted, or moved away
    replicated: bool  # brought by replication, not by a client of this cluster
    pieces: tuple[Piece, ...] = ()
    inline: bytes = b""  # of a small file, where the filer keeps such ones itself
    found: bool = False  # has no line of its own: a later one says that it replaced this


@dataclass(frozen=True, slots=True)
class Side:
    """What one cluster holds under a path, and what its log says of it, oldest first."""

    version: Version | None
    log: Sequence[Change]

    def saw(self, version: Version) -> bool:
        """Tell whether ``version`` was here at some time in the window."""
        return any(change.version == version for change in self.log)


def with_origins(here: Sequence[Change], there: Sequence[Change]) -> list[Change]:
    """Return the log ``here``, and for what was only found in it whether the other's client had made it."""
    made_there = {change.version for change in there if not change.replicated and not change.found}
    return [replace(change, replicated=change.version in made_there) if change.found else change for change in here]


class Verdict(Enum):
    """Why a path differs."""

    SAME = "same"
    SOURCE_AHEAD = "source ahead"
    OTHER_AHEAD = "other ahead"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"


class Maker(Enum):
    """Who made what one side holds."""

    OWN = "own"
    OTHER = "other"
    BEFORE = "before"


def judge(source: Side, other: Side, *, since_ns: int) -> Verdict:
    """Return why the two sides of one path differ; ``UNKNOWN`` is never taken for nothing.

    Args:
        source: The cluster whose writes are asked for.
        other: The one that may lack them.
        since_ns: Where the window begins in which the logs were read.
    """
    if source.version is None and other.version is None:
        return Verdict.SAME
    if source.version is not None and source.version.same_bytes(other.version):
        return Verdict.SAME
    makers = (maker_of_side(source, other, since_ns), maker_of_side(other, source, since_ns))
    if makers == (Maker.OWN, Maker.OWN):
        return _judge_both_own(source, other)
    return _VERDICTS.get(makers, Verdict.UNKNOWN)


_VERDICTS = {
    (Maker.OWN, Maker.OTHER): Verdict.SOURCE_AHEAD,
    (Maker.OWN, Maker.BEFORE): Verdict.SOURCE_AHEAD,
    (Maker.OTHER, Maker.OWN): Verdict.OTHER_AHEAD,
    (Maker.BEFORE, Maker.OWN): Verdict.OTHER_AHEAD,
    # The versions crossed: each cluster holds what the other's client wrote.
    (Maker.OTHER, Maker.OTHER): Verdict.CONFLICT,
}


def _judge_both_own(source: Side, other: Side) -> Verdict:
    """Whose client saw the other's version first, and wrote over it, is ahead. Neither: they did not know."""
    source_arrived, other_arrived = _arrived(source, other), _arrived(other, source)
    if source_arrived == other_arrived:
        return Verdict.CONFLICT
    return Verdict.OTHER_AHEAD if source_arrived else Verdict.SOURCE_AHEAD


def _arrived(here: Side, there: Side) -> bool:
    if here.version is not None:
        return there.saw(here.version)
    return any(change.version is None and change.replicated for change in there.log)


def maker_of_side(here: Side, there: Side, since_ns: int) -> Maker:
    """Return who made what is ``here``."""
    if here.version is None:
        return _maker_of_nothing(here, there, since_ns)
    return _maker_of(here.version, here, there, since_ns)


def _maker_of(version: Version, here: Side, there: Side, since_ns: int) -> Maker:
    for change in reversed(here.log):
        if change.version == version:
            return Maker.OTHER if change.replicated else Maker.OWN
    for change in reversed(there.log):
        if change.version == version:
            return Maker.OWN if change.replicated else Maker.OTHER
    return Maker.OWN if version.modified_ns >= since_ns else Maker.BEFORE


def _maker_of_nothing(here: Side, there: Side, since_ns: int) -> Maker:
    """Who deleted it here; ``BEFORE`` where it never was."""
    if here.log and here.log[-1].version is None:
        return Maker.OTHER if here.log[-1].replicated else Maker.OWN
    if here.log or there.version is None:
        return Maker.OWN
    # The log says nothing. What the other's client made never came here; what is older, or came from here, was here.
    made_there = _maker_of(there.version, there, here, since_ns) is Maker.OWN
    return Maker.BEFORE if made_there else Maker.OWN
