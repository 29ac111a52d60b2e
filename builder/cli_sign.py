"""``teraferry sign`` and ``teraferry verify``: parse, wire, print. No decisions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import Console, output_options, run_command

if TYPE_CHECKING:
    from teraferry.builder.kit import Kit
    from teraferry.builder.sign import SigningOutcome
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The options of ``sign``, as typed."""

    kit: Path | None
    trust: Path | None
    keys: Sequence[str]
    desk_key: str | None
    request: Path | None
    since: Path | None
    answer: Path | None
    output: Path | None
    attach: Sequence[Path]
    yes: bool


@click.command(
    "sign",
    help="Sign KIT with each key. Once enough release keys have signed, the desk key closes the kit. Keys that lie "
    "elsewhere are asked with --request, sign with --answer there, and come back with --attach.",
    epilog="Example: teraferry sign terachat-4.2.0 --trust trust "
    "--key 'pkcs11:token=alice;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so'",
    short_help="Sign a kit.",
)
@click.argument("kit", metavar="KIT", required=False, type=_PATH)
@click.option("--trust", metavar="DIR", type=_PATH, help="The trust folder that trust init made.")
@click.option("--key", "keys", metavar="URI", multiple=True, help="A release key, or gpg:FINGERPRINT; may be repeated.")
@click.option("--desk-key", metavar="URI", help="The release desk's key.")
@click.option("--request", metavar="FILE", type=_PATH, help="Write what KIT still needs into FILE, to be sent.")
@click.option("--since", metavar="OLDKIT", type=_PATH, help="With --request: the signed kit to compare with.")
@click.option("--answer", metavar="FILE", type=_PATH, help="Answer the request FILE with --key; without kit or trust.")
@click.option(
    "-o", "--output", metavar="FILE", type=_PATH, help="With --answer: where to; FILE.KEYID.answer if absent."
)
@click.option("--attach", metavar="FILE", multiple=True, type=_PATH, help="Bring an answer back; may be repeated.")
@click.option("--yes", is_flag=True, help="With --answer: sign without asking.")
@output_options
def _sign(*, json: bool, quiet: bool, **typed: Any) -> int:
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command("sign", console, lambda: _sign_result(_Asked(**typed), console))


def _sign_result(asked: _Asked, console: Console) -> Mapping[str, object]:
    alone = [name for name, given in (("request", asked.request), ("answer", asked.answer)) if given is not None]
    if asked.answer is not None and (asked.kit or asked.trust or asked.attach or asked.desk_key or len(alone) > 1):
        raise _conflict("--answer", "--key, -o and --yes", "The request holds all there is to know of the kit.")
    if asked.request is not None and (asked.keys or asked.desk_key or asked.attach):
        raise _conflict("--request", "KIT, --trust and --since", "Sign with the keys that are here first.")
    if (asked.since and asked.request is None) or ((asked.output or asked.yes) and asked.answer is None):
        raise _conflict("sign", "--since with --request, -o and --yes with --answer", "Type: teraferry sign --help")
    if asked.answer is not None:
        return _answer_result(asked.answer, asked, console)
    if asked.kit is None or asked.trust is None:
        raise click.UsageError(f"Missing {'argument KIT' if asked.kit is None else 'option --trust'}.")
    if asked.request is not None:
        return _request_result(asked.kit, asked.trust, asked.request, since=asked.since, console=console)
    return _signed_result(asked.kit, asked.trust, asked, console=console)


def _signed_result(kit: Path, trust: Path, asked: _Asked, *, console: Console) -> Mapping[str, object]:
    # Imported where used: python-tuf, PKCS#11 and jinja2 cost every other command its start.
    from teraferry.builder.kit import locate_kit
    from teraferry.builder.sign import sign_kit
    from teraferry.builder.sign_answers import AnswerFile
    from teraferry.builder.sign_openpgp import split_openpgp
    from teraferry.builder.signing_room import SigningRoom
    from teraferry.bundles.limits import MAX_ANSWER_BYTES
    from teraferry.keys.signers import KeyRing
    from teraferry.keys.trust_folder import TrustFolder

    uris = [*asked.keys, *([asked.desk_key] if asked.desk_key else [])]
    if not uris and not asked.attach:
        raise UsageError(
            "key-needed",
            "sign: no key, expected --key, --desk-key or --attach",
            hint="Add --key URI for each person who signs here, or ask the others with --request FILE.",
        )
    answers = [AnswerFile(path.name, _read_small(path, "answer", MAX_ANSWER_BYTES)) for path in asked.attach]
    release_keys, openpgp_key = split_openpgp(asked.keys)
    with KeyRing(pin_source(uris, console)) as ring:
        room = SigningRoom(TrustFolder(trust), ring, console, now_utc())
        outcome = sign_kit(locate_kit(kit), room, keys=release_keys, desk_key=asked.desk_key, answers=answers)
    signed = [*outcome.signed, *_sign_openpgp(kit, openpgp_key, console)]
    return {**_shown(outcome, locate_kit(kit), console), "signed": signed}


def _shown(outcome: SigningOutcome, kit: Kit, console: Console) -> dict[str, object]:
    from teraferry.builder.sign_openpgp import missing_openpgp

    for notice in outcome.notices:
        console.say(notice.reference, notice.text)
    return {
        "product": outcome.product,
        "version": outcome.version,
        "sequence": outcome.sequence,
        "signed": list(outcome.signed),
        "missing": {**outcome.missing, **missing_openpgp(kit)},
        "awaited": [{"role": one.role, "key_id": one.key_id, "name": one.name} for one in outcome.awaited],
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


def _request_result(
    kit: Path, trust: Path, request: Path, *, since: Path | None, console: Console
) -> Mapping[str, object]:
    from teraferry.builder.kit import locate_kit
    from teraferry.builder.sign_request import request_signatures
    from teraferry.builder.signing_room import SigningRoom
    from teraferry.bundles.system.durable import write_durably
    from teraferry.keys.signers import KeyRing
    from teraferry.keys.trust_folder import TrustFolder

    with KeyRing(pin_source([], console)) as ring:
        room = SigningRoom(TrustFolder(trust), ring, console, now_utc())
        written = request_signatures(locate_kit(kit), room, since=None if since is None else locate_kit(since))
    write_durably(request, written.content)
    shown = _shown(written.outcome, locate_kit(kit), console)
    return {**shown, "request": str(request), "kind": written.opened.to_sign.kind, "digest": written.opened.digest}


def _answer_result(path: Path, asked: _Asked, console: Console) -> Mapping[str, object]:
    from teraferry.bundles.limits import MAX_REQUEST_BYTES
    from teraferry.bundles.system.durable import write_durably
    from teraferry.keys.room.answer import answer_request, encode_answer
    from teraferry.keys.room.request import open_request
    from teraferry.keys.signers import KeyRing

    if len(asked.keys) != 1:
        raise UsageError(
            "key-needed",
            f"sign --answer: {len(asked.keys)} keys, expected one --key",
            hint="Add --key URI, the key of the person who answers; each person answers with a file of their own.",
        )
    request = open_request(_read_small(path, "request", MAX_REQUEST_BYTES))
    _require_consent(request.text, asked, console)
    with KeyRing(pin_source(asked.keys, console)) as ring:
        answer = answer_request(request, ring.open(asked.keys[0]), now=now_utc())
    output = asked.output or path.with_name(f"{path.name}.{answer.key_id[:8]}.answer")
    write_durably(output, encode_answer(answer))
    bundle = request.to_sign.bundle
    return {
        "product": bundle.product,
        "version": bundle.version,
        "sequence": bundle.sequence,
        "signed": [answer.key_id],
        "missing": None,  # only the kit knows who else has answered
        "answer": str(output),
        "kind": answer.kind,
        "digest": request.digest,
    }


def _require_consent(text: str, asked: _Asked, console: Console) -> None:
    """Show what is signed and ask; with --yes just show it."""
    if asked.yes:
        console.say("signing-request", text)
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "confirmation-needed",
            "sign --answer: nobody to ask, expected a terminal or --yes",
            hint="Read the request, compare its digest with its sender, then add --yes.",
        )
    with console.paused():
        click.echo(text, err=True)
        if not click.confirm("Did you compare the digest, and do you sign this?", err=True):
            raise click.Abort


def _read_small(path: Path, what: str, limit_bytes: int) -> bytes:
    from teraferry.keys.metadata import read_capped

    content = read_capped(path, limit_bytes=limit_bytes)
    if content is None:
        raise UsageError(
            "signing-file-missing",
            f"signing {what} {path}: not there, expected a file",
            hint="Check the path. A request is written by sign --request, an answer by sign --answer.",
            facts={"path": str(path)},
        )
    return content


def _conflict(option: str, allowed: str, hint: str) -> UsageError:
    message = f"{option}: given with options that do not go with it, expected only {allowed}"
    return UsageError("options-conflict", message, hint=hint)


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
