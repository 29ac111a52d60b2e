"""Where the kit's registry keeps the images, and the address it has on this machine.

The folder of the images gets a mark when it is made. A folder without it, at a site whose registry was set up
before, is not an empty registry but a disk that is not mounted: whoever filled that folder would
fill the wrong disk, and hide the images when the right one comes back.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from teraferry.bundles.digest import Digest, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.durable import make_folder_durably, partial_of, write_durably
from teraferry.installer.adapters.registry.kit_files import not_written, require_own_way

MARK_NAME: Final = ".teraferry-registry"
MARK: Final = b"Images of the local registry. docs/registry.md tells what may be done with them.\n"

SPARE_BYTES: Final = 256 * 1024 * 1024
"""What stays free beside the images: the registry needs room to begin an upload at all."""

_BLOBS: Final = "docker/registry/v2/blobs/sha256"
"""Where distribution keeps a blob, as <2 digits>/<digest>/data; the same from 2.0 to 3.x."""


class KitPlaces:
    """``Places`` of this machine.

    Args:
        data: Folder of the images.
        settings: Folder of the registry's settings.
        program: Path of the program.
        host: The registry's name, as clients know it.
        listen: Where it listens, ``host:port`` or ``:port``.
        is_told: The site says where it listens: ``host`` may be an address of a machine before this one.
    """

    def __init__(self, data: Path, settings: Path, program: Path, *, host: str, listen: str, is_told: bool) -> None:
        self._data, self._settings, self._program = data, settings, program
        self._host, self._is_told = host, is_told
        address, _, port = listen.rpartition(":")
        self._listen = address.strip("[]"), int(port)

    def require_sound(self, *, was_laid_out: bool) -> None:
        """Check the ways to all folders, and the mark; see ``kit_registry.ports.Places``."""
        for folder in (self._data, self._settings, self._program.parent):
            require_own_way(folder)
        mark = self._data / MARK_NAME
        if was_laid_out and not mark.exists():
            raise RefusedError(
                "registry-data-missing",
                f"registry data {self._data}: without its mark {MARK_NAME}, expected the images that were there",
                hint=f"Mount the disk that holds {self._data} (see /etc/fstab), then type the same command again. Only "
                f"if those images are lost for good: mkdir -p {self._data}; touch {mark}; they are loaded again.",
                exit_status=44,
                facts={"path": str(self._data)},
            )

    def require_room(self, blobs: Mapping[Digest, int]) -> None:
        """Check that the blobs that are not there yet fit; see ``kit_registry.ports.Places``."""
        missing = sum(length for digest, length in blobs.items() if not self._blob(digest).exists())
        folder = next(part for part in (self._data, *self._data.parents) if part.is_dir())
        room = os.statvfs(folder)
        free = room.f_bavail * room.f_frsize
        if missing and free < missing + SPARE_BYTES:
            raise RefusedError(
                "registry-no-room",
                f"registry data {self._data}: {free} bytes free, expected {missing + SPARE_BYTES} for this release",
                hint=f"Make room there (see `df {folder}`), or mount a larger disk at {self._data} before the first "
                "install; then type the same command again.",
                exit_status=44,
                facts={"path": str(self._data), "found": free, "expected": missing + SPARE_BYTES},
            )

    def require_address(self, *, is_running: bool) -> None:
        """Check name and port; see ``kit_registry.ports.Places``."""
        if not self._is_told:
            self._require_this_machine()
        address, port = self._listen
        if not is_running and (problem := _bind_problem(address, port)):
            taken = problem.errno == errno.EADDRINUSE
            shown = f"{address or '*'}:{port}"
            raise RefusedError(
                "registry-port-taken",
                f"registry address {shown}: {'another program listens there' if taken else problem.strerror}, "
                "expected it to be free",
                hint=f"See who has it: ss -ltnp 'sport = :{port}'. Stop that program, or write another port into url.",
                exit_status=44,
                facts={"address": shown},
            )

    def are_laid_out(self) -> bool:
        """Tell whether the folders are there, that of the images with its mark."""
        return (self._data / MARK_NAME).exists() and self._settings.is_dir()

    def lay_out(self) -> None:
        """Make the folders, mark that of the images; what is in them stays."""
        try:
            make_folder_durably(self._settings, mode=0o700)
            make_folder_durably(self._data, mode=0o700)
            mark = self._data / MARK_NAME
            for torn in self._data.glob(partial_of(mark, "*").name):
                torn.unlink(missing_ok=True)
            write_durably(mark, MARK)
        except OSError as error:
            raise not_written(f"folders of the registry, {self._data} and {self._settings}", error) from error

    def _blob(self, digest: Digest) -> Path:
        digits = hex_of(digest)
        return self._data / _BLOBS / digits[:2] / digits / "data"

    def _require_this_machine(self) -> None:
        try:
            found = sorted({str(each[4][0]) for each in socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)})
        except OSError:
            found = []
        if any(_bind_problem(address, 0) is None for address in found):
            return
        raise RefusedError(
            "registry-not-this-machine",
            f"registry {self._host}: {', '.join(found) or 'no address for that name'}, expected one of this machine's",
            hint=f"This machine is to be the registry: write its address into url, or give it the name {self._host} in "
            "/etc/hosts and in the site's DNS. See `ip addr`.",
            exit_status=44,
            facts={"host": self._host, "found": found},
        )


def _bind_problem(address: str, port: int) -> OSError | None:
    """Return why nobody could listen there; None when somebody could."""
    family = socket.AF_INET6 if ":" in address or (not address and socket.has_dualstack_ipv6()) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # What a connection that just ended leaves behind does not keep a registry from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if address else 0)
        try:
            probe.bind((address, port))
            probe.listen()
        except OSError as error:
            return error
    return None
