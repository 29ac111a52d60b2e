"""``[registry]`` of a site file, as the registry's adapters take it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from teraferry.installer.adapters.registry.settings import RegistrySettings
from teraferry.installer.site.model import Site


def registry_settings(site: Site) -> RegistrySettings:
    """Return the settings of the site's registry."""
    table = site.registry
    return RegistrySettings(
        url=table.url,
        ca=Path(table.ca) if table.ca else None,
        user=table.credentials.user if table.credentials else "",
        password_file=Path(table.credentials.password_file) if table.credentials else None,
        plain_http=table.plain_http,
    )


def registry_certificate_expiry(site: Site) -> datetime | None:
    """Return the end of the certificate that the site's registry shows now; None over plain HTTP.

    Raises:
        UsageError: 2. RefusedError: ``registry-unreachable``, 44.
    """
    from teraferry.installer.adapters.registry.certificate import certificate_expiry

    return certificate_expiry(registry_settings(site))
