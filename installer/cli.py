"""``teraferry-installer``: parse, wire, print, exit status. Decisions are made elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import CommandConsole, run_program
from teraferry.installer import cli_executor as executor
from teraferry.installer import cli_keys, cli_report, cli_rollout
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.adapters.lock import site_lock
from teraferry.installer.cli_command import Result, command, main_group
from teraferry.installer.cli_rollout import KIT, release_fields
from teraferry.installer.cli_wiring import Place
from teraferry.installer.rollout.journal import head_of

# Their commands are made when they are imported.
__all__ = ["cli_keys", "cli_report", "cli_rollout", "main", "main_group"]

PROGRAM = "teraferry-installer"


@command("verify", help="Read every byte of KIT and check it; changes nothing. Example: verify /media/stick/KIT")
@KIT
def verify(place: Place, console: CommandConsole, kit: Path) -> Result:
    bundle = wiring.verify_kit(place, kit, console, whole=True)
    return {**release_fields(bundle), "openpgp": bundle.release.openpgp}


@command("doctor", help="Probe everything site.toml names; each failure comes with its fix. Example: doctor")
def doctor(place: Place, console: CommandConsole) -> Result:
    from teraferry.installer.cli_doctor import examine

    return examine(place, console)


@command("status", help="Show what is installed, what is half done and what to type next. Example: status --follow")
@click.option("--follow", is_flag=True, help="Follow the install that runs here to its end; its status becomes ours.")
def status(place: Place, console: CommandConsole, *, follow: bool) -> Result:
    from teraferry.installer.status import status_of

    if follow and (outcome := executor.follow_running(place, console)) is not None:
        return outcome
    seen = status_of(place.journal().replay())
    running = executor.is_running(place)
    fields: dict[str, object] = {"release": seen.release, "state": seen.state, "next": seen.next, "running": running}
    if running:
        fields["next"] = "teraferry-installer status --follow"
    if seen.pending is not None:
        fields["pending"] = seen.pending
    if seen.keys_lost:
        fields["keys_lost"] = list(seen.keys_lost)
    if seen.half_done is not None:
        fields |= {
            "half_done": seen.half_done,
            "finished_nodes": list(seen.finished_nodes),
            "node_in_hand": seen.node_in_hand,
            "last_failure": seen.last_failure,
        }
    return fields


@command("stop", help="Halt the install that runs here after the step it is at; install goes on later. Example: stop")
def stop(place: Place, console: CommandConsole) -> Result:
    asked = executor.request_stop(place)
    text = "It halts after the step it is at." if asked else "No install runs here."
    console.say("stop", text)
    return {"asked": asked, "next": "teraferry-installer status" + (" --follow" if asked else "")}


@main_group.group("journal", help="The chain of evidence. Example: journal verify")
def journal_group() -> None:
    """Group."""


@command("verify", group=journal_group, help="Check that no entry is missing or changed. Example: journal verify")
def journal_verify(place: Place, console: CommandConsole) -> Result:
    entries = place.journal().replay()
    return {"entries": len(entries), "head": head_of(entries)}


@command("show", group=journal_group, help="Print every entry, oldest first. Example: journal show")
def journal_show(place: Place, console: CommandConsole) -> Result:
    entries = place.journal().replay()
    for entry in entries:
        text = f"{entry.sequence:5} {entry.time_utc} {entry.event:12} {entry.step} {dict(entry.facts)}"
        console.say("entry", text, sequence=entry.sequence, step=entry.step)
    return {"entries": len(entries), "head": head_of(entries)}


@main_group.group("trust", help="What this site trusts. Example: trust show")
def trust_group() -> None:
    """Group."""


@command(
    "pin",
    group=trust_group,
    help="Trust ROOT from now on; type the fingerprint that reached you on paper, not by the medium. "
    "Example: trust pin 1.root.json --fingerprint 3f9c...",
)
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--fingerprint", required=True, help="64 hex digits, from the printed sheet.")
@click.option("--replace", help="Fingerprint of the root that is pinned now and shall be trusted no longer.")
@click.option("--sequence", type=click.IntRange(min=0), help="With --replace: where the new root's releases begin.")
def trust_pin(
    place: Place, console: CommandConsole, root: Path, fingerprint: str, *, replace: str | None, sequence: int | None
) -> Result:
    from teraferry.installer.trust.pin import Replacement, pin_root

    if sequence is not None and replace is None:
        raise UsageError(
            "sequence-not-lower",
            "trust pin: --sequence without --replace, expected both",
            hint="Leave --sequence out: what this site accepted stays its floor.",
        )
    replacing = Replacement(replace, sequence) if replace is not None else None
    with site_lock(place.state):
        return pin_root(
            root, fingerprint, store=place.store(), journal=place.journal(), now=now_utc(), replacing=replacing
        )


@command("show", group=trust_group, help="Show the pinned root and the highest versions seen. Example: trust show")
def trust_show(place: Place, console: CommandConsole) -> Result:
    from teraferry.installer.trust.accepted import shown_trust

    return shown_trust(place.store(), place.journal())


def main() -> None:
    """Entry point."""
    sys.exit(run_program(main_group, sys.argv[1:], name=PROGRAM))


if __name__ == "__main__":
    main()
