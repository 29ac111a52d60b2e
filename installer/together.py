"""Several things at once, and one answer: all were done, or the first failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def run_together(tasks: Sequence[Callable[[], None]], *, jobs: int, stop: threading.Event | None = None) -> None:
    """Run ``tasks`` in order on ``jobs`` threads; the first failure stops the rest and is raised.

    ``stop`` is set on the first failure, for tasks that can end early by raising.
    """
    stopped = stop or threading.Event()
    failures: list[BaseException] = []
    queue = iter(tasks)
    lock = threading.Lock()

    def work() -> None:
        while not stopped.is_set():
            with lock:
                task = next(queue, None)
            if task is None:
                return
            try:
                task()
            except BaseException as error:
                # Raised below, on the caller's thread; those that ended because of it come later.
                failures.append(error)
                stopped.set()

    with ThreadPoolExecutor(max_workers=max(1, min(jobs, len(tasks)))) as pool:
        try:
            for future in [pool.submit(work) for _ in range(max(1, jobs))]:
                future.result()
        finally:
            # Ctrl-C arrives on this thread: let the others end rather than push on to the last byte.
            stopped.set()
    if failures:
        raise failures[0]
