"""``report`` and ``receipt``: evidence for people who were not there."""

from __future__ import annotations

from pathlib import Path

import click

from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import CommandConsole
from teraferry.bundles.system.durable import write_durably
from teraferry.installer.adapters.lock import site_lock
from teraferry.installer.cli_command import Result, command
from teraferry.installer.cli_wiring import Place


@command("report", help="Write what happened here as one HTML file. Example: report -o report.html")
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, help="The file to write.")
def report(place: Place, console: CommandConsole, output: Path) -> Result:
    from teraferry.installer.report.page import render_report
    from teraferry.installer.report.story import story_of

    story = story_of(place.journal().replay())
    try:
        write_durably(output, render_report(story))
    except OSError as error:
        raise UsageError(
            "report-not-written",
            f"report {output}: {error.strerror or error}, expected a place for a file",
            hint="Name another file with -o.",
            facts={"file": str(output)},
        ) from error
    console.say("report", f"{len(story.runs)} installs, {story.entries} entries: {output}")
    return {"report": str(output), "entries": story.entries, "head": story.head, "state": story.status.state}


@command(
    "receipt",
    help="Write a small signed file that says what is installed and what happened, to be carried home. "
    "Example: receipt -o /media/stick/hanoi-dc1.receipt",
)
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--new-key", is_flag=True, help="The site's key is lost for good: make a new one.")
def receipt(place: Place, console: CommandConsole, output: Path, *, new_key: bool) -> Result:
    from teraferry.installer.receipt.making import make_receipt
    from teraferry.installer.site.load import load_site_name

    site = load_site_name(place.site_file)
    with site_lock(place.state):
        made = make_receipt(
            output, site=site, state=place.state, journal=place.journal(), now=now_utc(), new_key=new_key
        )
    if made["number"] == 1 or new_key:
        console.say(
            "compare",
            f"Home enrolls this site by its key. Read this to them over the telephone: {made['fingerprint']}",
        )
    return made
