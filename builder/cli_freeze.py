"""``teraferry freeze``: parse, wire, print. The work is ``builder.freeze``'s."""

from __future__ import annotations

from pathlib import Path

import click

from teraferry.bundles.system.console import Console, output_options, run_command


def register(group: click.Group) -> None:
    """Add ``freeze`` to ``group``."""
    group.add_command(_freeze)


@click.command(
    "freeze",
    help="Append a root to the prebuilt installer payload: the installer file for your sites.",
    epilog="Example: teraferry freeze -o teraferry-installer --root trust/1.root.json",
)
@click.option("-o", "--output", "output", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Newest N.root.json of the trust folder.")
@click.option("--payload", type=click.Path(path_type=Path), help="What scripts/build-payload made, if not in build/.")
@output_options
def _freeze(output: Path, root: Path, payload: Path | None, *, json: bool, quiet: bool) -> int:
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command("freeze", console, lambda: _result(output, root, payload))


def _result(output: Path, root: Path, payload: Path | None) -> dict[str, object]:
    # python-tuf is imported only where it is used: it costs every other command its start.
    from teraferry.builder.freeze import default_payload, freeze_installer

    made = freeze_installer(output, root=root, payload=payload or default_payload())
    return {
        "installer": str(made.path),
        "sha256": made.sha256,
        "size_bytes": made.size_bytes,
        "root_fingerprint": made.root_fingerprint,
        "machine": made.machine,
        "glibc": made.glibc,
    }
