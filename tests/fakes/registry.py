"""A registry in memory that keeps the port's contract, and records what was asked of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from teraferry.bundles.digest import Buffer, Digest, digest_of
from teraferry.bundles.errors import BundleError, RefusedError


class FakeRegistry:
    """Holds blobs by digest, links by repository, manifests by reference."""

    def __init__(self) -> None:
        self.content: dict[Digest, bytes] = {}
        self.links: set[tuple[str, Digest]] = set()
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.calls: list[tuple[str, ...]] = []

    def require_ready(self) -> None:
        self.calls.append(("require_ready",))

    def has_blob(self, repository: str, digest: Digest, *, length_bytes: int | None = None) -> bool:
        self.calls.append(("has_blob", repository, digest))
        there = (repository, digest) in self.links
        return there and length_bytes in (None, len(self.content[digest]))

    def mount_blob(self, repository: str, digest: Digest, *, source: str) -> bool:
        self.calls.append(("mount_blob", repository, digest, source))
        if (source, digest) not in self.links:
            return False
        self.links.add((repository, digest))
        return True

    def push_blob(self, repository: str, digest: Digest, length_bytes: int, pieces: Iterable[Buffer]) -> None:
        self.calls.append(("push_blob", repository, digest))
        content = b"".join(bytes(piece) for piece in pieces)
        if len(content) != length_bytes:
            raise BundleError("blob-length-wrong", f"push blob {digest}: {len(content)}", hint="Ask for a new kit.")
        if digest_of(content) != digest:
            raise _refused(f"push blob {digest}", 400)
        # As distribution does: what is there under that name is taken for the same content.
        self.content.setdefault(digest, content)
        self.links.add((repository, digest))

    def read_blob(self, repository: str, digest: Digest) -> Iterator[Buffer]:
        self.calls.append(("read_blob", repository, digest))
        if (repository, digest) not in self.links:
            raise _refused(f"read blob {digest}", 404)
        return iter((self.content[digest],))

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> None:
        self.calls.append(("put_manifest", repository, reference))
        document = json.loads(content)
        for child in document.get("manifests", []):
            if (repository, child["digest"]) not in self.manifests:
                raise _refused(f"push manifest {reference}", 400)
        for blob in [*filter(None, [document.get("config")]), *document.get("layers", [])]:
            if (repository, blob["digest"]) not in self.links:
                raise _refused(f"push manifest {reference}", 400)
        self.manifests[repository, digest_of(content)] = content
        self.manifests[repository, reference] = content

    def get_manifest(self, repository: str, reference: str) -> bytes | None:
        self.calls.append(("get_manifest", repository, reference))
        return self.manifests.get((repository, reference))

    def count(self, call: str) -> int:
        """Return how often ``call`` was made."""
        return sum(1 for made in self.calls if made[0] == call)


def _refused(doing: str, status: int) -> RefusedError:
    return RefusedError(
        "registry-refused",
        f"fake registry: {status} to {doing}",
        hint="",
        exit_status=44,
        facts={"http_status": status},
    )
