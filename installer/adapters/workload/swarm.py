"""A service of a Docker swarm: Docker's own orchestrator replaces its tasks, one after the other, and goes back itself.

It is asked through one manager. There is no stop and no start: ``select`` is the whole rolling update, by digest from
the site's registry, and returns when the swarm says that it is completed. ``docker service update`` ends with 0 also
when the swarm rolled back by itself, so what became of it is read from the service: its update's state, and the image
it stands on. Workers get the registry's password from the swarm, for their pulls.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.workload.docker_images import DockerImages
from teraferry.installer.adapters.workload.service import not_staged, require_done

STATUS_NOTHING = 80
_COMPLETED: Final = "completed"

_SERVICE = """
docker=$1 name=$2
names=$("$docker" service ls --filter "name=$name" --format '{{.Name}}') || exit 1
printf '%s\\n' "$names" | grep -qxF -- "$name" || exit 80
"$docker" service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' "$name"
"$docker" service inspect --format '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{else}}never{{end}}' "$name"
"""

_STALLED_SECONDS: Final = 600.0
"""No task came or went for so long; a worker may pull a large image meanwhile."""

_LOOK_AGAIN_SECONDS: Final = 0.5

_MOVING: Final = frozenset({"never", "updating", "rollback_started"})
"""States of an update that goes on; the swarm forgets the last one's when a new one is asked for."""

_COMINGS = """
"$1" service ps --no-trunc --format '{{.ID}} {{.DesiredState}}' "$2"
"""

_TASKS = """
"$1" service ps --no-trunc --filter desired-state=running --format '{{.CurrentState}}|{{.Image}}' "$2"
"""

_UPDATE = """
as_site service update --image "$1" --no-resolve-image --with-registry-auth --detach --quiet "$2"
"""
# --no-resolve-image: the digest is all there is to know, and nobody but the site's registry is to be asked.


class SwarmWorkload:
    """``Workload`` of one service.

    Args:
        service: Its name in the swarm.
        images: Its image's versions on the manager.
    """

    def __init__(self, service: str, images: DockerImages) -> None:
        self._service = service
        self._images = images

    def staged(self, digest: Digest) -> bool:
        """Tell whether the manager has the image, and it is what was signed."""
        return self._images.staged(digest)

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        """Let the manager pull the image; workers pull it when it is their turn."""
        del pieces, mode
        self._images.stage(digest)

    def selected(self) -> Digest | None:
        """Return the digest that the service stands on.

        Raises:
            RefusedError: ``swarm-service``, 40: there is no such service, or it stands on no digest of our image.
        """
        return self._look()[0]

    def select(self, digest: Digest) -> None:
        """Let the swarm bring the service to ``digest``, and wait until it has.

        Raises:
            RefusedError: ``swarm-rolled-back``: the swarm gave up by itself; ``not-staged``, ``node-command-failed``.
        """
        found, state = self._look()
        self._images.stage(digest)  # of an old version, whose image a manager may never have had
        if not self.staged(digest):
            raise not_staged("image", "on the manager", digest)
        if found == digest and (state == _COMPLETED or self.running() == {digest}):
            return
        done = self._images.run_logged_in(_UPDATE, self._images.reference(digest), self._service)
        require_done(done, f"update of service {self._service}", self._service)
        found, state = self._wait()
        if (found, state) != (digest, _COMPLETED):
            raise RefusedError(
                "swarm-rolled-back",
                f"service {self._service}: update {state}, on {found}, expected completed, on {digest}",
                hint=f"`docker service ps {self._service}` on a manager says why; the swarm went back by itself.",
                facts={"service": self._service, "state": state, "found": found, "expected": digest},
            )

    def running(self) -> frozenset[Digest]:
        """Return the digests of all tasks that shall run; nothing unless each of them does."""
        done = self._images.run(_TASKS, self._service)
        require_done(done, f"look at the tasks of {self._service}", self._service)
        rows = [line.partition("|") for line in done.text().splitlines()]
        if not all(state.startswith("Running ") for state, _, _ in rows):
            return frozenset()
        return frozenset(self._images.parse(image.rpartition("@")[2], done) for _, _, image in rows)

    def stop(self) -> None:
        """The swarm itself stops each task when its turn comes; none is stopped before another can take its place."""

    def start(self) -> None:
        """The swarm itself starts each task."""

    def _wait(self) -> tuple[Digest, str]:
        """Return what the update came to; its last state where nothing moved for too long."""
        last, since = b"", monotonic_seconds()
        while True:
            found, state = self._look()
            if state not in _MOVING:
                return found, state
            comings = self._images.run(_COMINGS, self._service).stdout
            if comings != last:
                last, since = comings, monotonic_seconds()
            elif monotonic_seconds() - since > _STALLED_SECONDS:
                return found, state
            sleep_seconds(_LOOK_AGAIN_SECONDS)

    def _look(self) -> tuple[Digest, str]:
        done = self._images.run(_SERVICE, self._service)
        lines = done.text().split("\n")
        if done.status == STATUS_NOTHING:
            raise self._not_ours("not there")
        require_done(done, f"look at service {self._service}", self._service)
        # Docker writes NAME:TAG@DIGEST where a person typed NAME:TAG.
        name, _, digest = lines[0].rpartition("@")
        if name != self._images.repository and not name.startswith(f"{self._images.repository}:"):
            raise self._not_ours(f"stands on {lines[0]!r}")
        return self._images.parse(digest, done), lines[1]

    def _not_ours(self, found: str) -> RefusedError:
        wanted = self._images.reference("sha256:...")
        return RefusedError(
            "swarm-service",
            f"service {self._service}: {found}, expected a service on {wanted}",
            hint=f"Make it once, by hand: docker service create --name {self._service} --with-registry-auth {wanted}",
            facts={"service": self._service},
        )
