"""``[registry]`` of site.toml: the site's own registry, and the service that a release brings where there is none.

Pure, frozen and strict.
"""

from __future__ import annotations

from teraferry.bundles.model import Model
from teraferry.installer.site.fields import Argv, Text, Unit
from teraferry.installer.site.sizes import parse_size

DEFAULT_UNIT = "teraferry-registry"


class Credentials(Model, frozen=True):
    """``[registry] credentials``: the password is in a file of its own, never here."""

    user: Text
    password_file: Text


class ServiceTable(Model, frozen=True):
    """``[registry.service]``: this machine runs the registry program of the release as a service."""

    file: Text  # the program's name in the release
    path: Text = "/opt/teraferry-registry/registry"  # a link to PATH.d/<digest>
    data: Text = "/var/lib/teraferry-registry"  # the images; never emptied, moved or replaced
    settings: Text = "/etc/teraferry/registry"  # folder: configuration, certificate, private keys
    listen: Text | None = None  # the URL's address, or every one of this machine's where the URL has a name
    unit: Unit | None = None  # systemd's; written by the installer
    start: Argv | None = None  # in place of a unit: starts it, in a session of its own
    stop: Argv | None = None

    @property
    def unit_name(self) -> str | None:
        """The unit, without ``.service``; None where the site starts and stops it by commands."""
        return None if self.start else (self.unit or DEFAULT_UNIT).removesuffix(".service")

    @property
    def start_argv(self) -> tuple[str, ...]:
        """The command that starts it."""
        return self.start or ("systemctl", "start", f"{self.unit_name}.service")

    @property
    def stop_argv(self) -> tuple[str, ...]:
        """The command that stops it."""
        return self.stop or ("systemctl", "stop", f"{self.unit_name}.service")


class RegistryTable(Model, frozen=True):
    """``[registry]``: the site's own."""

    url: Text
    ca: Text | None = None
    credentials: Credentials | None = None
    plain_http: bool = False
    service: ServiceTable | None = None
    nodes_pull_above: Text | None = None  # "64MiB": a file this large is fetched by each node from here

    def is_pulled(self, length_bytes: int) -> bool:
        """Tell whether nodes fetch a file of that length from the registry by themselves."""
        return self.nodes_pull_above is not None and length_bytes >= parse_size(self.nodes_pull_above)

    @property
    def site_ca(self) -> str | None:
        """The CA that others at the site are believed by where they name none: not one made for the registry alone."""
        return None if self.service is not None else self.ca
