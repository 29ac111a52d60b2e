"""``teraferry trust``: found a root, show it, change it. Parse, wire, print; no decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teraferry.builder.cli_sign import pin_source
from teraferry.builder.cli_trust_change import register_changes
from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import Console, output_options, run_command

if TYPE_CHECKING:
    from teraferry.keys.trust_folder import TrustFolder

_PATH = click.Path(path_type=Path)


def register(group: click.Group) -> None:
    """Add ``trust`` to ``group``."""
    group.add_command(_trust)
    register_changes(_trust)


@click.group("trust", help="Who may sign a release.", epilog="Example: teraferry trust show trust")
def _trust() -> None:
    """Hold the commands."""


@_trust.command(
    "init",
    help="Make a new root and the trust folder DIR. It holds public keys only.",
    epilog="Example: teraferry trust init trust --product terachat --root-key URI --root-key URI --root-threshold 2 "
    "--release-key URI --release-key URI --release-threshold 2 --desk-key URI --production",
    short_help="Make a new root.",
)
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--product", metavar="NAME", required=True, help="The product of release.toml.")
@click.option("--root-key", "root_keys", metavar="URI", multiple=True, required=True, help="May be repeated.")
@click.option("--root-threshold", metavar="K", type=int, required=True, help="How many root keys change the root.")
@click.option("--release-key", "release_keys", metavar="URI", multiple=True, required=True, help="May be repeated.")
@click.option("--release-threshold", metavar="K", type=int, required=True, help="How many sign a release.")
@click.option("--desk-key", metavar="URI", required=True, help="Signs snapshot and timestamp.")
@click.option("--expires", metavar="ROLE=DAYS", multiple=True, help="root 3650, targets 1825, others 365 by default.")
@click.option("--production", is_flag=True, help="Refuse keys that are not bound to their token.")
@output_options
def _init(folder: Path, *, json: bool, quiet: bool, **options: Any) -> int:
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command("trust init", console, lambda: _init_result(folder, options, console))


def _init_result(folder: Path, options: Mapping[str, Any], console: Console) -> Mapping[str, object]:
    from teraferry.keys.roots.ceremony import TrustPlan, init_trust
    from teraferry.keys.roots.shown import shown_root
    from teraferry.keys.signers import KeyRing
    from teraferry.keys.trust_folder import TrustFolder

    asked = {name: value for name, value in options.items() if name != "expires"}
    plan = TrustPlan(**asked, expires_days=_parse_expires(options["expires"]))
    uris = [*plan.root_keys, *plan.release_keys, plan.desk_key]
    with KeyRing(pin_source(uris, console)) as ring:
        root = init_trust(TrustFolder(folder), plan, ring, now=now_utc())
    return shown_root(root, TrustFolder(folder).load_state().names)


@_trust.command(
    "show",
    help="Show the newest root of the trust folder DIR: its roles, keys and fingerprint.",
    epilog="Example: teraferry trust show trust",
    short_help="Show the newest root.",
)
@click.argument("folder", metavar="DIR", type=_PATH)
@output_options
def _show(folder: Path, *, json: bool, quiet: bool) -> int:
    from teraferry.keys.trust_folder import TrustFolder

    console = Console.from_environment(json=json, quiet=quiet)
    return run_command("trust show", console, lambda: _show_result(TrustFolder(folder)))


def _show_result(folder: TrustFolder) -> Mapping[str, object]:
    from teraferry.keys.roots.shown import shown_root

    return shown_root(folder.load_root(), folder.load_state().names)


def _parse_expires(texts: Sequence[str]) -> dict[str, int]:
    days: dict[str, int] = {}
    for text in texts:
        role, _, count = text.partition("=")
        if not (count.isascii() and count.isdigit() and len(count) <= 6) or role in days:
            raise UsageError(
                "expiry-malformed",
                f"--expires {text[:40]!r}: expected ROLE=DAYS, each role once",
                hint="Write it as: --expires timestamp=365",
            )
        days[role] = int(count)
    return days
