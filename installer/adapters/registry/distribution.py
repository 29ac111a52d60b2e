"""The site's registry, by the OCI distribution protocol: distribution, Harbor, Zot.

Blobs are pushed in one piece (POST, then PUT with the bytes), so that a push that broke leaves nothing
to reason about: it is cancelled and done again. What a registry says without being asked for the bytes
(HEAD, headers) decides only what need not be sent again, never what is right.

Source: OCI distribution specification v1.1, "Push" and "Pull".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import quote, urlsplit

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.limits import MAX_IMAGE_MANIFEST_BYTES
from teraferry.installer.adapters.registry import answers
from teraferry.installer.adapters.registry.answers import Answer
from teraferry.installer.adapters.registry.connection import BACKOFF_SECONDS, RegistryConnection
from teraferry.installer.adapters.registry.settings import (
    RegistrySettings,
    load_credentials,
    load_tls_context,
    parse_endpoint,
)

MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""Asked for by name: without them docker-registry converts a manifest and its digest changes."""


def open_registry(settings: RegistrySettings, *, connections: int) -> DistributionRegistry:
    """Return the registry that ``settings`` name; nothing is sent yet.

    Raises:
        UsageError: The settings, the CA file or the password file are wrong: see ``settings``.
    """
    endpoint = parse_endpoint(settings)
    return DistributionRegistry(
        RegistryConnection(
            endpoint,
            tls=load_tls_context(settings) if endpoint.scheme == "https" else None,
            credentials=load_credentials(settings),
            connections=connections,
            backoff_seconds=BACKOFF_SECONDS,
        )
    )


class DistributionRegistry:
    """Adapter of ``installer.ports.Registry``. Threads may share it."""

    def __init__(self, connection: RegistryConnection) -> None:
        self._connection = connection
        self.name = connection.name

    def close(self) -> None:
        """Close every idle connection."""
        self._connection.close()

    def require_ready(self) -> None:
        """Check that it answers, proves who it is, and lets us in."""
        doing = "GET /v2/"
        answer = self._connection.ask("GET", "/v2/", doing=doing)
        if answer.status != 200:
            raise self._refusal(answer, doing)

    def has_blob(self, repository: str, digest: Digest, *, length_bytes: int | None = None) -> bool:
        """Tell whether the blob is there, with that length when one is given."""
        doing = f"look for blob {digest} in {repository}"
        answer = self._connection.ask("HEAD", _blob_path(repository, digest), doing=doing)
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise self._refusal(answer, doing)
        return length_bytes is None or answer.headers.get("Content-Length") == str(length_bytes)

    def mount_blob(self, repository: str, digest: Digest, *, source: str) -> bool:
        """Try to take the blob over from ``source``; False when the registry would rather have the bytes."""
        doing = f"mount blob {digest} into {repository}"
        path = f"/v2/{quote(repository)}/blobs/uploads/?mount={quote(digest)}&from={quote(source, safe='')}"
        answer = self._connection.ask("POST", path, doing=doing)
        if answer.status == 202:
            # It opened an upload instead; left open it would lie on the registry's disk for a week.
            self._cancel(self._location(answer, doing))
            return False
        if answer.status != 201:
            raise self._refusal(answer, doing)
        return True

    def push_blob(self, repository: str, digest: Digest, length_bytes: int, pieces: Iterable[Buffer]) -> None:
        """Upload one blob; after a broken connection again from its first byte.

        ``pieces`` is iterated anew for each attempt; an iterator, which cannot be, gets one attempt.

        Raises:
            RefusedError: 44, one of the ``registry-...`` references; the upload was cancelled.
            BundleError: Whatever ``pieces`` raises; the upload was cancelled.
        """
        doing = f"push blob {digest} to {repository}"
        once = iter(pieces) is pieces

        def attempt() -> Answer:
            return self._upload(repository, digest, length_bytes, pieces, doing=doing)

        answer = self._connection.persist(attempt, doing=doing, once=once)
        if answer.status != 201:
            raise self._refusal(answer, doing)
        self._require_same(answer, digest, what=f"blob {digest}")

    def _upload(
        self, repository: str, digest: Digest, length_bytes: int, pieces: Iterable[Buffer], *, doing: str
    ) -> Answer:
        opened = self._connection.ask("POST", f"/v2/{quote(repository)}/blobs/uploads/", doing=doing)
        if opened.status != 202:
            return opened
        location = self._location(opened, doing)
        joiner = "&" if "?" in location else "?"
        try:
            answer = self._connection.upload(
                f"{location}{joiner}digest={quote(digest)}", pieces, length_bytes=length_bytes, doing=doing
            )
        except BaseException:
            self._cancel(location)
            raise
        if answer.status != 201:
            self._cancel(location)
        return answer

    def _cancel(self, location: str) -> None:
        """Ask the registry to drop an upload. The reason for it is what the caller reports, not a failure here.

        docker-registry 2.8.2 refuses once bytes arrived (it deems the address stale) and purges what is left
        after a week; others drop it at once.
        """
        with suppress(RefusedError):
            self._connection.ask("DELETE", location, doing="cancel an upload", once=True)

    def read_blob(self, repository: str, digest: Digest) -> Iterator[bytes]:
        """Return the bytes the registry serves for a blob, unverified: the caller digests them."""
        doing = f"read blob {digest} from {repository}"
        answer, body = self._connection.stream(_blob_path(repository, digest), doing=doing)
        if answer.status != 200:
            raise self._refusal(answer, doing)
        return body

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> None:
        """Upload a manifest under a tag or its digest."""
        doing = f"push manifest {repository} {reference}"
        answer = self._connection.ask(
            "PUT",
            f"/v2/{quote(repository)}/manifests/{quote(reference)}",
            doing=doing,
            headers={"Content-Type": media_type},
            body=content,
        )
        if answer.status != 201:
            raise self._refusal(answer, doing)

    def get_manifest(self, repository: str, reference: str) -> bytes | None:
        """Return the manifest's bytes, unverified; None when it is not there."""
        doing = f"read manifest {repository} {reference}"
        answer = self._connection.ask(
            "GET",
            f"/v2/{quote(repository)}/manifests/{quote(reference)}",
            doing=doing,
            headers={"Accept": ", ".join(MANIFEST_TYPES)},
            limit_bytes=MAX_IMAGE_MANIFEST_BYTES,
        )
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._refusal(answer, doing)
        if len(answer.body) > MAX_IMAGE_MANIFEST_BYTES:
            raise answers.answer_wrong(
                registry=self.name,
                what=f"manifest {repository} {reference}",
                found="larger than any manifest",
                expected=f"at most {MAX_IMAGE_MANIFEST_BYTES} bytes",
            )
        return answer.body

    def _refusal(self, answer: Answer, doing: str) -> RefusedError:
        return answers.refusal(answer, registry=self.name, doing=doing)

    def _location(self, answer: Answer, doing: str) -> str:
        """Return path and query of an upload.

        Whatever host the registry names (behind a proxy often a wrong one), we speak to that of site.toml.
        """
        location = urlsplit(answer.headers.get("Location", ""))
        if not location.path.startswith("/"):
            raise answers.answer_wrong(
                registry=self.name, what=f"upload address ({doing})", found="none", expected="an absolute path"
            )
        return f"{location.path}?{location.query}" if location.query else location.path

    def _require_same(self, answer: Answer, digest: Digest, *, what: str) -> None:
        found = answer.headers.get("Docker-Content-Digest", digest)
        if found != digest:
            raise answers.answer_wrong(registry=self.name, what=what, found=found[:80], expected=digest)


def _blob_path(repository: str, digest: Digest) -> str:
    return f"/v2/{quote(repository)}/blobs/{quote(digest)}"
