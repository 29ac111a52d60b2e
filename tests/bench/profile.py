"""Where the time of one run goes, in text: phases by the wall, and what each thread was seen doing.

Every 5 ms the innermost place of ours in each thread is noted. A thread that waits for another one, or
for work, is not counted: what is left are the places that keep the others waiting.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from teraferry.bundles.progress import Silent

_EVERY_SECONDS = 0.005
_WAITING = frozenset({"wait", "_worker", "result", "acquire", "_retire", "join", "_wait_for_tstate_lock"})
_SHOWN = 10


class Phases(Silent):
    """A progress that keeps the time each phase took."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._marks: list[tuple[str, float]] = [("before the first phase", self._began)]

    def start(self, phase: str, *, total_bytes: int | None = None, detail: str = "") -> None:
        """Note when a phase begins."""
        self._marks.append((phase, time.perf_counter()))

    def lines(self) -> list[str]:
        """Return each phase with its seconds; the last one ends now."""
        ends = [at for _, at in self._marks[1:]] + [time.perf_counter()]
        return [f"{end - at:6.2f} s  phase: {name}" for (name, at), end in zip(self._marks, ends, strict=True)]


class Sampler:
    """Looks at every thread again and again. Use as a context."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def lines(self) -> list[str]:
        """Return the places that were seen most, with their share of the whole time."""
        top = self._seen.most_common(_SHOWN)
        return [f"{count * 100 / max(1, self._looks):5.0f} %  {place}" for place, count in top]

    def _look(self) -> None:
        names: dict[int, str] = {}
        while not self._stop.wait(_EVERY_SECONDS):
            self._looks += 1
            names.update({thread.ident or 0: thread.name.rstrip("0123456789_") for thread in threading.enumerate()})
            for identity, frame in sys._current_frames().items():
                if identity != threading.get_ident() and frame.f_code.co_name not in _WAITING:
                    self._seen[f"{names.get(identity, 'thread')}: {_place(frame)}"] += 1


def _place(frame: FrameType) -> str:
    innermost, one = frame, frame
    while "/teraferry/" not in _path(one) and not _is_ours(one) and one.f_back is not None:
        one = one.f_back
    ours = f"{Path(_path(one)).name}:{one.f_lineno} {one.f_code.co_name}"
    return ours if one is innermost else f"{ours} > {Path(_path(innermost)).name} {innermost.f_code.co_name}"


def _path(frame: FrameType) -> str:
    return frame.f_code.co_filename


def _is_ours(frame: FrameType) -> bool:
    return any(f"/{package}/" in _path(frame) and "site-packages" not in _path(frame) for package in _PACKAGES)


_PACKAGES = ("bundles", "builder", "installer", "keys", "tests")
