"""The report as one HTML file: it links to nothing, runs nothing, and is the same for the same journal."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from teraferry.installer.report.story import Story

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render_report(story: Story) -> bytes:
    """Return the page. Whatever the journal holds is shown as text, never as markup."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(story=story, status=story.status)
    return page.encode("utf-8", errors="replace") + b"\n"
