"""What must hold between the fields of ``[[deploy]]``: those of its workload, all of them, and no other's. Pure."""

from __future__ import annotations

from typing import Final

from teraferry.installer.site.model import Deploy, Site, Transport
from teraferry.installer.site.paths import require_absolute, require_words
from teraferry.installer.site.text import SiteText, Where

_CARRIES: Final = {"binary": ("file",), "container": ("image",), "swarm": ("image",), "command": ("file", "image")}
"""What of a release each workload can run."""

_READ_BY: Final = {
    "container": ("container",),
    "variable": ("container",),
    "docker": ("container", "swarm"),
    "service": ("swarm",),
    "command": ("command",),
    "path": ("binary", "container", "command"),
}
"""Field -> the workloads that read it; beside another it looks like a demand and is none."""


def require_sound_deploys(site: Site, text: SiteText) -> None:
    """Check every ``[[deploy]]``.

    Raises:
        UsageError: ``site-bad-value``, ``site-missing-field``, 2.
    """
    roles = {node.role for node in site.nodes}
    for number, deploy in enumerate(site.deploys):
        where: Where = ("deploy", number)
        _require_carried(deploy, text, where)
        if deploy.role not in roles:
            raise text.bad_value((*where, "role"), f"{deploy.role}, which no node has, expected the role of a node")
        _require_own_fields(deploy, text, where)
        if deploy.workload == "swarm":
            _require_swarm(deploy, site, text, where)
            continue
        _require_field(deploy.path, "path", deploy, text, where)
        require_absolute(deploy.path or "", text, (*where, "path"))
        _require_restart(deploy, text, where)
    _require_own_places(site, text)


def _require_carried(deploy: Deploy, text: SiteText, where: Where) -> None:
    if (deploy.file is None) == (deploy.image is None):
        raise text.bad_value(where, "expected exactly one of file and image")
    carried = "file" if deploy.image is None else "image"
    if carried not in _CARRIES[deploy.workload]:
        expected = " or ".join(_CARRIES[deploy.workload])
        raise text.bad_value(
            (*where, carried), f"{carried} with workload {deploy.workload}, expected {expected}, or another workload"
        )


def _require_own_fields(deploy: Deploy, text: SiteText, where: Where) -> None:
    for field, workloads in _READ_BY.items():
        if deploy.workload not in workloads and getattr(deploy, field) is not None:
            found = f"with workload {deploy.workload}, expected it with {' or '.join(workloads)}"
            raise text.bad_value((*where, field), found)
    if deploy.docker is not None and deploy.docker != "docker":
        require_absolute(deploy.docker, text, (*where, "docker"))
    if deploy.workload == "container":
        _require_field(deploy.container, "container", deploy, text, where)
    if deploy.workload == "command":
        _require_field(deploy.command, "command", deploy, text, where)
        require_words(deploy.command or (), text, (*where, "command"))


def _require_swarm(deploy: Deploy, site: Site, text: SiteText, where: Where) -> None:
    _require_field(deploy.service, "service", deploy, text, where)
    if deploy.unit is not None or deploy.stop is not None or deploy.start is not None:
        raise text.bad_value(where, "unit, stop or start with workload swarm, expected the swarm to do that")
    managers = [node.name for node in site.nodes_of(deploy.role)]
    if len(managers) != 1:
        # The swarm is one: each node of the role would update the same service.
        found = f"{deploy.role}, the role of {', '.join(managers)}, expected that of one node, a manager"
        raise text.bad_value((*where, "role"), found)


def _require_field(value: object, field: str, deploy: Deploy, text: SiteText, where: Where) -> None:
    if value is None:
        raise text.bad_value(
            (*where, field),
            f"absent, expected it with workload {deploy.workload}",
            reference="site-missing-field",
            hint=f"Write {field} in that [[deploy]]; docs/site.md says what it is.",
        )


def _require_restart(deploy: Deploy, text: SiteText, where: Where) -> None:
    commands = (deploy.stop is not None, deploy.start is not None)
    if deploy.workload == "command":
        if deploy.unit is not None or any(commands):
            raise text.bad_value(where, "unit, stop or start with workload command, expected its program to do that")
        return
    if (deploy.unit is not None) == any(commands) or any(commands) != all(commands):
        raise text.bad_value(where, "expected either unit, or both stop and start")
    for field, argv in (("stop", deploy.stop), ("start", deploy.start)):
        if argv is not None:
            require_words(argv, text, (*where, field))


def _require_own_places(site: Site, text: SiteText) -> None:
    """Refuse two deploys, or two nodes of one machine, that would take turns at one path or one container."""
    taken: dict[tuple[Transport, str, str], str] = {}
    for number, deploy in enumerate(site.deploys):
        for node in site.nodes_of(deploy.role):
            user = f"node {node.name} by [[deploy]] {number + 1}"
            for field in ("path", "container", "service"):
                place = getattr(deploy, field)
                # Nodes with the same way in are the same machine, however many names they have.
                other = taken.setdefault((node.transport, field, place), user) if place is not None else user
                if other != user:
                    found = f"{place} for {user} and for {other}, expected a {field} of its own for each on one machine"
                    raise text.bad_value(("deploy", number, field), found)
