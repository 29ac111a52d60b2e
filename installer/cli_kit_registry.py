"""Wires the registry that a release brings to a site without one: ``[registry.service]`` of site.toml."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from teraferry.bundles.system.clock import monotonic_seconds, now_utc, sleep_seconds
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.doctor import Advice
from teraferry.installer.expiry import Expiry, Horizon

if TYPE_CHECKING:
    from teraferry.bundles.progress import Progress
    from teraferry.installer.adapters.registry.kit_identity import KitIdentity
    from teraferry.installer.adapters.registry.kit_places import KitPlaces
    from teraferry.installer.kit_registry.bring_up import KitRegistry
    from teraferry.installer.kit_registry.serving import Service
    from teraferry.installer.ports import Journal
    from teraferry.installer.site.model import Site
    from teraferry.installer.site.registry_table import ServiceTable

THIS_MACHINE = "this machine"


def make_kit_registry(site: Site, place: wiring.Place, progress: Progress, *, journal: Journal) -> KitRegistry | None:
    """Return the registry that a release brings to ``site``; None where the site has one of its own.

    Raises:
        RefusedError: ``touches-protected-path``, 40: it would write where a key lives.
    """
    table = site.registry.service
    if table is None:
        return None
    from teraferry.installer.kit_registry.bring_up import KitRegistry, KitRegistryParts
    from teraferry.installer.kit_registry.documents import encode_configuration
    from teraferry.installer.rollout.protected import require_registry_keeps_away

    require_registry_keeps_away(site)
    identity = make_identity(site, table, place)
    return KitRegistry(
        KitRegistryParts(
            file=table.file,
            content=encode_configuration(site.registry, table),
            service=make_service(site, table, identity),
            identity=identity,
            places=make_places(site, table),
            journal=journal,
            clock=now_utc,
            progress=progress,
            advice=_advice(site),
        )
    )


def make_identity(site: Site, table: ServiceTable, place: wiring.Place) -> KitIdentity:
    """Return the registry's certificates, keys and password."""
    from teraferry.installer.adapters.registry.kit_identity import IdentityTerms, KitIdentity
    from teraferry.installer.cli_registry import registry_settings
    from teraferry.installer.kit_registry.certificates import Period
    from teraferry.installer.site.addresses import registry_endpoint

    _, host, _ = registry_endpoint(site.registry.url)
    past = wiring.known_past(place)
    until = past + timedelta(days=site.identity.next_visit_days)
    terms = IdentityTerms(host, site.name, Period(now_utc(), past), until)
    return KitIdentity(registry_settings(site), Path(table.settings), terms)


def make_service(site: Site, table: ServiceTable, identity: KitIdentity) -> Service:
    """Return the service; nothing is started yet."""
    from teraferry.installer.adapters.registry.kit_door import KitDoor
    from teraferry.installer.adapters.registry.kit_unit import KitUnit
    from teraferry.installer.adapters.transport.local import LocalTransport
    from teraferry.installer.adapters.workload.binary import BinaryWorkload
    from teraferry.installer.cli_registry import registry_settings
    from teraferry.installer.kit_registry.documents import CONFIGURATION_NAME, encode_unit
    from teraferry.installer.kit_registry.serving import Service

    transport = LocalTransport(THIS_MACHINE)
    configuration = f"{table.settings}/{CONFIGURATION_NAME}"
    return Service(
        url=site.registry.url,
        program=BinaryWorkload(transport, table.path, start=table.start_argv, stop=table.stop_argv),
        configuration=BinaryWorkload(transport, configuration, start=(), stop=()),
        unit=KitUnit(table.unit_name, encode_unit(table)) if table.unit_name else None,
        door=KitDoor(registry_settings(site), lambda: identity.fingerprints().certificate),
        log=f"journalctl -u {table.unit_name}" if table.unit_name else "the log of its start command",
        monotonic_seconds=monotonic_seconds,
        sleep_seconds=sleep_seconds,
    )


def make_places(site: Site, table: ServiceTable) -> KitPlaces:
    """Return where the registry's images and settings lie, and its address."""
    from teraferry.installer.adapters.registry.kit_places import KitPlaces
    from teraferry.installer.kit_registry.documents import listen_address
    from teraferry.installer.site.addresses import registry_endpoint

    _, host, _ = registry_endpoint(site.registry.url)
    return KitPlaces(
        Path(table.data),
        Path(table.settings),
        Path(table.path),
        host=host,
        listen=listen_address(site.registry, table),
        is_told=table.listen is not None,
    )


def look_at_kit_registry(site: Site, table: ServiceTable, place: wiring.Place, ahead: Horizon) -> str | Advice:
    """Return how the registry that a release brought is, for ``doctor``; or what it will meet before there is one.

    Raises:
        UsageError: 2. RefusedError: 40, 44. OperatorNeededError: 62.
    """
    from teraferry.installer.kit_registry.generation import last_good_of

    identity, places = make_identity(site, table, place), make_places(site, table)
    service, proven = make_service(site, table, identity), last_good_of(place.journal().replay())
    places.require_sound(was_laid_out=proven is not None)
    due = identity.due()
    if service.unit is not None:
        service.unit.require_ours()
    if proven is None:
        places.require_address(is_running=bool(service.program.running()))
        return Advice(
            f"{site.registry.url} is not there yet", "Type: teraferry-installer install KIT; it brings it up."
        )
    service.require_serving(proven)
    again = "Type install KIT, or load KIT, again: it mends that."
    if due or service.selected() != proven or (service.unit is not None and not service.unit.is_written()):
        return Advice(f"{site.registry.url} serves, but not as site.toml says: {'; '.join(due)}".rstrip(": "), again)
    authority, certificate = identity.ends()
    found = f"{site.registry.url} serves, asks for its password, certificate valid until {certificate:%Y-%m-%d}"
    new_ca = "Give every machine a new CA before: docs/registry.md, `A new CA`."
    return ahead.look(found, [Expiry("its certificate", certificate, again), Expiry("its CA", authority, new_ca)])


def _advice(site: Site) -> str:
    registry, credentials = site.registry, site.registry.credentials
    where = "" if credentials is None else f"user {credentials.user}, password in {credentials.password_file}; "
    place = registry.url.removeprefix("https://").rstrip("/")
    return (
        f"the registry serves at {registry.url}: {where}every machine whose Docker pulls from it needs "
        f"{registry.ca} as /etc/docker/certs.d/{place}/ca.crt"
    )
