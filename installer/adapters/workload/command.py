"""A workload behind a program of the site's own, on the node: asked in verbs, answered in JSON.

| argv | must |
|---|---|
| ``selected`` | print ``{"digest": "sha256:..."}``, what the next start runs, or ``{"digest": null}`` |
| ``running`` | print ``{"digests": ["sha256:...", ...]}``: of what runs now, none where nothing does |
| ``staged DIGEST PLACE`` | print ``{"staged": true}`` or ``false``; asked of images only |
| ``stage DIGEST PLACE`` | bring it to the node; asked of images only |
| ``select DIGEST PLACE`` | make the next start run it, durably, the old version kept |
| ``stop``, ``start`` | do it, and not as a child of their caller |

PLACE is where a file of the release lies on the node, put there and digested by us, or what an image is called in the
site's registry, by its digest. Exit status 0 is a yes; every other status, and every other answer, is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from teraferry.bundles.digest import Buffer, Digest, parse_digest
from teraferry.bundles.errors import BundleError, RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.workload.pulled_file import FilePull
from teraferry.installer.adapters.workload.service import Service, command_failed, not_staged, require_done
from teraferry.installer.adapters.workload.staged_file import StagedFiles
from teraferry.installer.ports import NodeTransport
from teraferry.installer.rollout.conditions import CannotAnswerError, parse_answer

ASK_SECONDS: Final = 60.0
DO_SECONDS: Final = 3600.0
"""A pull of a large image over a site's slow network."""


class CommandWorkload:
    """``Workload`` by a program.

    Args:
        transport: Reaches the node.
        path: What it is called; for a file, versions lie in ``PATH.d``.
        argv: The program and its first arguments.
        image_place: Digest -> what the image is called in the registry; None for a file.
        pull: Lets the node fetch the new file by itself; None for one that is sent from here.
    """

    def __init__(
        self,
        transport: NodeTransport,
        path: str,
        argv: Sequence[str],
        *,
        image_place: Callable[[Digest], str] | None = None,
        pull: FilePull | None = None,
    ) -> None:
        self._transport = transport
        self._path = path
        self._argv = tuple(argv)
        self._image_place = image_place
        self._files = StagedFiles(transport, path, pull=pull)
        self._service = Service(transport, path, start=[*self._argv, "start"], stop=[*self._argv, "stop"])

    def staged(self, digest: Digest) -> bool:
        """Tell whether it is on the node: of a file by its bytes, of an image by what the program says."""
        if self._image_place is None:
            return self._files.staged(digest)
        staged, done = self._ask("staged", "staged", digest, self._image_place(digest))
        if not isinstance(staged, bool):
            raise self._unread(done)
        return staged

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        """Bring it to the node; see ``installer.ports.Workload``."""
        if self._image_place is None:
            self._files.stage(pieces, digest, mode=mode)
        elif not self.staged(digest):
            self._do("stage", digest, self._image_place(digest))

    def selected(self) -> Digest | None:
        """Return what the program says that the next start runs."""
        found, done = self._ask("digest", "selected")
        return None if found is None else self._digest(found, done)

    def select(self, digest: Digest) -> None:
        """Let the program make the next start run it.

        Raises:
            RefusedError: ``not-staged`` or ``node-command-failed``, 40.
        """
        if not self.staged(digest):
            raise not_staged("version", "on the node", digest)
        place = self._files.place(digest) if self._image_place is None else self._image_place(digest)
        self._do("select", digest, place)

    def running(self) -> frozenset[Digest]:
        """Return what the program says that runs."""
        found, done = self._ask("digests", "running")
        if not isinstance(found, list):
            raise self._unread(done)
        return frozenset(self._digest(each, done) for each in found)

    def stop(self) -> None:
        """Let the program stop it unless nothing runs, and wait; see ``Service.stop``."""
        self._service.stop(self.running)

    def start(self) -> None:
        """Let the program start it unless the selected version runs already."""
        if self.running() != {self.selected()}:
            self._service.start()

    def _ask(self, field: str, *words: str) -> tuple[Any, Completed]:
        done = self._transport.run([*self._argv, *words], timeout_seconds=ASK_SECONDS)
        require_done(done, words[0], self._path)
        try:
            answer = parse_answer(done.stdout)
        except CannotAnswerError:
            raise self._unread(done) from None
        if field not in answer:
            raise self._unread(done)
        return answer[field], done

    def _do(self, *words: str) -> None:
        require_done(self._transport.run([*self._argv, *words], timeout_seconds=DO_SECONDS), words[0], self._path)

    def _digest(self, found: object, done: Completed) -> Digest:
        try:
            return parse_digest(str(found))
        except BundleError:
            raise self._unread(done) from None

    def _unread(self, done: Completed) -> RefusedError:
        return command_failed(done, "read the answer of the program", self._path)
