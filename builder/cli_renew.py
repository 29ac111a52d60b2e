"""``teraferry renew``: parse, wire, print. No decisions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from teraferry.builder.cli_sign import pin_source
from teraferry.bundles import layout
from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import Console, output_options, run_command

_PATH = click.Path(path_type=Path)
_FORMS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d")


def register(group: click.Group) -> None:
    """Add ``renew`` to ``group``."""
    group.add_command(_renew)


@click.command(
    "renew",
    help="Give a signed KIT, or a folder with its metadata, a later expiry. Only snapshot and timestamp change.",
    epilog="Example: teraferry renew terachat-4.2.0 --trust trust --until 2028-12-31 "
    "--desk-key 'pkcs11:token=desk;object=desk?module-path=/usr/lib/softhsm/libsofthsm2.so'",
    short_help="Give a kit a later expiry.",
)
@click.argument("kit", metavar="KIT", type=_PATH)
@click.option("--trust", metavar="DIR", required=True, type=_PATH, help="The trust folder that trust init made.")
@click.option("--until", metavar="DATE", required=True, help="YYYY-MM-DD, to the end of that day UTC.")
@click.option("--desk-key", metavar="URI", required=True, help="The release desk's key.")
@output_options
def _renew(kit: Path, *, trust: Path, until: str, desk_key: str, json: bool, quiet: bool) -> int:
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command(
        "renew", console, lambda: _renew_result(kit, trust, _parse_until(until), desk_key=desk_key, console=console)
    )


def _renew_result(kit: Path, trust: Path, until: datetime, *, desk_key: str, console: Console) -> Mapping[str, object]:
    from teraferry.builder.renew import renew_kit
    from teraferry.builder.signing_room import SigningRoom
    from teraferry.keys.signers import KeyRing
    from teraferry.keys.trust_folder import TrustFolder

    folder = kit.parent if kit.is_file() else kit
    with KeyRing(pin_source([desk_key], console)) as ring:
        room = SigningRoom(TrustFolder(trust), ring, console, now_utc())
        renewal = renew_kit(folder, room, until=until, desk_key=desk_key)
    for notice in renewal.notices:
        console.say(notice.reference, notice.text)
    return {
        "product": renewal.bundle.product,
        "version": renewal.bundle.version,
        "sequence": renewal.bundle.sequence,
        "expires": renewal.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "metadata_version": renewal.metadata_version,
        "changed": [str(folder / layout.METADATA_DIR / name) for name in renewal.changed],
    }


def _parse_until(text: str) -> datetime:
    for form in _FORMS:
        try:
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return moment if "T" in text else moment.replace(hour=23, minute=59, second=59)
    raise UsageError(
        "until-malformed",
        f"--until {text[:40]!r}: not a date, expected YYYY-MM-DD",
        hint="Write it as: --until 2028-12-31",
    )
