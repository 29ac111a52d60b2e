"""Tables of site.toml that ask somebody something: compliance probes and smoke tests. Pure, frozen and strict."""

from __future__ import annotations

from typing import Annotated

import msgspec

from teraferry.bundles.model import Model
from teraferry.installer.site.fields import Argv, Name, Role, Seconds, Text

DEFAULT_SMOKE_SECONDS = 120
"""How long a node that was just started may take until a smoke test passes."""


class PassWhen(Model, frozen=True):
    """What the answer of a probe must hold to pass; no expression language."""

    field: Text
    equals: str | int | float | bool


class Probe(Model, frozen=True):
    """One compliance probe: exactly one of ``http``, ``command``, ``file``."""

    pass_when: PassWhen
    http: Text | None = None
    ca: Text | None = None  # with https: who signs its certificate; the registry's ca by default
    command: Argv | None = None
    file: Text | None = None
    max_age_seconds: Seconds | None = None  # with file


class ComplianceTable(Model, frozen=True):
    """``[compliance]``: both must be there; the table itself must be there in tier 2."""

    legal_hold: Probe
    audit_export: Probe

    @property
    def probes(self) -> dict[str, Probe]:
        """The probes by their names."""
        return {"legal_hold": self.legal_hold, "audit_export": self.audit_export}


class SmokeTable(Model, frozen=True):
    """``[[smoke]]``: a question to patched nodes, beside those the release brings: ``http`` or ``command``."""

    pass_when: PassWhen
    http: Text | None = None  # a path at the node itself, or a whole URL
    ca: Text | None = None  # with https: who signs its certificate; the registry's ca by default
    command: Argv | None = None  # run on the node
    role: Role | None = None  # which nodes are asked; every one without role and node
    node: Name | None = None
    within_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = DEFAULT_SMOKE_SECONDS

    @property
    def is_whole_url(self) -> bool:
        """Tell whether ``http`` names its host; else it is a path at each node that is asked."""
        return self.http is not None and not self.http.startswith("/")


class ClusterQuestion(Model, frozen=True):
    """One question to a cluster: ``http`` or ``command``."""

    pass_when: PassWhen
    http: Text | None = None  # a path at [cluster] url, or a whole URL; {name} and {address} where it is about a node
    command: Argv | None = None  # run on this machine

    @property
    def is_path(self) -> bool:
        """Tell whether ``http`` belongs to ``[cluster] url``."""
        return self.http is not None and self.http.startswith("/")


class ClusterAct(Model, frozen=True):
    """One thing a cluster is told to do with a node: ``http``, by POST, or ``command``."""

    http: Text | None = None
    command: Argv | None = None

    @property
    def is_path(self) -> bool:
        """Tell whether ``http`` belongs to ``[cluster] url``."""
        return self.http is not None and self.http.startswith("/")
