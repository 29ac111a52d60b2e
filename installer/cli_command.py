"""How a command of ``teraferry-installer`` is made: its place, its console, its result or its error.

``cli`` and its siblings (``cli_keys`` ...) hold the commands themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from teraferry.bundles.system.console import output_options, run_command
from teraferry.installer.cli_executor import console_of
from teraferry.installer.cli_wiring import Place

DEFAULT_SITE_FILE = Path("/etc/teraferry/site.toml")
DEFAULT_STATE = Path("/var/lib/teraferry")

Result = Mapping[str, object]


def place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--site`` and ``--state``; both may stand before the command as well."""
    site = click.option(
        "--site", type=click.Path(path_type=Path), help=f"The site file; {DEFAULT_SITE_FILE} by default."
    )
    state = click.option("--state", type=click.Path(path_type=Path), help=f"State folder; {DEFAULT_STATE} by default.")
    return site(state(output_options(function)))


@click.group(help="Verify a kit, load it into the local registry and roll it out. Example: install /media/stick/KIT")
@click.option("--site", type=click.Path(path_type=Path), help=f"The site file; {DEFAULT_SITE_FILE} by default.")
@click.option("--state", type=click.Path(path_type=Path), help=f"State folder; {DEFAULT_STATE} by default.")
@click.pass_context
def main_group(context: click.Context, site: Path | None, state: Path | None) -> None:
    """Hold what stands before the command."""
    context.obj = Place(site or DEFAULT_SITE_FILE, state or DEFAULT_STATE)


def command(name: str, *, help: str, group: click.Group | None = None) -> Callable[..., Any]:
    """Make a click command of ``function(place, console, **arguments)``; its result is printed, its errors told."""
    title = name if group is None else f"{group.name} {name}"

    def decorate(function: Callable[..., Result]) -> click.Command:
        @click.pass_context
        def callback(
            context: click.Context,
            /,
            *,
            site: Path | None,
            state: Path | None,
            json: bool,
            quiet: bool,
            **arguments: Any,
        ) -> int:
            outer: Place = context.find_object(Place) or Place(DEFAULT_SITE_FILE, DEFAULT_STATE)
            place = Place(site or outer.site_file, state or outer.state)
            console = console_of(title, json=json, quiet=quiet)
            return run_command(title, console, lambda: function(place, console, **arguments))

        callback.__click_params__ = list(getattr(function, "__click_params__", []))  # type: ignore[attr-defined]
        made = click.command(name, help=help)(place_options(callback))
        (group or main_group).add_command(made)
        return made

    return decorate
