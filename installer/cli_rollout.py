"""The commands that bring a release in, or take it back: ``plan``, ``install``, ``load``, ``rollout``, ``rollback``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teraferry.bundles.errors import RefusedError, UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import CommandConsole
from teraferry.installer import cli_executor as executor
from teraferry.installer import cli_gates as gates
from teraferry.installer import cli_tiers as tiers
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.cli_command import Result, command
from teraferry.installer.cli_kit_registry import make_kit_registry
from teraferry.installer.cli_wiring import Place
from teraferry.installer.rollout.journal import head_of

if TYPE_CHECKING:
    from teraferry.installer.install import InstallReport
    from teraferry.installer.kit_registry.bring_up import KitRegistry
    from teraferry.installer.rollout.plan import Plan
    from teraferry.installer.verify import VerifiedBundle

KIT = click.argument("kit", type=click.Path(path_type=Path))
YES = click.option("--yes", is_flag=True, help="Do not ask.")
CHECK_REGISTRY = click.option(
    "--check-registry", is_flag=True, help="Read every blob back from the registry and compare its digest."
)
FOREGROUND = click.option("--foreground", is_flag=True, help="Do it in this process, which ends with this terminal.")
INSTEAD_OF = click.option(
    "--instead-of", metavar="HOLDER", default="", help="Take over a lost machine's locks on the nodes."
)
WAIT = click.option("--wait", metavar="TIME", default="0s", help="Wait so long (30m, 4h) for a compliance lock to go.")


@command("plan", help="Show what install would do, and what each gate sees now. Example: plan /media/stick/KIT")
@KIT
def plan(place: Place, console: CommandConsole, kit: Path) -> Result:
    from teraferry.installer.cli_key_wiring import guard_keys
    from teraferry.installer.rollout.foresee import foresee
    from teraferry.installer.rollout.runs import installed_version_of

    strategy, site = wiring.open_site(place, kit, console)
    bundle = wiring.verify_kit(place, kit, console, whole=False)
    journal = place.journal()
    made = tiers.make_plan(strategy.tier, bundle, site, journal.replay())
    keys = guard_keys(site, made, place, console, journal=journal)
    installed = installed_version_of(journal.replay())
    seen = foresee(
        bundle,
        made,
        outlook=tiers.make_outlook(site, made, bundle, console, keys=keys),
        registry=wiring.make_registry(site),
        kit_registry=make_kit_registry(site, place, console, journal=journal),
        compliance=gates.make_compliance(site),
        preflight=gates.make_preflight(site, made),
        state=place.state,
        installed=installed,
    )
    return {"tier": strategy.tier, "strategy": strategy.kind.value, **seen}


@command("install", help="Verify, load and roll out KIT; after an interruption it goes on. Example: install KIT --yes")
@KIT
@YES
@CHECK_REGISTRY
@FOREGROUND
@INSTEAD_OF
@WAIT
def install(place: Place, console: CommandConsole, kit: Path, **options: Any) -> Result:
    return _bring_in("install", place, console, kit=kit, **options)


@command(
    "rollout",
    help="Install a KIT whose images are in the registry already; nothing is loaded. Example: rollout KIT --yes",
)
@KIT
@YES
@FOREGROUND
@INSTEAD_OF
@WAIT
def rollout(place: Place, console: CommandConsole, kit: Path, **options: Any) -> Result:
    return _bring_in("rollout", place, console, kit=kit, **options)


def _bring_in(what: str, place: Place, console: CommandConsole, *, foreground: bool, **options: Any) -> Result:
    if executor.executor_folder() is None:
        _require_answerable(what, yes=options["yes"])
        if not foreground:
            return executor.run_apart(place, console)
    return _bring_in_here(what, place, console, **options)


def _bring_in_here(
    what: str, place: Place, console: CommandConsole, *, kit: Path, yes: bool, wait: str, instead_of: str, **more: bool
) -> Result:
    from teraferry.installer import install as service
    from teraferry.installer.cli_key_wiring import guard_keys
    from teraferry.installer.trust.accepted import accept_release

    stop_requested = executor.stop_requests()
    strategy, site = wiring.open_site(place, kit, console)
    compliance = gates.require_compliance(gates.make_compliance(site), wait, console, stop_requested=stop_requested)
    with wiring.locked_site(place):
        bundle = wiring.verify_or_hand_over(place, kit, console)
        journal = place.journal()
        made = tiers.make_plan(strategy.tier, bundle, site, journal.replay())
        kit_registry = make_kit_registry(site, place, console, journal=journal)
        _require_blobs(bundle, made, kit_registry)
        keys = guard_keys(site, made, place, console, journal=journal)
        parts = service.InstallParts(
            journal=journal,
            registry=wiring.make_registry(site),
            kit_registry=kit_registry,
            rollout=tiers.make_rollout(site, made, bundle, console, keys=keys, stop_requested=stop_requested),
            lock=wiring.make_lock(site, place, instead_of=instead_of),
            instead_of=instead_of,
            clock=now_utc,
            progress=console,
            jobs=wiring.LOAD_CONNECTIONS,
            check_registry=more.get("check_registry", False),
            loads=what == "install",
            accept_trust=lambda: accept_release(bundle.release, store=place.store(), journal=journal, now=now_utc()),
            confirm=lambda shown: _confirm(what, shown, console, yes=yes),
            require_compliance=compliance,
            require_nodes_ready=gates.make_preflight(site, made).require_ready,
            require_not_stopped=gates.require_not_stopped(stop_requested, changed=False),
        )
        report = service.install(bundle, made, parts)
        wiring.forget_old_programs()
    return {**release_fields(bundle), "tier": strategy.tier, **_report_fields(report)}


@command(
    "rollback",
    help="Take an interrupted install back, or go back to the release before; in tier 2 merge writes that waited. "
    "Example: rollback --yes",
)
@YES
@FOREGROUND
@INSTEAD_OF
def rollback(place: Place, console: CommandConsole, *, yes: bool, foreground: bool, instead_of: str) -> Result:
    if executor.executor_folder() is None:
        _require_answerable("rollback", yes=yes)
        if not foreground:
            return executor.run_apart(place, console)
    stop_requested = executor.stop_requests()
    strategy, site = wiring.open_site(place, None, console)
    with wiring.locked_site(place):
        done = tiers.roll_back(
            strategy.tier,
            site,
            place,
            console,
            lock=wiring.make_lock(site, place, instead_of=instead_of, may_miss=strategy.tier == tiers.BLUE_GREEN),
            confirm=lambda question: _agree("rollback", question, console, yes=yes),
            stop_requested=stop_requested,
        )
    return {"tier": strategy.tier, **done, "journal_head": head_of(place.journal().replay())}


@command("load", help="Verify KIT and load its images into the local registry. Example: load /media/stick/KIT")
@KIT
@CHECK_REGISTRY
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
            kit_registry=make_kit_registry(site, place, console, journal=journal),
        )
    return {
        "product": bundle.release.bundle.product,
        "version": bundle.release.bundle.version,
        "loaded_bytes": report.loaded_bytes,
        "skipped_bytes": report.skipped_bytes,
        "tags": list(report.tags),
    }


def _require_blobs(bundle: VerifiedBundle, made: Plan, kit_registry: KitRegistry | None) -> None:
    from teraferry.installer.verify import require_blobs

    program = None if kit_registry is None else kit_registry.program_of(bundle)
    own = [] if program is None else [program.digest]
    require_blobs(bundle, [*own, *(target.digest for target in made.targets)])


def release_fields(bundle: VerifiedBundle) -> dict[str, object]:
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
        **report.outcome,
    }


def _require_answerable(what: str, *, yes: bool) -> None:
    # Asked before the long work, not after it.
    if not yes and not sys.stdin.isatty():
        look, kit = ("status", "") if what == "rollback" else ("plan KIT", " KIT")
        raise UsageError(
            "confirmation-needed",
            f"{what}: no terminal to ask on, expected --yes",
            hint=f"Look at `teraferry-installer {look}`, then type: teraferry-installer {what}{kit} --yes",
        )


def _confirm(what: str, shown: Plan, console: CommandConsole, *, yes: bool) -> None:
    _agree(what, f"Roll out over {len(shown.nodes)} nodes ({', '.join(shown.nodes)})?", console, yes=yes)


def _agree(what: str, question: str, console: CommandConsole, *, yes: bool) -> None:
    if not yes and not executor.confirm(console, question):
        look = "status" if what == "rollback" else "plan KIT"
        raise RefusedError(
            "stopped-by-operator",
            f"{what}: answered no, expected yes",
            hint=f"Nothing was changed. Look at `teraferry-installer {look}`, then type the same command again.",
            exit_status=43,
        )
