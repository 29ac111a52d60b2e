"""Kinds of values that site.toml holds, in whatever table. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
"""Names of sites and nodes stand in file names, journal lines and terminals: nothing to escape, bounded."""

Seconds = Annotated[int, msgspec.Meta(ge=0, le=86_400)]
"""Up to a day; a longer pause is a mistake of units."""

Argv = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=256)]
"""A command as a list of words; never a line for a shell."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]

Unit = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}\Z")]
"""A systemd unit."""

Role = Literal["volume", "master", "filer", "app", "gateway"]
"""A gateway switches traffic, and runs nothing of a release."""
