"""What must hold between the fields of ``[registry]`` and ``[registry.service]``. Pure."""

from __future__ import annotations

import re
from functools import partial
from pathlib import PurePosixPath
from typing import Final

from teraferry.installer.site.addresses import is_loopback, parse_address, registry_endpoint
from teraferry.installer.site.model import Site
from teraferry.installer.site.paths import require_absolute, require_words
from teraferry.installer.site.registry_table import RegistryTable, ServiceTable
from teraferry.installer.site.sizes import parse_size
from teraferry.installer.site.text import SiteText, Where

_SERVICE: Final[Where] = ("registry", "service")
_PLAIN_PATH: Final = re.compile(r"(/[A-Za-z0-9._+@-]+)+\Z")
"""Such a path needs no quotes in a unit, a YAML file or a shell, so that none can be forgotten."""

_PLAIN_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
"""A name in an htpasswd file, whose lines end at a colon."""


def require_sound_registry(site: Site, text: SiteText) -> None:
    """Check ``[registry]``.

    Raises:
        UsageError: ``site-bad-value`` or ``site-missing-field``, 2.
    """
    registry = site.registry
    scheme, host, _ = text.checked(("registry", "url"), partial(registry_endpoint, registry.url))
    if scheme == "http" and not registry.plain_http and not is_loopback(host):
        raise text.bad_value(
            ("registry", "url"),
            f"plain HTTP to {host}, expected https, or plain_http = true spelled out",
            hint='Give the registry a certificate of the site\'s CA and write https:// and ca = "...".',
        )
    if scheme == "https" and registry.plain_http:
        raise text.bad_value(("registry", "plain_http"), "true beside an https URL, expected one of the two")
    if registry.nodes_pull_above is not None:
        text.checked(("registry", "nodes_pull_above"), partial(parse_size, registry.nodes_pull_above))
        if scheme != "https":
            found = f"nodes that fetch files over {scheme}, expected an https URL beside it"
            raise text.bad_value(("registry", "nodes_pull_above"), found)
    if registry.ca is not None:
        require_absolute(registry.ca, text, ("registry", "ca"))
    if registry.credentials is not None:
        require_absolute(registry.credentials.password_file, text, ("registry", "credentials", "password_file"))
    if registry.service is not None:
        _require_guarded(registry, scheme, text)
        _require_service(registry.service, text)
        _require_places_apart(registry, registry.service, site, text)


def _require_guarded(registry: RegistryTable, scheme: str, text: SiteText) -> None:
    """Refuse a service that anybody on the network could read from or push to."""
    if scheme != "https":
        raise text.bad_value(("registry", "url"), f"{scheme} with [registry.service], expected https")
    for field, value, example in (
        ("ca", registry.ca, '"/etc/teraferry/registry-ca.pem"'),
        (
            "credentials",
            registry.credentials,
            '{ user = "loader", password_file = "/etc/teraferry/registry.password" }',
        ),
    ):
        if value is None:
            raise text.bad_value(
                ("registry", field),
                "absent, expected it with [registry.service]",
                reference="site-missing-field",
                hint=f"Write {field} = {example} into [registry]; what is not there yet is made by the installer.",
            )
    if registry.credentials is not None and not _PLAIN_USER.match(registry.credentials.user):
        found = f"{registry.credentials.user[:80]!r}, expected letters, digits, and . _ @ - behind the first"
        raise text.bad_value(("registry", "credentials", "user"), found)


def _require_service(service: ServiceTable, text: SiteText) -> None:
    for field in ("path", "data", "settings"):
        path = getattr(service, field)
        require_absolute(path, text, (*_SERVICE, field))
        if not _PLAIN_PATH.match(path):
            found = f"{path!r}, expected letters, digits and . _ + @ - between its slashes"
            raise text.bad_value((*_SERVICE, field), found)
    if service.listen is not None:
        text.checked((*_SERVICE, "listen"), partial(parse_address, service.listen))
    commands = (service.start is not None, service.stop is not None)
    if any(commands) != all(commands) or (service.unit is not None and any(commands)):
        raise text.bad_value(_SERVICE, "expected either a unit, or both stop and start")
    for field, argv in (("start", service.start), ("stop", service.stop)):
        if argv is not None:
            require_words(argv, text, (*_SERVICE, field))


def _require_places_apart(registry: RegistryTable, service: ServiceTable, site: Site, text: SiteText) -> None:
    """Refuse places that lie in one another: what may be replaced must never hold what may not."""
    places = {
        "path": PurePosixPath(service.path),
        "data": PurePosixPath(service.data),
        "settings": PurePosixPath(service.settings),
    }
    places["path"] = PurePosixPath(f"{places['path']}.d")
    for field, place in places.items():
        for other, outer in places.items():
            if field != other and place.is_relative_to(outer):
                found = f"{getattr(service, field)} inside {other}, expected a place of its own"
                raise text.bad_value((*_SERVICE, field), found)
    made = {"ca": registry.ca, "password_file": registry.credentials.password_file if registry.credentials else None}
    for field, path in made.items():
        if path is not None and PurePosixPath(path).is_relative_to(places["data"]):
            raise text.bad_value(("registry",), f"{field} inside data, expected a place of its own")
    if any(deploy.path == service.path for deploy in site.deploys):
        raise text.bad_value((*_SERVICE, "path"), f"{service.path}, which a [[deploy]] has, expected one of its own")
