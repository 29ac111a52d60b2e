"""A receipt in the words of a person. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from teraferry.bundles.receipt import InstalledRelease, Receipt, ReceiptRun

_OUTCOMES = {
    "done": "done",
    "rolled-back": "ROLLED BACK, the old release serves",
    "half-done": "HALF DONE",
    "superseded": "given up for another release",
}


def words_of(receipt: Receipt) -> str:
    """Return the receipt as lines, the state of the site first."""
    return "\n".join(_lines(receipt))


def _lines(receipt: Receipt) -> Iterator[str]:
    yield f"Receipt {receipt.number} of site {receipt.site.name}, made {_moment(receipt.made_utc)} by the site's clock."
    yield f"State: {receipt.state}."
    yield from (f"KEY LOST: {key.key} on {key.node}." for key in receipt.keys_lost)
    if receipt.pending is not None:
        count = "how many cannot be told" if receipt.pending.count is None else f"{receipt.pending.count} of them"
        yield f"WRITES WAIT FOR RECOVERY on {receipt.pending.cluster}: {count}."
    if receipt.conflicts:
        yield "WRITTEN ON BOTH CLUSTERS, and nobody is known to have resolved it."
    yield "Installed:" if receipt.installed else "Installed: nothing."
    yield from (f"  {_installed(row)}" for row in receipt.installed)
    since = f"since receipt {receipt.number - 1}" if receipt.number > 1 else "so far"
    yield f"What happened {since}:" if receipt.runs else f"Nothing was installed {since}."
    if receipt.runs_left_out:
        yield f"  {receipt.runs_left_out} earlier runs, which this receipt has no room for"
    yield from (f"  {_run(run)}" for run in receipt.runs)
    yield f"Journal: {receipt.journal.entries} entries, head {receipt.journal.head}."


def _installed(row: InstalledRelease) -> str:
    where = "" if row.cluster is None else f" on {row.cluster}, which {'stands' if row.stands else 'stands by'}"
    return f"{row.product} {row.version}{where} (number {row.sequence}, bundle {row.bundle})"


def _run(run: ReceiptRun) -> str:
    what = f"{run.kind} of {run.product} {run.version}" if run.product else f"{run.kind} to what was there before"
    until = f" to {_moment(run.ended_utc)}" if run.ended_utc else ""
    trouble = f"; on the way: {run.trouble}" if run.trouble else ""
    return f"{_moment(run.began_utc)}{until}: {what}: {_OUTCOMES[run.outcome]}{trouble}"


def _moment(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z")
