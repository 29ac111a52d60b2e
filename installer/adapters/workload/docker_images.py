"""Images on a node's own Docker: pulled by digest from the site's registry, and judged by what they consist of.

``docker pull NAME@DIGEST`` says that it checked; what is there is asked of Docker all the same: the name that it gives
an image by its content must be one of the signed image's own, of its configs or manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import Digest, hex_of, parse_digest
from teraferry.bundles.errors import BundleError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.workload.service import command_failed, require_done
from teraferry.installer.ports import NodeTransport

LOOK_SECONDS: Final = 60.0
"""Docker answers what it knows at once, or is busy with a pull."""

PULL_SECONDS: Final = 3600.0
"""A large image over a site's slow network."""

_IMAGES = """
"$1" image ls --no-trunc --digests --format '{{.Digest}} {{.ID}}' "$2"
"""

LOGGED_IN = """
set -eu
docker=$1; shift
umask 077
folder=$(mktemp -d "${XDG_RUNTIME_DIR:-/run}/teraferry.XXXXXXXX" 2>/dev/null || mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$folder/config.json"
as_site() {
  if [ -s "$folder/config.json" ]; then "$docker" --config "$folder" "$@"; else "$docker" "$@"; fi
}
"""
"""Begins a script in which ``as_site`` is docker, with the password of the site's registry where it has one.

The password comes by standard input into a folder that only this user reads, in memory where /run is, and that goes
when the script is over: never into an argv, and never into the node's own Docker settings."""

_PULL = """
as_site pull --quiet "$1"
"$docker" tag "$1" "$2"
"""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where an image comes from, and how one knows it."""

    repository: str  # host:port/name
    signed: Mapping[Digest, frozenset[Digest]]  # digest of a signed image -> every name that its content may have
    login: Callable[[], bytes]  # returns Docker's config.json for the registry; empty where it asks for no password
    docker: str = "docker"


class DockerImages:
    """The images of one repository on one node.

    A digest that is not in ``source.signed``, an old version's, is what Docker said when it was pulled.
    """

    def __init__(self, transport: NodeTransport, source: ImageSource, *, path: str) -> None:
        self._transport = transport
        self._source = source
        self._path = path  # what the workload is called, for messages

    @property
    def repository(self) -> str:
        """Return what its images are called: host:port/name."""
        return self._source.repository

    def reference(self, digest: str) -> str:
        """Return what Docker calls one image; it leads to the site's registry and nowhere else."""
        return f"{self._source.repository}@{digest}"

    def staged(self, digest: Digest) -> bool:
        """Tell whether the image is on the node, and is what was signed."""
        return any(found == digest and self.is_signed(digest, image) for found, image in self.rows())

    def stage(self, digest: Digest) -> None:
        """Let the node pull the image by its digest.

        It gets a tag of its own, since ``docker image prune`` takes images without one.

        Raises:
            RefusedError: ``node-command-failed`` or ``node-unreachable``, 40.
        """
        if self.staged(digest):
            return
        kept = f"{self._source.repository}:sha256-{hex_of(digest)}"
        done = self.run_logged_in(_PULL, self.reference(digest), kept)
        require_done(done, f"pull of {self.reference(digest)}", self._path)

    def rows(self) -> list[tuple[Digest, Digest]]:
        """Return (digest it was pulled by, name of its content) of every image of the repository."""
        done = self.run(_IMAGES, self._source.repository)
        require_done(done, "look at images", self._path)
        rows = [line.split() for line in done.text().splitlines()]
        return [
            (self.parse(digest, done), self.parse(image, done)) for digest, image in rows if digest.startswith("sha")
        ]

    def is_signed(self, digest: Digest, image: Digest) -> bool:
        """Tell whether content called ``image`` may be what was signed as ``digest``."""
        return digest not in self._source.signed or image in self._source.signed[digest]

    def run(self, script: str, *arguments: str) -> Completed:
        """Run ``script`` on the node; its first argument is the docker program."""
        argv = ["sh", "-c", script, "sh", self._source.docker, *arguments]
        return self._transport.run(argv, timeout_seconds=LOOK_SECONDS)

    def run_logged_in(self, script: str, *arguments: str) -> Completed:
        """Run ``script`` on the node behind ``LOGGED_IN``."""
        argv = ["sh", "-c", LOGGED_IN + script, "sh", self._source.docker, *arguments]
        return self._transport.run(argv, stdin=self._source.login(), timeout_seconds=PULL_SECONDS)

    def parse(self, text: str, done: Completed) -> Digest:
        """Return a digest that Docker printed.

        Raises:
            RefusedError: ``node-command-failed``, 40: it printed something else.
        """
        try:
            return parse_digest(text)
        except BundleError as error:
            raise command_failed(done, "read what docker says", self._path) from error
