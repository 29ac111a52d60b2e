"""Which hosts lie outside every site: what a reference in a release may not name. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

PUBLIC_REGISTRIES: Final = (
    "docker.io",
    "docker.com",
    "docker.elastic.co",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "pkg.dev",
    "registry.k8s.io",
    "k8s.gcr.io",
    "mcr.microsoft.com",
    "azurecr.io",
    "public.ecr.aws",
    "amazonaws.com",
    "registry.gitlab.com",
    "registry.redhat.io",
    "registry.access.redhat.com",
    "registry.suse.com",
    "registry.opensuse.org",
    "registry.fedoraproject.org",
    "registry.connect.redhat.com",
    "nvcr.io",
    "lscr.io",
    "xpkg.upbound.io",
    "cgr.dev",
    "icr.io",
    "aliyuncs.com",
)
"""Registries anyone may read; a host below one of them counts too."""

_PRIVATE_SUFFIXES: Final = (
    ".local",
    ".internal",
    ".intranet",
    ".lan",
    ".home.arpa",
    ".localhost",
    ".test",
    ".example",
    ".invalid",
    ".svc",
    ".private",
)
"""Names that no public DNS answers (RFC 6761, RFC 6762, RFC 8375, ICANN's .internal)."""


def host_name(host: str) -> str:
    """Return ``host`` in lower case, without its port and brackets."""
    name = host.lower().rstrip(".")
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name


def is_public_registry(host: str) -> bool:
    """Tell whether ``host`` is a registry anyone may read."""
    name = host_name(host)
    return any(name == known or name.endswith("." + known) for known in PUBLIC_REGISTRIES)


def is_site_host(host: str) -> bool:
    """Tell whether ``host`` can only be a machine of the site.

    That is a private or loopback address, a name without a dot, a name under a suffix that public
    DNS never answers, or a placeholder that the site fills in.
    """
    name = host_name(host)
    if "$" in name or "{" in name or not name:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_PRIVATE_SUFFIXES)
    return not address.is_global
