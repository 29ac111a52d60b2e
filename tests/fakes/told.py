"""Progress that remembers what was told."""

from __future__ import annotations

from teraferry.bundles.errors import Fact
from teraferry.bundles.progress import Silent


class Told(Silent):
    """Remembers events and text."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.text = ""

    def say(self, event: str, text: str, **facts: Fact) -> None:
        self.events.append(event)
        self.text += f"{text}\n"
