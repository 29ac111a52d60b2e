"""A container on a node: pulled by digest from the site's own registry, named in one line that its service reads.

``PATH`` holds ``IMAGE=registry.site.local:5000/terachat/api@sha256:...`` and nothing else; the unit or compose file
starts what stands there. A digest names the same bytes for ever, which no tag does; and a reference that begins with
the site's registry never leads to a public one. What runs is asked of Docker itself: the container's image, which
Docker names by its content, must be one that the signed image consists of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import Buffer, Digest, digest_of, parse_digest
from teraferry.bundles.errors import BundleError, RefusedError
from teraferry.installer.adapters.workload.docker_images import LOOK_SECONDS, DockerImages
from teraferry.installer.adapters.workload.service import Service, not_staged, path_not_ours, require_done
from teraferry.installer.ports import NodeTransport

FILE_MODE: Final = 0o644
"""Units and compose read it, whoever runs them; no secret is in it."""

STATUS_NOTHING = 80
STATUS_NOT_OURS = 81

_GONE: Final = frozenset({"created", "exited", "dead"})
"""States of a container of which nothing runs."""

_SELECTED = """
[ -e "$1" ] || [ -L "$1" ] || exit 80
[ -f "$1" ] && [ ! -L "$1" ] || exit 81
head -c 2000 "$1"
"""

_CONTAINER = """
docker=$1 name=$2
for attempt in 1 2 3; do
  ids=$("$docker" ps --all --no-trunc --quiet --filter "name=$name") || exit 1
  [ -n "$ids" ] || exit 80
  "$docker" container inspect --format '{{.Name}} {{.State.Status}} {{.Image}} {{.Config.Image}}' $ids && exit 0
done
exit 1
"""
# Between the two a container may be removed, and another made under its name.


@dataclass(frozen=True, slots=True)
class ContainerPlace:
    """Where a container lives on its node."""

    path: str  # the one-line file that its service reads
    name: str  # of the container
    variable: str = "IMAGE"


@dataclass(frozen=True, slots=True)
class _Container:
    """What Docker says of one container."""

    status: str
    image_id: Digest
    reference: str  # what it was started from


class ContainerWorkload:
    """``Workload`` of one container on one node.

    Args:
        transport: Reaches the node.
        place: Where it is.
        images: Its image's versions on the node.
        service: Starts and stops it.
    """

    def __init__(
        self, transport: NodeTransport, place: ContainerPlace, *, images: DockerImages, service: Service
    ) -> None:
        self._transport = transport
        self._place = place
        self._images = images
        self._service = service

    def staged(self, digest: Digest) -> bool:
        """Tell whether the image is on the node, and is what was signed."""
        return self._images.staged(digest)

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        """Let the node pull the image; the registry has its bytes, see ``DockerImages.stage``."""
        del pieces, mode
        self._images.stage(digest)

    def selected(self) -> Digest | None:
        """Return what the next start runs; before the first select, what the container was made of.

        Raises:
            RefusedError: ``path-not-ours``, 40: the file holds anything but our line.
        """
        argv = ["sh", "-c", _SELECTED, "sh", self._place.path]
        done = self._transport.run(argv, timeout_seconds=LOOK_SECONDS)
        if done.status == STATUS_NOTHING:
            container = self._container()
            return None if container is None else self._one_digest(container)
        expected = f"{self._line('sha256:...').strip()!r} alone"
        if done.status == STATUS_NOT_OURS:
            raise path_not_ours(self._place.path, "no plain file", expected)
        require_done(done, "read", self._place.path)
        begin, _, rest = done.text().partition("@")
        try:
            digest = parse_digest(rest.removesuffix("\n"))
        except BundleError:
            raise path_not_ours(self._place.path, f"{done.text()[:200]!r}", expected) from None
        if done.text() != self._line(digest):
            raise path_not_ours(self._place.path, f"{begin[:200]!r} before a digest", expected)
        return digest

    def select(self, digest: Digest) -> None:
        """Write the one line, in one rename; the old image stays.

        Raises:
            RefusedError: ``not-staged`` or ``path-not-ours``, 40.
        """
        self.selected()  # never over a file that is not ours
        if not self.staged(digest):
            raise not_staged("image", "on the node", digest)
        line = self._line(digest).encode()
        self._transport.upload([line], self._place.path, mode=FILE_MODE, digest=digest_of(line))

    def running(self) -> frozenset[Digest]:
        """Return the digest of the image that the container was made of; nothing unless it runs."""
        container = self._container()
        if container is None or container.status != "running":
            return frozenset()
        return self._digests(container)

    def stop(self) -> None:
        """Run the stop command unless nothing is there, and wait; see ``Service.stop``."""
        self._service.stop(self._not_gone)

    def start(self) -> None:
        """Run the start command unless the selected version runs already; see ``Service.start``."""
        if self.running() != {self.selected()}:
            self._service.start()

    def _line(self, digest: str) -> str:
        return f"{self._place.variable}={self._images.reference(digest)}\n"

    def _not_gone(self) -> Sequence[str]:
        container = self._container()
        # One that restarts again and again runs nothing now, and something in a moment.
        return () if container is None or container.status in _GONE else (f"container {self._place.name}",)

    def _container(self) -> _Container | None:
        done = self._images.run(_CONTAINER, self._place.name)
        if done.status == STATUS_NOTHING:
            return None
        require_done(done, f"look at container {self._place.name}", self._place.path)
        for line in done.text().splitlines():
            words = line.split()
            # Docker's filter is a pattern that finds longer names as well.
            if len(words) == 4 and words[0] == f"/{self._place.name}":
                return _Container(words[1], self._images.parse(words[2], done), words[3])
        return None

    def _digests(self, container: _Container) -> frozenset[Digest]:
        """Return the digests that the container's image was pulled by; its content's own name where it was not."""
        known = frozenset(
            digest
            for digest, image in self._images.rows()
            if image == container.image_id and self._images.is_signed(digest, image)
        )
        started_from = frozenset(each for each in known if self._images.reference(each) == container.reference)
        return started_from or known or frozenset({container.image_id})

    def _one_digest(self, container: _Container) -> Digest:
        digests = sorted(self._digests(container))
        if len(digests) != 1:
            raise RefusedError(
                "cannot-tell",
                f"container {self._place.name}: its image was pulled as {digests}, expected one digest",
                hint=f"Write the right one into {self._place.path} on the node: {self._line('sha256:...').strip()}",
                facts={"path": self._place.path},
            )
        return digests[0]
