"""A container on a node: pulled by digest from the site's own registry, named in one line that its service reads.

``PATH`` holds ``IMAGE=registry.site.local:5000/terachat/api@sha256:...`` and nothing else; the unit or compose file
starts what stands there. A digest names the same bytes for ever, which no tag does; and a reference that begins with
the site's registry never leads to a public one. What runs is asked of Docker itself: the container's image, which
Docker names by its content, must be one that the signed image consists of. ``docker pull`` said nothing about that.

The old image stays on the node, under a tag of its own: an image without any is what ``docker image prune`` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import Buffer, Digest, digest_of, hex_of, parse_digest
from teraferry.bundles.errors import BundleError, RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.workload.service import (
    Service,
    command_failed,
    not_staged,
    path_not_ours,
    require_done,
)
from teraferry.installer.ports import NodeTransport

LOOK_SECONDS: Final = 60.0
"""Docker answers what it knows at once, or is busy with a pull."""

PULL_SECONDS: Final = 3600.0
"""A large image over a site's slow network."""

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

_IMAGES = """
"$1" image ls --no-trunc --digests --format '{{.Digest}} {{.ID}}' "$2"
"""

_PULL = """
set -eu
docker=$1 reference=$2 kept=$3
umask 077
folder=$(mktemp -d "${XDG_RUNTIME_DIR:-/run}/teraferry.XXXXXXXX" 2>/dev/null || mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$folder/config.json"
if [ -s "$folder/config.json" ]; then
  "$docker" --config "$folder" pull --quiet "$reference"
else
  "$docker" pull --quiet "$reference"
fi
"$docker" tag "$reference" "$kept"
"""
# The password comes by standard input into a folder that only this user reads, in memory where /run is, and that
# goes when the pull is over: never into an argv, and never into the node's own Docker settings.


@dataclass(frozen=True, slots=True)
class ContainerPlace:
    """Where a container lives on its node, and where its image comes from."""

    path: str  # the one-line file that its service reads
    name: str  # of the container
    repository: str  # host:port/name
    variable: str = "IMAGE"
    docker: str = "docker"


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
        place: Where it is, and from where it is pulled.
        service: Starts and stops it.
        signed: Digest of a signed image -> every name that Docker may give its content: digests of its configs
            and manifests. A digest that is not in it, an old version's, is what Docker said when it was pulled.
        login: Returns Docker's ``config.json`` for the registry; empty where it asks for no password.
    """

    def __init__(
        self,
        transport: NodeTransport,
        place: ContainerPlace,
        service: Service,
        *,
        signed: Mapping[Digest, frozenset[Digest]],
        login: Callable[[], bytes],
    ) -> None:
        self._transport = transport
        self._place = place
        self._service = service
        self._signed = signed
        self._login = login

    def staged(self, digest: Digest) -> bool:
        """Tell whether the image is on the node, and is what was signed."""
        return any(found == digest and self._is_signed(digest, image) for found, image in self._images())

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        """Let the node pull the image by its digest; ``pieces`` are not needed: the registry has them.

        Raises:
            RefusedError: ``node-command-failed`` or ``node-unreachable``, 40.
        """
        del pieces, mode  # an image brings its own
        if self.staged(digest):
            return
        place = self._place
        reference, kept = f"{place.repository}@{digest}", f"{place.repository}:sha256-{hex_of(digest)}"
        done = self._script(_PULL, place.docker, reference, kept, stdin=self._login(), timeout_seconds=PULL_SECONDS)
        require_done(done, f"pull of {reference}", place.path)

    def selected(self) -> Digest | None:
        """Return what the next start runs; before the first select, what the container was made of.

        Raises:
            RefusedError: ``path-not-ours``, 40: the file holds anything but our line.
        """
        done = self._script(_SELECTED, self._place.path)
        if done.status == STATUS_NOTHING:
            container = self._container()
            return None if container is None else self._one_digest(container)
        expected = f"{self._line('sha256:...').strip()!r} alone"
        if done.status == STATUS_NOT_OURS:
            raise path_not_ours(self._place.path, "no plain file", expected)
        require_done(done, "read", self._place.path)
        begin, _, rest = done.text().partition("@")
        if f"{begin}@\n" != self._line("") or not rest.endswith("\n"):
            raise path_not_ours(self._place.path, f"{done.text()[:200]!r}", expected)
        try:
            return parse_digest(rest[:-1])
        except BundleError:
            raise path_not_ours(self._place.path, f"{done.text()[:200]!r}", expected) from None

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
        return f"{self._place.variable}={self._place.repository}@{digest}\n"

    def _not_gone(self) -> Sequence[str]:
        container = self._container()
        # One that restarts again and again runs nothing now, and something in a moment.
        return () if container is None or container.status in _GONE else (f"container {self._place.name}",)

    def _container(self) -> _Container | None:
        place = self._place
        done = self._script(_CONTAINER, place.docker, place.name)
        if done.status == STATUS_NOTHING:
            return None
        require_done(done, f"look at container {place.name}", place.path)
        for line in done.text().splitlines():
            words = line.split()
            # Docker's filter is a pattern that finds longer names as well.
            if len(words) == 4 and words[0] == f"/{place.name}":
                return _Container(words[1], self._parse(words[2], done), words[3])
        return None

    def _images(self) -> list[tuple[Digest, Digest]]:
        """Return (digest it was pulled by, id) of every image of our repository on the node."""
        done = self._script(_IMAGES, self._place.docker, self._place.repository)
        require_done(done, "look at images", self._place.path)
        rows = [line.split() for line in done.text().splitlines()]
        return [
            (self._parse(digest, done), self._parse(image, done)) for digest, image in rows if digest.startswith("sha")
        ]

    def _digests(self, container: _Container) -> frozenset[Digest]:
        """Return the digests that the container's image was pulled by; its own name where it was not pulled."""
        known = frozenset(
            digest for digest, image in self._images() if image == container.image_id and self._is_signed(digest, image)
        )
        repository, _, digest = container.reference.partition("@")
        if repository == self._place.repository and digest in known:
            return frozenset(each for each in known if each == digest)
        return known or frozenset({container.image_id})

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

    def _is_signed(self, digest: Digest, image: Digest) -> bool:
        return digest not in self._signed or image in self._signed[digest]

    def _script(
        self, script: str, *arguments: str, stdin: bytes = b"", timeout_seconds: float = LOOK_SECONDS
    ) -> Completed:
        argv = ["sh", "-c", script, "sh", *arguments]
        return self._transport.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    def _parse(self, text: str, done: Completed) -> Digest:
        try:
            return parse_digest(text)
        except BundleError as error:
            raise command_failed(done, "read what docker says", self._place.path) from error
