"""What no step of a rollout may touch: files and handles that keys live in. Pure.

A deploy path may neither be, nor hold, nor lie in a protected place, and no command of the site file may name one, but
for those that ask the key itself. Paths are compared as the site file writes them; ``key_places`` resolves links on the
nodes and compares again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from teraferry.bundles.errors import RefusedError
from teraferry.installer.rollout.plan import Target
from teraferry.installer.site.model import Key, Site

_HEX_HANDLE = re.compile(r"0x([0-9A-Fa-f]+)\Z")


@dataclass(frozen=True, slots=True)
class Protected:
    """One place that belongs to a key."""

    key: str
    node: str
    path: str


def protected_places(site: Site) -> tuple[Protected, ...]:
    """Return the protected paths of every key, on each node of its machine."""
    return tuple(
        Protected(key.name, node, path)
        for key in site.keys
        for node in nodes_of_machine(site, key.node)
        for path in paths_of(key)
    )


def paths_of(key: Key) -> tuple[str, ...]:
    """Return the files and folders that a key lives in, on its node."""
    return (*key.blobs, *key.protected, *(path for path in (key.auth, key.twin_auth) if path is not None))


def nodes_of_machine(site: Site, node: str) -> tuple[str, ...]:
    """Return the nodes that are reached the same way as ``node``: one machine, however many servers it runs."""
    way = next(each.transport for each in site.nodes if each.name == node)
    return tuple(each.name for each in site.nodes if each.transport == way)


def require_untouched(targets: Sequence[Target], places: Sequence[Protected]) -> None:
    """Refuse a plan that would write where a key lives.

    Args:
        targets: Where files of the release go.
        places: Protected, as written or as resolved on the nodes; ``targets`` likewise.

    Raises:
        RefusedError: ``touches-protected-path``, 40.
    """
    for target in targets:
        for place in places:
            if place.node == target.node and _meet(target.path, place.path):
                raise touches(f"deploy path {target.path} on {target.node}", place.path, place.key)


def require_commands_keep_away(site: Site) -> None:
    """Refuse a command that names a protected path or a key's handle.

    Those of a ``[[deploy]]`` run on its nodes, and only a key of one of them is in their reach. What the other tables
    name runs wherever they say, so they keep away from every key.

    Raises:
        RefusedError: ``touches-protected-path``, 40.
    """
    of_tables = _commands_of_tables(site)
    for key in site.keys:
        machine = nodes_of_machine(site, key.node)
        roles = {node.role for node in site.nodes if node.name in machine}
        names = sorted({*paths_of(key), *_spellings(key)})
        commands = [(f"command of [[deploy]] {d.path}", _commands(d)) for d in site.deploys if d.role in roles]
        for what, argv in (*commands, *of_tables):
            named = next((name for name in names for word in argv if name.lower() in word.lower()), None)
            if named is not None:
                raise touches(what, named, key.name)


def require_registry_keeps_away(site: Site) -> None:
    """Refuse a registry service that would write where a key lives, on whatever machine that is.

    Raises:
        RefusedError: ``touches-protected-path``, 40.
    """
    service = site.registry.service
    if service is None:
        return
    credentials = site.registry.credentials
    made = (site.registry.ca, None if credentials is None else credentials.password_file)
    for path in (service.path, service.data, service.settings, *made):
        for place in protected_places(site):
            if path is not None and _meet(path, place.path):
                raise touches(f"[registry.service] {path}", place.path, place.key)


def _commands_of_tables(site: Site) -> list[tuple[str, tuple[str, ...]]]:
    replication = site.replication
    tables: dict[str, list[object]] = {
        "[cluster]": [] if site.cluster is None else list(site.cluster.node_ways().values()),
        "[registry.service]": [site.registry.service],
        "[traffic]": [site.traffic],
        "[replication]": [] if replication is None else [replication, replication.postgresql],
    }
    return [(f"command of {name}", _commands(table)) for name, rows in tables.items() for table in rows if table]


def _commands(table: object) -> tuple[str, ...]:
    """Return every word that a table has a program run with."""
    fields = ("command", "start", "stop", "gate")
    return tuple(word for field in fields for word in getattr(table, field, None) or ())


def touches(what: str, place: str, key: str) -> RefusedError:
    """Return the refusal of something that would touch a protected place."""
    return RefusedError(
        "touches-protected-path",
        f"{what}: touches {place}, where key {key} lives, expected it to keep away",
        hint="Move that path or command elsewhere in site.toml; a rollout never touches what keys live in.",
        facts={"key": key, "place": place},
    )


def moved(targets: Sequence[Target], resolved: Mapping[tuple[str, str], str]) -> list[Target]:
    """Return ``targets`` with the paths they really have on their nodes."""
    return [replace(t, path=resolved[t.node, t.path]) for t in targets]


def _spellings(key: Key) -> set[str]:
    handles = [handle for handle in (key.handle, key.twin, key.counter) if handle is not None and key.store == "tpm"]
    return {found.group(1).lower() for handle in handles if (found := _HEX_HANDLE.match(handle))}


def _meet(path: str, place: str) -> bool:
    """Tell whether writing ``path``, or its versions in ``path.d``, reaches ``place``, or the other way round."""
    return any(_is_within(each, place) or _is_within(place, each) for each in (path, f"{path}.d"))


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
