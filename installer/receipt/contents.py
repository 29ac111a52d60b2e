"""What a receipt says of a site: read from its journal alone. Pure.

The state as it is now, and what happened since the receipt before. Free text of the journal (messages, paths, what a
probe answered) stays at the site: a receipt travels, and the report is there for whoever asks for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from teraferry.bundles import receipt as form
from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import OperatorNeededError, TrustError
from teraferry.bundles.limits import MAX_EARLIER_RECEIPTS, MAX_RECEIPT_KEYS, MAX_RECEIPT_RUNS
from teraferry.installer.load import LOADED, LOADING
from teraferry.installer.ports import Entry
from teraferry.installer.rollout import blue_green_journal as blue_green
from teraferry.installer.rollout.execute import ENDED, FAILED, STARTED
from teraferry.installer.rollout.journal import head_of
from teraferry.installer.rollout.key_journal import alarms_of
from teraferry.installer.rollout.runs import SUPERSEDED, installed_releases_of
from teraferry.installer.status import status_of

MADE: Final = "receipt-made"
_CLUSTERS: Final = ("blue", "green")


def receipt_of(entries: Sequence[Entry], *, site: form.ReceiptSite, now: datetime) -> form.Receipt:
    """Return the receipt of a journal whose chain was verified.

    Raises:
        OperatorNeededError: ``journal-corrupt``, 62: an entry says what ours never say.
    """
    before = [entry for entry in entries if entry.event == MADE]
    since = before[-1].sequence if before else 0
    runs = _runs_since(entries, since)
    pending = blue_green.pending_of(entries)
    values: dict[str, Any] = {
        "format": 1,
        "kind": "receipt",
        "number": len(before) + 1,
        "made_utc": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "site": {"name": site.name, "key": site.key},
        "state": status_of(entries).state,
        "installed": _installed(entries),
        "runs": runs[-MAX_RECEIPT_RUNS:],
        "runs_left_out": len(runs[:-MAX_RECEIPT_RUNS]),
        "pending": {"cluster": pending.cluster, "count": pending.count} if pending else None,
        "conflicts": blue_green.conflict_marker_of(entries) is not None,
        "keys_lost": [{"key": each.key, "node": each.node} for each in alarms_of(entries)][:MAX_RECEIPT_KEYS],
        "journal": {"entries": len(entries), "head": head_of(entries)},
        "earlier": [_earlier(entry) for entry in before[-MAX_EARLIER_RECEIPTS:]],
    }
    return _checked(values)


def key_named_in(entries: Sequence[Entry]) -> str | None:
    """Return the fingerprint of the key that signed the last receipt; None before the first."""
    made = [entry for entry in entries if entry.event == MADE]
    return str(made[-1].facts.get("key")) if made else None


def facts_of_made(number: int, receipt: Digest, key: str) -> Mapping[str, object]:
    """Return the facts of the entry that says a receipt was made; the next receipt names it from there."""
    return {"number": number, "receipt": receipt, "key": key}


def _earlier(made: Entry) -> dict[str, object]:
    # The entry's own link is the head that its receipt quoted: the chain was verified, so it is the line before it.
    return {
        "receipt": made.facts.get("receipt"),
        "journal": {"entries": made.sequence - 1, "head": made.previous},
    }


def _installed(entries: Sequence[Entry]) -> list[dict[str, object]]:
    releases = installed_releases_of(entries)
    if not any("standby" in facts for facts in releases):
        return [_release(facts, cluster=None, stands=True) for facts in releases]
    standing = blue_green.committed_of(entries).cluster
    brought = {cluster: blue_green.brought_to(entries, cluster) for cluster in _CLUSTERS}
    return [_release(facts, cluster=name, stands=name == standing) for name, facts in brought.items() if facts]


def _release(facts: Mapping[str, object], *, cluster: str | None, stands: bool) -> dict[str, object]:
    named = {name: facts.get(name) for name in ("product", "version", "sequence", "bundle")}
    return {**named, "cluster": cluster, "stands": stands}


def _runs_since(entries: Sequence[Entry], since: int) -> list[dict[str, object]]:
    """Return every run with an entry after number ``since``, in the order in which they began."""
    began = {entry.run: entry for entry in reversed(entries) if entry.event in (STARTED, LOADING)}
    own: dict[str, list[Entry]] = {run: [] for run in reversed(began)}
    for entry in entries:
        if entry.run in own:
            own[entry.run].append(entry)
    superseded = {str(entry.facts.get("superseded")) for entry in entries if entry.event == SUPERSEDED}
    touched = superseded & {str(entry.facts.get("superseded")) for entry in entries[since:]}
    return [
        _run(began[run], lines, is_superseded=run in superseded)
        for run, lines in own.items()
        if lines[-1].sequence > since or run in touched
    ]


def _run(first: Entry, lines: Sequence[Entry], *, is_superseded: bool) -> dict[str, object]:
    end = next((entry for entry in lines if entry.event in (ENDED, LOADED)), None)
    failed = [entry.facts.get("reference") for entry in lines if entry.event == FAILED]
    if end is None:
        outcome: object = "superseded" if is_superseded else "half-done"
    else:
        outcome = "done" if end.event == LOADED else end.facts.get("outcome")
    is_back = first.run.startswith(blue_green.BACKWARDS)
    return {
        "run": first.run,
        "kind": "load" if first.event == LOADING else "rollback" if is_back else "install",
        **{name: first.facts.get(name) for name in ("product", "version", "bundle")},
        "outcome": outcome,
        "began_utc": _moment(lines[0]),
        "ended_utc": _moment(end) if end is not None else None,
        "trouble": failed[-1] if failed else None,
    }


def _moment(entry: Entry) -> str:
    return f"{entry.time_utc[:19]}Z"


def _checked(values: Mapping[str, object]) -> form.Receipt:
    """Return the receipt if a reader would take it: what is refused at home months later helps nobody."""
    try:
        return form.make_receipt(values)
    except TrustError as error:
        raise OperatorNeededError(
            "journal-corrupt",
            f"journal: no receipt can say what it says ({error.message}), expected entries that TeraFerry wrote",
            hint="Keep the file as evidence and call your support; nothing is rolled out on a broken journal.",
            exit_status=62,
        ) from error
