"""``teraferry sign`` and ``teraferry verify``: parse, wire, print. No decisions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import Console, output_options, run_command

if TYPE_CHECKING:
    from teraferry.keys.uri import GpgUri

_PATH = click.Path(path_type=Path)


def register(group: click.Group) -> None:
    """Add ``sign`` and ``verify`` to ``group``."""
    group.add_command(_sign)
    group.add_command(_verify)


def pin_source(uris: Sequence[str], console: Console) -> Callable[[str], str]:
    """Return what asks for PINs in this process: the environment or the terminal."""
    from teraferry.builder.pins import choose_pin_source

    def prompt(what: str) -> str:
        with console.paused():
            return str(click.prompt(f"PIN of {what}", hide_input=True, err=True))

    return choose_pin_source(uris, os.environ, prompt if sys.stdin.isatty() else None)


@click.command(
    "sign",
    help="Sign KIT with each key. Once enough release keys have signed, the desk key closes the kit.",
    epilog="Example: teraferry sign terachat-4.2.0 --trust trust "
    "--key 'pkcs11:token=alice;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so'",
    short_help="Sign a kit.",
)
@click.argument("kit", metavar="KIT", type=_PATH)
@click.option("--trust", metavar="DIR", required=True, type=_PATH, help="The trust folder that trust init made.")
@click.option("--key", "keys", metavar="URI", multiple=True, help="A release key, or gpg:FINGERPRINT; may be repeated.")
@click.option("--desk-key", metavar="URI", help="The release desk's key.")
@output_options
def _sign(kit: Path, trust: Path, keys: Sequence[str], desk_key: str | None, *, json: bool, quiet: bool) -> int:
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command("sign", console, lambda: _sign_result(kit, trust, keys, desk_key=desk_key, console=console))


def _sign_result(
    kit: Path, trust: Path, keys: Sequence[str], *, desk_key: str | None, console: Console
) -> Mapping[str, object]:
    # Imported where used: python-tuf, PKCS#11 and jinja2 cost every other command its start.
    from teraferry.builder import sign_openpgp as openpgp
    from teraferry.builder.kit import locate_kit
    from teraferry.builder.sign import sign_kit
    from teraferry.builder.signing_room import SigningRoom
    from teraferry.keys.signers import KeyRing
    from teraferry.keys.trust_folder import TrustFolder

    uris = [*keys, *([desk_key] if desk_key else [])]
    if not uris:
        raise UsageError(
            "key-needed",
            "sign: no key, expected --key or --desk-key",
            hint="Add --key URI for each person who signs.",
        )
    release_keys, openpgp_key = openpgp.split_openpgp(keys)
    with KeyRing(pin_source(uris, console)) as ring:
        room = SigningRoom(TrustFolder(trust), ring, console, now_utc())
        outcome = sign_kit(locate_kit(kit), room, keys=release_keys, desk_key=desk_key)
    for notice in outcome.notices:
        console.say(notice.reference, notice.text)
    signed = [*outcome.signed, *_sign_openpgp(kit, openpgp_key, console)]
    return {
        "product": outcome.product,
        "version": outcome.version,
        "sequence": outcome.sequence,
        "signed": signed,
        "missing": {
            **{role: dict(count) for role, count in outcome.missing.items()},
            **openpgp.missing_openpgp(locate_kit(kit)),
        },
    }


def _sign_openpgp(kit: Path, key: GpgUri | None, console: Console) -> list[str]:
    from teraferry.builder.kit import locate_kit
    from teraferry.builder.pins import choose_passphrase
    from teraferry.builder.sign_openpgp import sign_openpgp

    if key is None:
        return []
    console.start("OpenPGP signature", detail=key.fingerprint)
    if sign_openpgp(locate_kit(kit), key, passphrase=lambda uri: choose_passphrase(uri, os.environ), now=now_utc()):
        return [f"gpg:{key.fingerprint}"]
    console.say("openpgp-key-waits", "The OpenPGP key signs once a release key has signed.")
    return []


@click.command(
    "verify",
    help="Check KIT as a site that pinned ROOT.json will. Reads everything, changes nothing.",
    epilog="Example: teraferry verify terachat-4.2.0 --root trust/1.root.json",
    short_help="Check a signed kit.",
)
@click.argument("kit", metavar="KIT", type=_PATH)
@click.option("--root", metavar="ROOT.json", required=True, type=_PATH, help="A root of your trust folder.")
@click.option("--openpgp-key", metavar="FILE", type=_PATH, help="Public OpenPGP key to check SHA256SUMS.asc with.")
@output_options
def _verify(kit: Path, root: Path, openpgp_key: Path | None, *, json: bool, quiet: bool) -> int:
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command("verify", console, lambda: _verify_result(kit, root, openpgp_key, console=console))


def _verify_result(kit: Path, root: Path, openpgp_key: Path | None, *, console: Console) -> Mapping[str, object]:
    from teraferry.builder.kit import locate_kit
    from teraferry.builder.verify_kit import verify_kit
    from teraferry.bundles.limits import MAX_ROOT_METADATA_BYTES
    from teraferry.keys.metadata import read_capped

    content = read_capped(root, limit_bytes=MAX_ROOT_METADATA_BYTES)
    if content is None:
        raise UsageError(
            "root-missing",
            f"root {root}: not there, expected a root of your trust folder",
            hint="Give --root the file N.root.json of the trust folder, not one from the kit.",
        )
    return verify_kit(locate_kit(kit), content, progress=console, now=now_utc(), openpgp_key=openpgp_key)
