"""``teraferry receipt``: parse, wire, print. No decisions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teraferry.bundles.system.console import Console, output_options, run_command

if TYPE_CHECKING:
    from teraferry.builder.receipts import SeenReceipt
    from teraferry.builder.sites_folder import SitesFolder

_PATH = click.Path(path_type=Path)
_FILE = click.argument("file", metavar="FILE", type=_PATH)


def register(group: click.Group) -> None:
    """Add ``receipt`` to ``group``."""
    group.add_command(_receipt)


def _sites_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--sites",
        metavar="DIR",
        type=_PATH,
        help="Where keys and receipts of sites are kept; ~/.local/share/teraferry/sites by default.",
    )(function)


@click.group("receipt", help="What sites hand back.", epilog="Example: teraferry receipt show hanoi-dc1.receipt")
def _receipt() -> None:
    """Hold the commands."""


@_receipt.command(
    "enroll",
    help="Trust the key that signed the receipt FILE for its site from now on. Compare the fingerprint that is printed "
    "with what the site's admin reads to you over the telephone.",
    epilog="Example: teraferry receipt enroll hanoi-dc1.receipt",
    short_help="Trust a site's key.",
)
@_FILE
@_sites_option
@click.option("--replace", metavar="HEX", help="Fingerprint of the key that is trusted now and shall be no longer.")
@output_options
def _enroll(file: Path, sites: Path | None, replace: str | None, *, json: bool, quiet: bool) -> int:
    from teraferry.builder.receipts import enroll_site

    console = Console.from_environment(json=json, quiet=quiet)

    def action() -> Mapping[str, object]:
        seen = enroll_site(file, _folder(sites), replace=replace)
        _tell(seen, console)
        console.say(
            "compare",
            f"Now compare with the site, over the telephone: {seen.fingerprint}\nIf it differs, remove what was kept.",
            fingerprint=seen.fingerprint,
        )
        return seen.fields()

    return run_command("receipt enroll", console, action)


@_receipt.command(
    "show",
    help="Check the receipt FILE: its signature, and that the site's journal continues what every receipt seen before "
    "says of it. Then print it in words, and keep it.",
    epilog="Example: teraferry receipt show hanoi-dc1.receipt",
    short_help="Check and print a receipt.",
)
@_FILE
@_sites_option
@click.option("--site-key", metavar="PEM", type=_PATH, help="The site's public key, in place of the enrolled one.")
@output_options
def _show(file: Path, sites: Path | None, site_key: Path | None, *, json: bool, quiet: bool) -> int:
    from teraferry.builder.receipts import show_receipt

    console = Console.from_environment(json=json, quiet=quiet)

    def action() -> Mapping[str, object]:
        seen = show_receipt(file, _folder(sites), site_key=site_key)
        _tell(seen, console)
        return seen.fields()

    return run_command("receipt show", console, action)


def _folder(sites: Path | None) -> SitesFolder:
    from teraferry.builder.sites_folder import SitesFolder

    # XDG Base Directory Specification 0.8: an empty or relative value counts as unset.
    data = os.environ.get("XDG_DATA_HOME", "")
    home = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return SitesFolder(sites or home / "teraferry" / "sites")


def _tell(seen: SeenReceipt, console: Console) -> None:
    from teraferry.builder.receipt_words import words_of

    console.say("receipt", words_of(seen.receipt), number=seen.receipt.number, site=seen.receipt.site.name)
    if seen.kept is None:
        console.say("not-compared", "This site is not enrolled here: compared with no earlier receipt, and not kept.")
    if seen.broken:
        console.say("receipt-chain-broken", f"It does not continue what the old key signed. {seen.broken}")
    if seen.never_seen:
        numbers = ", ".join(map(str, seen.never_seen))
        console.say("never-seen", f"Receipts that were never shown here: {numbers}. The chain holds without them.")
