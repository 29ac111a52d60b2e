"""Large files of a release in the site's registry, so that nodes may fetch them there by their digest.

A blob that no manifest names is what a registry's garbage collection takes away. So the files are the layers of one OCI
artifact, whose tag is made of its own digest: the same files are the same artifact, and no other release moves it.

Source: OCI image specification v1.1, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from teraferry.bundles.digest import Buffer, Digest, digest_of, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.image_plan import OCI_MANIFEST
from teraferry.installer.ports import Registry

REPOSITORY: Final = "teraferry/files"
ARTIFACT_TYPE: Final = "application/vnd.teraferry.files.v1"
TAG_DIGITS: Final = 32

_FILE_TYPE: Final = "application/octet-stream"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_EMPTY: Final = b"{}"


class PublishedFiles:
    """Brings files into the registry when the first of them is asked for. Threads may share it.

    Args:
        registry: The site's own.
        files: Digest -> length in bytes.
        pieces: Returns the verified bytes of one, anew each time.
    """

    def __init__(
        self, registry: Registry, files: Mapping[Digest, int], pieces: Callable[[Digest], Iterable[Buffer]]
    ) -> None:
        self._registry = registry
        self._files = dict(sorted(files.items()))
        self._pieces = pieces
        self._lock = threading.Lock()
        self._done = False
        self._refused: RefusedError | None = None

    def publish(self) -> None:
        """Return once every file is in the registry, and named by a manifest there. Idempotent.

        Raises:
            RefusedError: 44, one of the ``registry-...`` references; the same for everybody who asks again.
        """
        with self._lock:
            if self._refused is not None:
                raise self._refused
            if not self._done:
                try:
                    self._publish()
                except RefusedError as error:
                    self._refused = error
                    raise
                self._done = True

    def _publish(self) -> None:
        for digest, length_bytes in self._files.items():
            self._bring(digest, length_bytes, self._pieces(digest))
        self._bring(digest_of(_EMPTY), len(_EMPTY), (_EMPTY,))
        manifest = encode_artifact(self._files)
        reference = hex_of(digest_of(manifest))[:TAG_DIGITS]
        self._registry.put_manifest(REPOSITORY, reference, manifest, OCI_MANIFEST)

    def _bring(self, digest: Digest, length_bytes: int, pieces: Iterable[Buffer]) -> None:
        if not self._registry.has_blob(REPOSITORY, digest, length_bytes=length_bytes):
            self._registry.push_blob(REPOSITORY, digest, length_bytes, pieces)


def encode_artifact(files: Mapping[Digest, int]) -> bytes:
    """Return the manifest that names ``files``."""
    layers = [{"mediaType": _FILE_TYPE, "digest": digest, "size": length} for digest, length in files.items()]
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": _EMPTY_TYPE, "digest": digest_of(_EMPTY), "size": len(_EMPTY)},
            "layers": layers,
        }
    )
