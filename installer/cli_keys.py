"""``keys``: the keys that must survive, looked at by hand."""

from __future__ import annotations

import click

from teraferry.bundles.errors import RefusedError, UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import CommandConsole
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.adapters.lock import site_lock
from teraferry.installer.cli_command import Result, command, main_group
from teraferry.installer.cli_wiring import Place
from teraferry.installer.rollout.execute import RunRecord
from teraferry.installer.site.load import load_site
from teraferry.installer.site.model import Site

BY_HAND = ""
"""The run that entries belong to which no rollout wrote."""


@main_group.group("keys", help="Keys that must survive everything. Example: keys check")
def keys_group() -> None:
    """Group."""


@command("snapshot", group=keys_group, help="Record the keys of site.toml as they are now. Example: keys snapshot")
@click.option("--accept", multiple=True, metavar="NAME", help="Record this key anew, though it is lost or changed.")
@click.option("--reason", default="", help="With --accept: why; it stays in the journal.")
def keys_snapshot(place: Place, console: CommandConsole, *, accept: tuple[str, ...], reason: str) -> Result:
    from teraferry.installer.cli_key_wiring import BACKUPS_NAME, make_watch
    from teraferry.installer.key_commands import record_keys

    if bool(accept) != bool(reason.strip()):
        raise UsageError(
            "reason-needed",
            "keys snapshot: --accept and --reason, expected both or none",
            hint='Type: teraferry-installer keys snapshot --accept NAME --reason "who decided it and why"',
        )
    site = _open_site(place)
    with site_lock(place.state):
        journal = place.journal()
        record = RunRecord(journal, run=BY_HAND, clock=now_utc)
        backups = place.state / BACKUPS_NAME
        return record_keys(make_watch(site), journal, record, backups=backups, accept=accept, reason=reason)


@command("check", group=keys_group, help="Compare the keys with their record; settles an alarm. Example: keys check")
def keys_check(place: Place, console: CommandConsole) -> Result:
    from teraferry.installer.cli_key_wiring import make_watch
    from teraferry.installer.key_commands import check_keys

    site = _open_site(place)
    with site_lock(place.state):
        journal = place.journal()
        return check_keys(make_watch(site), journal, RunRecord(journal, run=BY_HAND, clock=now_utc))


@command(
    "conformance",
    group=keys_group,
    help="Try the site's own key program out: does it keep the protocol? Example: keys conformance Enclave_Key",
)
@click.argument("name")
def keys_conformance(place: Place, console: CommandConsole, name: str) -> Result:
    from teraferry.installer.cli_key_wiring import command_key, fresh_nonce, transport_to
    from teraferry.keys.stores.conformance import try_program

    site = _open_site(place)
    key = next((key for key in site.keys if key.name == name and key.store == "command"), None)
    if key is None:
        raise UsageError(
            "key-unknown",
            f"key {name[:80]}: no [[key]] with a command, expected the name of one",
            hint='Give it in site.toml with store = "command".',
        )
    tried = try_program(command_key(key), transport_to(site, key.node), nonce=fresh_nonce)
    for each in tried:
        console.say(
            "check", f"{'FAIL' if each.problem else 'ok  '} {each.name}" + (f": {each.problem}" * bool(each.problem))
        )
    failed = [f"{each.name}: {each.problem}" for each in tried if each.problem]
    if failed:
        raise RefusedError(
            "key-program-fails",
            f"program of key {name}: {len(failed)} of {len(tried)} rules broken, expected none",
            hint="Mend the program: docs/keys.md, section 'A store of your own'. Do not use it as it is.",
            facts={"failed": failed},
        )
    return {"rules": len(tried)}


def _open_site(place: Place) -> Site:
    """Return the site; its tier does not matter here. From here on no other host is reached."""
    site = load_site(place.site_file, kit=None)
    wiring.guard_egress(site)
    return site
