"""``teraferry-installer``: parse, wire, print, exit status. Decisions are made elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teraferry.bundles.errors import RefusedError, UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import CommandConsole, run_program
from teraferry.installer import cli_executor as executor
from teraferry.installer import cli_gates as gates
from teraferry.installer import cli_keys
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.adapters.lock import site_lock
from teraferry.installer.cli_command import Result, command, main_group
from teraferry.installer.cli_wiring import Place
from teraferry.installer.rollout.journal import head_of

if TYPE_CHECKING:
    from teraferry.installer.install import InstallReport
    from teraferry.installer.rollout.plan import Plan
    from teraferry.installer.verify import VerifiedBundle

__all__ = ["cli_keys", "main", "main_group"]  # the commands of cli_keys are made when it is imported

PROGRAM = "teraferry-installer"
KIT = click.argument("kit", type=click.Path(path_type=Path))


@command("verify", help="Read every byte of KIT and check it; changes nothing. Example: verify /media/stick/KIT")
@KIT
def verify(place: Place, console: CommandConsole, kit: Path) -> Result:
    bundle = wiring.verify_kit(place, kit, console, whole=True)
    return {**_release_fields(bundle), "openpgp": bundle.release.openpgp}


@command("plan", help="Show what install would do, and what each gate sees now. Example: plan /media/stick/KIT")
@KIT
def plan(place: Place, console: CommandConsole, kit: Path) -> Result:
    from teraferry.installer.cli_key_wiring import guard_keys
    from teraferry.installer.rollout.foresee import foresee
    from teraferry.installer.rollout.plan import plan_rolling
    from teraferry.installer.rollout.runs import installed_version_of

    strategy, site = wiring.open_site(place, kit, console)
    bundle = wiring.verify_kit(place, kit, console, whole=False)
    made = plan_rolling(bundle.manifest, site)
    journal = place.journal()
    keys = guard_keys(site, made, place, console, journal=journal)
    rolling = wiring.make_rolling(site, made, bundle.pieces, console, keys=keys)
    installed = installed_version_of(journal.replay())
    seen = foresee(
        bundle,
        made,
        rolling=rolling,
        registry=wiring.make_registry(site),
        compliance=gates.make_compliance(site),
        state=place.state,
        installed=installed,
    )
    return {"tier": strategy.tier, "strategy": strategy.kind.value, **seen}


@command("install", help="Verify, load and roll out KIT; after an interruption it goes on. Example: install KIT --yes")
@KIT
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--check-registry", is_flag=True, help="Read every blob back from the registry and compare its digest.")
@click.option("--foreground", is_flag=True, help="Do it in this process, which ends with this terminal.")
@click.option("--instead-of", metavar="HOLDER", default="", help="Take over a lost machine's locks on the nodes.")
@click.option("--wait", metavar="TIME", default="0s", help="Wait so long (30m, 4h) for a compliance lock to go.")
def install(place: Place, console: CommandConsole, kit: Path, *, foreground: bool, **options: Any) -> Result:
    if executor.executor_folder() is None:
        _require_answerable(yes=options["yes"])
        if not foreground:
            return executor.run_apart(place, console)
    return _install_here(place, console, kit, **options)


def _install_here(
    place: Place, console: CommandConsole, kit: Path, *, yes: bool, check_registry: bool, wait: str, instead_of: str
) -> Result:
    from teraferry.installer import install as service
    from teraferry.installer.cli_key_wiring import guard_keys
    from teraferry.installer.rollout.plan import plan_rolling
    from teraferry.installer.trust.accepted import accept_release
    from teraferry.installer.verify import require_blobs

    stop_requested = executor.stop_requests()
    strategy, site = wiring.open_site(place, kit, console)
    compliance = gates.require_compliance(gates.make_compliance(site), wait, console, stop_requested=stop_requested)
    with wiring.locked_site(place):
        bundle = wiring.verify_or_hand_over(place, kit, console)
        made = plan_rolling(bundle.manifest, site)
        require_blobs(bundle, (target.digest for target in made.targets))
        journal = place.journal()
        keys = guard_keys(site, made, place, console, journal=journal)
        parts = service.InstallParts(
            journal=journal,
            registry=wiring.make_registry(site),
            rolling=wiring.make_rolling(site, made, bundle.pieces, console, keys=keys, stop_requested=stop_requested),
            lock=wiring.make_lock(site, place, instead_of=instead_of),
            instead_of=instead_of,
            clock=now_utc,
            progress=console,
            jobs=wiring.LOAD_CONNECTIONS,
            check_registry=check_registry,
            accept_trust=lambda: accept_release(bundle.release, store=place.store(), journal=journal, now=now_utc()),
            confirm=lambda shown: _confirm(shown, console, yes=yes),
            require_compliance=compliance,
            require_not_stopped=gates.require_not_stopped(stop_requested, changed=False),
        )
        report = service.install(bundle, made, parts)
        wiring.forget_old_programs()
    return {**_release_fields(bundle), "tier": strategy.tier, **_report_fields(report)}


@command("load", help="Verify KIT and load its images into the local registry. Example: load /media/stick/KIT")
@KIT
@click.option("--check-registry", is_flag=True, help="Read every blob back from the registry and compare its digest.")
def load(place: Place, console: CommandConsole, kit: Path, *, check_registry: bool) -> Result:
    from teraferry.installer import load as service
    from teraferry.installer.trust.accepted import accept_release

    _, site = wiring.open_site(place, kit, console)
    with wiring.locked_site(place):
        bundle = wiring.verify_or_hand_over(place, kit, console)
        journal = place.journal()
        report = service.load(
            bundle,
            wiring.make_registry(site),
            journal=journal,
            clock=now_utc,
            accept_trust=lambda: accept_release(bundle.release, store=place.store(), journal=journal, now=now_utc()),
            jobs=wiring.LOAD_CONNECTIONS,
            progress=console,
            check_registry=check_registry,
        )
    return {
        "product": bundle.release.bundle.product,
        "version": bundle.release.bundle.version,
        "loaded_bytes": report.loaded_bytes,
        "skipped_bytes": report.skipped_bytes,
        "tags": list(report.tags),
    }


@command("doctor", help="Probe everything site.toml names; each failure comes with its fix. Example: doctor")
def doctor(place: Place, console: CommandConsole) -> Result:
    from teraferry.installer.cli_doctor import examine

    return examine(place, console)


@command("status", help="Show what is installed, what is half done and what to type next. Example: status --follow")
@click.option("--follow", is_flag=True, help="Follow the install that runs here to its end; its status becomes ours.")
def status(place: Place, console: CommandConsole, *, follow: bool) -> Result:
    from teraferry.installer.status import status_of

    if follow and (outcome := executor.follow_running(place, console)) is not None:
        return outcome
    seen = status_of(place.journal().replay())
    running = executor.is_running(place)
    fields: dict[str, object] = {"release": seen.release, "state": seen.state, "next": seen.next, "running": running}
    if running:
        fields["next"] = "teraferry-installer status --follow"
    if seen.keys_lost:
        fields["keys_lost"] = list(seen.keys_lost)
    if seen.half_done is not None:
        fields |= {
            "half_done": seen.half_done,
            "finished_nodes": list(seen.finished_nodes),
            "node_in_hand": seen.node_in_hand,
            "last_failure": seen.last_failure,
        }
    return fields


@command("stop", help="Halt the install that runs here after the step it is at; install goes on later. Example: stop")
def stop(place: Place, console: CommandConsole) -> Result:
    asked = executor.request_stop(place)
    text = "It halts after the step it is at." if asked else "No install runs here."
    console.say("stop", text)
    return {"asked": asked, "next": "teraferry-installer status" + (" --follow" if asked else "")}


@main_group.group("journal", help="The chain of evidence. Example: journal verify")
def journal_group() -> None:
    """Group."""


@command("verify", group=journal_group, help="Check that no entry is missing or changed. Example: journal verify")
def journal_verify(place: Place, console: CommandConsole) -> Result:
    entries = place.journal().replay()
    return {"entries": len(entries), "head": head_of(entries)}


@command("show", group=journal_group, help="Print every entry, oldest first. Example: journal show")
def journal_show(place: Place, console: CommandConsole) -> Result:
    entries = place.journal().replay()
    for entry in entries:
        text = f"{entry.sequence:5} {entry.time_utc} {entry.event:12} {entry.step} {dict(entry.facts)}"
        console.say("entry", text, sequence=entry.sequence, step=entry.step)
    return {"entries": len(entries), "head": head_of(entries)}


@main_group.group("trust", help="What this site trusts. Example: trust show")
def trust_group() -> None:
    """Group."""


@command(
    "pin",
    group=trust_group,
    help="Trust ROOT from now on; type the fingerprint that reached you on paper, not by the medium. "
    "Example: trust pin 1.root.json --fingerprint 3f9c...",
)
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--fingerprint", required=True, help="64 hex digits, from the printed sheet.")
@click.option("--replace", help="Fingerprint of the root that is pinned now and shall be trusted no longer.")
@click.option("--sequence", type=click.IntRange(min=0), help="With --replace: where the new root's releases begin.")
def trust_pin(
    place: Place, console: CommandConsole, root: Path, fingerprint: str, *, replace: str | None, sequence: int | None
) -> Result:
    from teraferry.installer.trust.pin import Replacement, pin_root

    if sequence is not None and replace is None:
        raise UsageError(
            "sequence-not-lower",
            "trust pin: --sequence without --replace, expected both",
            hint="Leave --sequence out: what this site accepted stays its floor.",
        )
    replacing = Replacement(replace, sequence) if replace is not None else None
    with site_lock(place.state):
        return pin_root(
            root, fingerprint, store=place.store(), journal=place.journal(), now=now_utc(), replacing=replacing
        )


@command("show", group=trust_group, help="Show the pinned root and the highest versions seen. Example: trust show")
def trust_show(place: Place, console: CommandConsole) -> Result:
    from teraferry.installer.trust.accepted import shown_trust

    return shown_trust(place.store(), place.journal())


def main() -> None:
    """Entry point."""
    sys.exit(run_program(main_group, sys.argv[1:], name=PROGRAM))


def _release_fields(bundle: VerifiedBundle) -> dict[str, object]:
    signed = bundle.release.bundle
    return {
        "product": signed.product,
        "version": signed.version,
        "signers": list(bundle.release.signers),
        "chunks": len(bundle.reader.index.chunks),
        "sha256": signed.digest.removeprefix("sha256:"),
    }


def _report_fields(report: InstallReport) -> dict[str, object]:
    return {
        "nodes": list(report.nodes),
        "loaded_bytes": report.load.loaded_bytes,
        "skipped_bytes": report.load.skipped_bytes,
        "journal_head": report.journal_head,
        "resumed": report.resumed,
    }


def _require_answerable(*, yes: bool) -> None:
    # Asked before the long work, not after it.
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            "confirmation-needed",
            "install: no terminal to ask on, expected --yes",
            hint="Look at `teraferry-installer plan KIT`, then type: teraferry-installer install KIT --yes",
        )


def _confirm(shown: Plan, console: CommandConsole, *, yes: bool) -> None:
    if yes:
        return
    if not executor.confirm(console, f"Roll out over {len(shown.nodes)} nodes ({', '.join(shown.nodes)})?"):
        raise RefusedError(
            "stopped-by-operator",
            "install: answered no, expected yes",
            hint="Nothing was changed. Look at `teraferry-installer plan KIT`, then type the same command again.",
            exit_status=43,
        )


if __name__ == "__main__":
    main()
