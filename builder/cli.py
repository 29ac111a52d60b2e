"""``teraferry``, the command of the connected side: parse, wire, print, exit status. No decisions.

Signing, trust and the installer file have modules of their own (``cli_*.py``), registered below.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from teraferry import __version__
from teraferry.builder import cli_freeze, cli_receipt, cli_renew, cli_sign, cli_trust
from teraferry.builder.inspect import inspect_kit
from teraferry.builder.new import create_project
from teraferry.builder.pack import build_kit
from teraferry.builder.project import load_project, lock_of, require_site_references, resolve_unlocked, store_lock
from teraferry.bundles.digest import hex_of
from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.clock import monotonic_seconds
from teraferry.bundles.system.console import Console, output_options, run_command, run_program

_PROGRAM: Final = "teraferry"
_FOLDER: Final = click.Path(path_type=Path)
_MAX_JOBS: Final = 64


@click.group(
    name=_PROGRAM,
    help="Build and sign releases that cross an air gap.",
    epilog="Start with: teraferry new my-release",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name=_PROGRAM)
def teraferry() -> None:
    """Hold the commands."""


@teraferry.command(
    "new",
    help="Write a commented release.toml into DIR; it builds as it is.",
    epilog="Example: teraferry new my-release",
    short_help="Begin a release.",
)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@output_options
def new(folder: Path, *, json: bool, quiet: bool) -> int:
    """Begin a release."""
    console = Console.from_environment(json=json, quiet=quiet)

    def action() -> Mapping[str, object]:
        return {"written": [str(path) for path in create_project(folder)], "next": f"teraferry lock {folder}"}

    return run_command("new", console, action)


@teraferry.command(
    "lock",
    help="Resolve every tag and file of PROJECT to a digest and write release.lock.json.",
    epilog="Example: teraferry lock my-release",
    short_help="Pin every source to a digest.",
)
@click.argument("project", metavar="[PROJECT]", type=_FOLDER, default=".")
@output_options
def lock(project: Path, *, json: bool, quiet: bool) -> int:
    """Pin every source to a digest."""
    console = Console.from_environment(json=json, quiet=quiet)

    def action() -> Mapping[str, object]:
        loaded = load_project(project)
        console.start("resolve", detail=loaded.recipe.release.product)
        sources = resolve_unlocked(loaded, console)
        require_site_references(loaded, sources.images)
        pinned = lock_of(loaded, sources)
        store_lock(loaded, pinned)
        rows = [{"image": image.name, "digest": image.digest} for image in pinned.images]
        rows += [{"file": file.name, "digest": file.digest} for file in pinned.files]
        return {"lock": str(loaded.lock_path), "pinned": rows}

    return run_command("lock", console, action)


@teraferry.command(
    "build",
    help="Build the release in PROJECT into KIT, unsigned. The same inputs give the same bytes.",
    epilog="Example: teraferry build my-release -o terachat-4.2.0",
    short_help="Build the kit, unsigned.",
)
@click.argument("project", metavar="[PROJECT]", type=_FOLDER, default=".")
@click.option("-o", "--output", "kit", metavar="KIT", type=_FOLDER, required=True, help="The kit's folder; made.")
@click.option(
    "--installer",
    metavar="FILE",
    type=_FOLDER,
    default=None,
    help="The installer that travels in the kit; by default PROJECT/teraferry-installer.",
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(1, _MAX_JOBS),
    default=None,
    help="Threads that compress; by default one a core. The bytes do not depend on it.",
)
@output_options
def build(project: Path, *, kit: Path, installer: Path | None, jobs: int | None, json: bool, quiet: bool) -> int:
    """Build the kit, unsigned."""
    console = Console.from_environment(json=json, quiet=quiet)

    def action() -> Mapping[str, object]:
        started = monotonic_seconds()
        built = build_kit(
            project,
            kit,
            installer=installer,
            jobs=jobs or os.cpu_count() or 1,
            mtime=_source_date_epoch(os.environ),
            progress=console,
        )
        return {
            "kit": str(built.kit),
            "bundle": str(built.bundle),
            "size_bytes": built.length_bytes,
            "sha256": hex_of(built.digest),
            "seconds": round(monotonic_seconds() - started, 3),
        }

    return run_command("build", console, action)


@teraferry.command(
    "inspect",
    help="Show what KIT holds. Nothing is verified: for that, use verify.",
    epilog="Example: teraferry inspect terachat-4.2.0",
    short_help="Show what a kit holds.",
)
@click.argument("kit", metavar="KIT", type=_FOLDER)
@output_options
def inspect(kit: Path, *, json: bool, quiet: bool) -> int:
    """Show what a kit holds."""
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command("inspect", console, lambda: inspect_kit(kit))


for commands in (cli_sign, cli_renew, cli_trust, cli_freeze, cli_receipt):
    commands.register(teraferry)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    sys.exit(run_program(teraferry, sys.argv[1:] if arguments is None else arguments, name=_PROGRAM))


def _source_date_epoch(environment: Mapping[str, str]) -> int:
    """Return the time in every tar header: SOURCE_DATE_EPOCH, or 0.

    Raises:
        UsageError: ``source-date-epoch``, 2.

    Source: reproducible-builds.org, SOURCE_DATE_EPOCH specification.
    """
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise UsageError(
            "source-date-epoch",
            f"SOURCE_DATE_EPOCH: {text[:80]!r}, expected seconds since 1970 as digits",
            hint="Type: export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)",
            facts={"found": text[:80]},
        )
    return int(text)


if __name__ == "__main__":
    main()
