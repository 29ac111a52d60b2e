"""A registry that is not there yet: opened, its password and its CA read, when it is first spoken to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from teraferry.bundles.digest import Buffer, Digest
from teraferry.installer.adapters.registry.distribution import DistributionRegistry, open_registry
from teraferry.installer.adapters.registry.settings import RegistrySettings


class LateRegistry:
    """``Registry`` whose files are made, and whose program is started, by the command that then speaks to it."""

    def __init__(self, settings: RegistrySettings, *, connections: int) -> None:
        self._settings = settings
        self._connections = connections

    @cached_property
    def _opened(self) -> DistributionRegistry:
        return open_registry(self._settings, connections=self._connections)

    def require_ready(self) -> None:
        """See ``installer.ports.Registry``."""
        self._opened.require_ready()

    def has_blob(self, repository: str, digest: Digest, *, length_bytes: int | None = None) -> bool:
        """See ``installer.ports.Registry``."""
        return self._opened.has_blob(repository, digest, length_bytes=length_bytes)

    def mount_blob(self, repository: str, digest: Digest, *, source: str) -> bool:
        """See ``installer.ports.Registry``."""
        return self._opened.mount_blob(repository, digest, source=source)

    def push_blob(self, repository: str, digest: Digest, length_bytes: int, pieces: Iterable[Buffer]) -> None:
        """See ``installer.ports.Registry``."""
        self._opened.push_blob(repository, digest, length_bytes, pieces)

    def read_blob(self, repository: str, digest: Digest) -> Iterator[Buffer]:
        """See ``installer.ports.Registry``."""
        return self._opened.read_blob(repository, digest)

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> None:
        """See ``installer.ports.Registry``."""
        self._opened.put_manifest(repository, reference, content, media_type)

    def get_manifest(self, repository: str, reference: str) -> bytes | None:
        """See ``installer.ports.Registry``."""
        return self._opened.get_manifest(repository, reference)
