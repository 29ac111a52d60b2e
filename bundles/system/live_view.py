"""The live view of a terminal, drawn by rich. Imported only where there is a terminal.

Not safe by itself: the console calls it under its own lock and from its own ticker, since
rich's refresh thread and ours would wait for each other's locks.
"""

from __future__ import annotations

from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class LiveView:
    """A few lines at the foot of the terminal; what is told scrolls above them."""

    def __init__(self, stream: TextIO, *, color: bool) -> None:
        self._console = Console(
            file=stream, force_terminal=True, no_color=not color, highlight=False, markup=False, emoji=False
        )
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def draw(self, headline: str, *, share: float | None, figures: str, notes: list[str]) -> None:
        """Show a phase: its name, how much is done (0..1; None: unknown), figures, notes below."""
        self._live.start()
        self._live.update(_picture(headline, share=share, figures=figures, notes=notes), refresh=True)

    def tell(self, line: str) -> None:
        """Print a line that stays, above the view."""
        self._console.print(Text(line), soft_wrap=True)

    def stop(self) -> None:
        """Take the view away and give the cursor back."""
        self._live.stop()


def _picture(headline: str, *, share: float | None, figures: str, notes: list[str]) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(width=24)
    row.add_column(no_wrap=True, overflow="ellipsis")
    bar: RenderableType = Text("")
    if share is not None:
        bar = ProgressBar(total=1.0, completed=share, width=24)
    row.add_row(Text(headline, style="bold"), bar, Text(figures))
    lines = [Text(f"  {note}", style="dim", no_wrap=True, overflow="ellipsis") for note in notes]
    return Group(row, *lines)
