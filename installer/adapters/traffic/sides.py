"""What every traffic switch has in common: two sides, the virtual address and its services. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, Literal

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import TrafficObservation

Side = Literal["blue", "green"]
SIDES: Final[tuple[Side, Side]] = ("blue", "green")

MAX_HOLD_SECONDS: Final = 86_400
"""A hold that nobody renews for a day is no dead-man."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one side serves."""

    address: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Service:
    """One TCP port of the virtual address, and who answers behind it."""

    port: int
    blue: Endpoint
    green: Endpoint


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """The address that clients know, and its services, which move together."""

    address: IPv4Address
    services: tuple[Service, ...]

    def __post_init__(self) -> None:
        ports = [service.port for service in self.services]
        if not ports or len(set(ports)) != len(ports):
            raise ValueError(f"virtual address {self.address}: ports {ports}, expected at least one, none twice")
        for service in self.services:
            for port in (service.port, service.blue.port, service.green.port):
                if not 1 <= port <= 65_535:
                    raise ValueError(f"virtual address {self.address}: port {port}, expected 1..65535")


def require_side(cluster: str) -> Side:
    """Return ``cluster`` as one of the two.

    Raises:
        ValueError: There is no such side.
    """
    for side in SIDES:
        if cluster == side:
            return side
    raise ValueError(f"cluster {cluster}: expected blue or green")


def require_plain_path(path: str) -> None:
    """Hold a path on a node to what needs no quoting where the switch writes it.

    Raises:
        ValueError: It is not absolute, or holds anything but letters, digits, '.', '_' and '-' between slashes.
    """
    if not re.fullmatch(r"(/[\w.-]+)+", path, re.ASCII):
        raise ValueError(f"path {path}: expected an absolute one of letters, digits, '.', '_' and '-'")


def whole_seconds(seconds: float) -> int:
    """Return ``seconds`` as a switch takes them: whole, rounded up.

    Raises:
        ValueError: Nothing that may be held for. A timeout of 0 would mean to nftables: for ever.
    """
    if not 0 < seconds <= MAX_HOLD_SECONDS:
        raise ValueError(f"hold: {seconds} s, expected above 0 and at most {MAX_HOLD_SECONDS}")
    return math.ceil(seconds)


def endpoints(virtual: VirtualAddress, side: Side) -> list[tuple[int, Endpoint]]:
    """Return who serves on ``side``, by port."""
    ends = [(service.port, service.blue if side == "blue" else service.green) for service in virtual.services]
    return sorted(ends, key=lambda pair: pair[0])


def cannot_tell(virtual: VirtualAddress, found: str, wanted: str, *, hint: str) -> RefusedError:
    """Return the refusal of a switch whose answer is none, or not one that can be relied on."""
    return _refusal("switch-cannot-tell", virtual, f"{found}, expected {wanted}", hint)


def failed(virtual: VirtualAddress, what: str, found: str, wanted: str, *, hint: str) -> RefusedError:
    """Return the refusal of a switch that did not do ``what``, or does not show it when read back."""
    return _refusal("switch-failed", virtual, f"{what}: {found}, expected {wanted}", hint, what=what)


def cannot_cut(virtual: VirtualAddress, found: str, wanted: str, *, hint: str) -> RefusedError:
    """Return the refusal of a switch that cannot end connections."""
    return _refusal("switch-cannot-cut", virtual, f"{found}, expected {wanted}", hint)


def require_idle_side(virtual: VirtualAddress, seen: TrafficObservation, cluster: str) -> Side:
    """Return ``cluster`` as a side whose connections may be cut: new ones go elsewhere, now and by themselves.

    Raises:
        RefusedError: ``switch-failed``, 40.
    """
    side = require_side(cluster)
    if side in (seen.active, seen.standing):
        found = f"{seen.active} has the new connections, {seen.standing} stands"
        raise failed(virtual, "cut", found, f"neither to be {side}", hint="See what the switch says.")
    return side


def lapsed(virtual: VirtualAddress) -> RefusedError:
    """Return the refusal to renew what is not held any more."""
    hint = "New connections are on the standing side already. Type the same command again."
    return _refusal("hold-lapsed", virtual, "nothing is held, expected a hold to renew", hint)


def _refusal(reference: str, virtual: VirtualAddress, said: str, hint: str, **more: str) -> RefusedError:
    facts = {"virtual_address": str(virtual.address), **more}
    return RefusedError(reference, f"traffic switch {virtual.address}: {said}", hint=hint, facts=facts)
