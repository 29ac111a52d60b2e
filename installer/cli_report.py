"""``report``: evidence for people who were not there."""

from __future__ import annotations

from pathlib import Path

import click

from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.console import CommandConsole
from teraferry.bundles.system.durable import write_durably
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
