"""``teraferry trust add-key``, ``remove-key``, ``threshold``, ``rotate``: each makes root N+1. No decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from teraferry.builder.cli_sign import pin_source
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.console import Console, output_options, run_command

if TYPE_CHECKING:
    from teraferry.keys.roots.change import RoleChange

_Function = TypeVar("_Function", bound=Callable[..., Any])

_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_ROLE = click.option("--role", type=click.Choice(["root", "release", "desk"]), required=True, help="Whose keys.")
_ROOT_KEYS = click.option(
    "--root-key",
    "root_keys",
    metavar="URI",
    multiple=True,
    required=True,
    help="A root key that signs the change; may be repeated.",
)
_THRESHOLD = click.option("--threshold", metavar="K", type=int, help="How many of the role's keys sign from now on.")


def register_changes(group: click.Group) -> None:
    """Add the commands that change a root to ``group``."""
    for command in (_add_key, _remove_key, _threshold, _rotate):
        group.add_command(command)


@click.command(
    "add-key",
    help="Give a role of the trust folder DIR one more key. The key signs a proof that it can.",
    epilog="Example: teraferry trust add-key trust --role release --new-key URI --root-key URI --root-key URI",
    short_help="Give a role one more key.",
)
@_FOLDER
@_ROLE
@click.option("--new-key", metavar="URI", required=True, help="The key that joins.")
@_THRESHOLD
@_ROOT_KEYS
@output_options
def _add_key(folder: Path, role: str, new_key: str, *, threshold: int | None, **rest: Any) -> int:
    from teraferry.keys.roots.change import RoleChange

    return _run("trust add-key", folder, RoleChange(role, add=new_key, threshold=threshold), **rest)


@click.command(
    "remove-key",
    help="Take a key from a role of the trust folder DIR. From the new root on it counts for nothing.",
    epilog="Example: teraferry trust remove-key trust --role release --key 1a2b3c4d --root-key URI --root-key URI",
    short_help="Take a key from a role.",
)
@_FOLDER
@_ROLE
@click.option("--key", metavar="KEYID", required=True, help="Its id, or the first 8 digits.")
@_THRESHOLD
@_ROOT_KEYS
@output_options
def _remove_key(folder: Path, role: str, key: str, *, threshold: int | None, **rest: Any) -> int:
    from teraferry.keys.roots.change import RoleChange

    return _run("trust remove-key", folder, RoleChange(role, remove=key, threshold=threshold), **rest)


@click.command(
    "threshold",
    help="Change how many keys of a role must sign.",
    epilog="Example: teraferry trust threshold trust --role release --to 3 --root-key URI --root-key URI",
)
@_FOLDER
@_ROLE
@click.option("--to", metavar="K", type=int, required=True, help="How many of the role's keys sign from now on.")
@_ROOT_KEYS
@output_options
def _threshold(folder: Path, role: str, to: int, **rest: Any) -> int:
    from teraferry.keys.roots.change import RoleChange

    return _run("trust threshold", folder, RoleChange(role, threshold=to), **rest)


@click.command(
    "rotate",
    help="Put a new key in the place of an old one. Without --role, --old and --new-key: the same root again, with a "
    "later expiry.",
    epilog="Example: teraferry trust rotate trust --role root --old 1a2b3c4d --new-key URI --root-key URI "
    "--root-key URI",
    short_help="Replace a key, or renew the root.",
)
@_FOLDER
@click.option("--role", type=click.Choice(["root", "release", "desk"]), help="Whose key.")
@click.option("--old", metavar="KEYID", help="The key that leaves: its id, or the first 8 digits.")
@click.option("--new-key", metavar="URI", help="The key that joins.")
@_ROOT_KEYS
@output_options
def _rotate(folder: Path, role: str | None, old: str | None, *, new_key: str | None, **rest: Any) -> int:
    from teraferry.keys.roots.change import RoleChange

    if role is None and old is None and new_key is None:
        return _run("trust rotate", folder, None, **rest)
    if role is None or old is None or new_key is None:
        raise click.UsageError(
            message="--role, --old and --new-key go together; without all three the root is renewed."
        )
    return _run("trust rotate", folder, RoleChange(role, add=new_key, remove=old), **rest)


def _run(
    command: str, folder: Path, change: RoleChange | None, *, root_keys: Sequence[str], json: bool, quiet: bool
) -> int:
    console = Console.from_environment(json=json, quiet=quiet)
    return run_command(command, console, lambda: _result(folder, change, root_keys, console))


def _result(
    folder: Path, change: RoleChange | None, root_keys: Sequence[str], console: Console
) -> Mapping[str, object]:
    from teraferry.keys.roots.change import change_root
    from teraferry.keys.roots.shown import shown_root
    from teraferry.keys.signers import KeyRing
    from teraferry.keys.trust_folder import TrustFolder

    uris = [*root_keys, *([change.add] if change is not None and change.add is not None else [])]
    with KeyRing(pin_source(uris, console)) as ring:
        root = change_root(TrustFolder(folder), change, ring, root_keys=root_keys, now=now_utc())
    return shown_root(root, TrustFolder(folder).load_state().names)
