"""What the registry program is told, and what systemd is told of it: two texts, each made from site.toml alone. Pure.

No secret is in either: the configuration names the files that hold them.

Source: distribution's "Configuring a registry", as 2.8.2 was seen to read it; systemd.exec(5), systemd.unit(5).
"""

from __future__ import annotations

from typing import Final

from teraferry.installer.site.addresses import is_address, registry_endpoint
from teraferry.installer.site.registry_table import RegistryTable, ServiceTable

CONFIGURATION_NAME: Final = "config.yml"
CERTIFICATE_NAME: Final = "server.pem"
KEY_NAME: Final = "server.key"
AUTHORITY_KEY_NAME: Final = "ca.key"
PASSWORDS_NAME: Final = "htpasswd"

UNIT_MARK: Final = "# Written by teraferry-installer from [registry.service] of site.toml; it writes it again."
"""First line of a unit that is ours to write."""


def listen_address(registry: RegistryTable, service: ServiceTable) -> str:
    """Return where the registry listens: ``10.0.0.5:5000``, or ``:5000`` for every address of this machine."""
    _, host, port = registry_endpoint(registry.url)
    if service.listen is not None:
        return service.listen
    if not is_address(host):
        return f":{port}"  # a name: which of this machine's addresses it stands for is the network's business
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def encode_configuration(registry: RegistryTable, service: ServiceTable) -> bytes:
    """Return the configuration of the registry program.

    Nothing can be deleted through it, whoever learned the password: an installer never deletes.
    """
    lines = [
        "version: 0.1",
        "log: {level: info, accesslog: {disabled: true}}",
        "storage:",
        f"  filesystem: {{rootdirectory: {service.data}}}",
        "  cache: {blobdescriptor: inmemory}",
        "  delete: {enabled: false}",
        "http:",
        f"  addr: '{listen_address(registry, service)}'",
        "  headers: {X-Content-Type-Options: [nosniff]}",
        "  tls:",
        f"    certificate: {service.settings}/{CERTIFICATE_NAME}",
        f"    key: {service.settings}/{KEY_NAME}",
        "    minimumtls: tls1.2",
        "auth:",
        f"  htpasswd: {{realm: registry, path: {service.settings}/{PASSWORDS_NAME}}}",
    ]
    return ("\n".join(lines) + "\n").encode()


def encode_unit(service: ServiceTable) -> bytes:
    """Return the systemd unit.

    The program runs as root with no privilege of root's but low ports, in a file system that it can write nowhere
    but where the images are, and where it sees neither the CA's key nor the installer's state. Without the disk
    that holds the images it does not start: it would take an empty folder for an empty registry.
    """
    lines = [
        UNIT_MARK,
        "[Unit]",
        "Description=Local image registry",
        "Wants=network-online.target",
        "After=network-online.target",
        f"RequiresMountsFor={service.data} {service.settings} {service.path}",
        "",
        "[Service]",
        f"ExecStart={service.path} serve {service.settings}/{CONFIGURATION_NAME}",
        "Environment=OTEL_TRACES_EXPORTER=none",  # 3.x sends traces to whoever listens, unless told not to
        "Restart=on-failure",
        "RestartSec=5",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        f"ReadWritePaths={service.data}",
        f"InaccessiblePaths=-{service.settings}/{AUTHORITY_KEY_NAME} -/var/lib/teraferry",
        "ProtectHome=read-only",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectControlGroups=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "LockPersonality=yes",
        "SystemCallFilter=@system-service",
        "LimitNOFILE=65536",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return ("\n".join(lines) + "\n").encode()
