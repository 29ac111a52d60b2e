"""Where the keys of a site are put together with the nodes they are on."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING

from teraferry.bundles.progress import Progress
from teraferry.installer.cli_wiring import Place, make_transport
from teraferry.installer.doctor import Probe
from teraferry.installer.key_recovery import load_recovery
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.protected import protected_places, require_commands_keep_away, require_untouched
from teraferry.installer.site.model import Key, Site
from teraferry.keys.continuity.live_proof import CHALLENGE_BYTES
from teraferry.keys.continuity.watch import KeyWatch, WatchedKey
from teraferry.keys.continuity.wrapped_blobs import WrappedBlobs
from teraferry.keys.ports import KeyStore, NodeRunner
from teraferry.keys.stores.command import CommandKey, CommandStore

if TYPE_CHECKING:
    from teraferry.installer.ports import Journal, NodeTransport
    from teraferry.installer.rollout.plan import Plan

BACKUPS_NAME = "key-backups"


def fresh_nonce() -> bytes:
    """Return a challenge that nobody can have prepared an answer for."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def make_watch(site: Site) -> KeyWatch:
    """Return the watch over the keys that ``site`` declares; nothing is asked yet."""
    return KeyWatch([_watched(key, transport_to(site, key.node)) for key in site.keys], nonce=fresh_nonce)


def make_key_gate(site: Site, place: Place, progress: Progress, *, journal: Journal) -> KeyGate:
    """Return the gate that the keys of ``site`` must pass; ``journal`` is the one that the rollout writes to."""
    return KeyGate(
        make_watch(site),
        journal,
        backups=place.state / BACKUPS_NAME,
        recoveries={key.name: load_recovery(key) for key in site.keys},
        progress=progress,
    )


def key_probes(site: Site, place: Place, progress: Progress) -> list[Probe]:
    """Return what ``doctor`` looks at for each key: is it there, is it the recorded one, could it be brought back."""
    gate = make_key_gate(site, place, progress, journal=place.journal())
    return [Probe(f"key {key.name}", partial(gate.examine, key.name)) for key in site.keys]


def guard_keys(site: Site, plan: Plan, place: Place, progress: Progress, *, journal: Journal) -> KeyGate:
    """Return the gate for the keys of ``site``; a plan that would touch what one lives in is refused right away.

    Raises:
        RefusedError: ``touches-protected-path`` or ``cannot-tell``, 40.
    """
    _require_untouched(site, plan)
    return make_key_gate(site, place, progress, journal=journal)


def _require_untouched(site: Site, plan: Plan) -> None:
    from teraferry.installer.key_places import require_untouched_on_nodes

    places = protected_places(site)
    require_untouched(plan.targets, places)
    require_commands_keep_away(site)
    require_untouched_on_nodes(plan.targets, places, lambda node: transport_to(site, node))


def transport_to(site: Site, name: str) -> NodeTransport:
    """Return how the node called ``name`` is reached."""
    return make_transport(next(node for node in site.nodes if node.name == name))


def command_key(key: Key) -> CommandKey:
    """Return a key behind a program of the site's own."""
    return CommandKey(key.name, key.node, key.command or (), key.handle)


def _watched(key: Key, runner: NodeRunner) -> WatchedKey:
    blobs = WrappedBlobs(f"key {key.name} on {key.node}", key.blobs, runner)
    return WatchedKey(key.name, key.node, key.store, key.handle, _store(key, runner), blobs)


def _store(key: Key, runner: NodeRunner) -> KeyStore:
    if key.store == "tpm":
        from teraferry.keys.stores.tpm import DEFAULT_TCTI, TpmKey, TpmStore
        from teraferry.keys.stores.tpm_answers import parse_handle

        return TpmStore(
            TpmKey(
                key.name,
                key.node,
                parse_handle(key.handle),
                auth=key.auth,
                twin=parse_handle(key.twin) if key.twin else None,
                twin_auth=key.twin_auth,
                counter=parse_handle(key.counter) if key.counter else None,
                tcti=key.tcti or DEFAULT_TCTI,
            ),
            runner,
        )
    if key.store == "pkcs11":
        from teraferry.keys.stores.pkcs11_token import Pkcs11Store, TokenKey
        from teraferry.keys.uri import Pkcs11Uri, parse_key_uri

        uri = parse_key_uri(key.handle)
        if not isinstance(uri, Pkcs11Uri):
            raise ValueError("a pkcs11 key without a pkcs11 URI is refused with the site file")
        return Pkcs11Store(TokenKey(key.name, key.node, uri), runner)
    return CommandStore(command_key(key), runner)
