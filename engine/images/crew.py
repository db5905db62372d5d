"""Threads that transfer layers side by side, and the meter that adds up how far each layer is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from engine.model import Progress, ProgressCallback

_GRACE_S = 2.0
"""How long threads that were stopped are waited for: what they still do is of no effect."""


def run_all(
    tasks: Sequence[Callable[[], None]],
    threads: int,
    stop: threading.Event,
    interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Do *tasks* in so many *threads*, in their order, and wait for all of them.

    The first failure, or an interrupt of the caller, sets *stop*, calls *interrupt* and is raised.
    """
    waiting = deque(tasks)
    failures: list[BaseException] = []
    finished = threading.Semaphore(0)

    def work() -> None:
        try:
            while not stop.is_set() and not failures:
                try:
                    task = waiting.popleft()
                except IndexError:
                    return
                task()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)
        finally:
            finished.release()

    crew = [
        threading.Thread(target=work, name="transfer", daemon=True) for _ in range(min(threads, len(tasks)))
    ]

    def dismiss() -> None:
        stop.set()
        interrupt()
        until = time.monotonic() + _GRACE_S
        for thread in filter(threading.Thread.is_alive, crew):
            thread.join(max(0.0, until - time.monotonic()))

    with contextlib.ExitStack() as unless_done:
        unless_done.callback(dismiss)
        for thread in crew:
            thread.start()
        for _ in crew:
            finished.acquire()
            if failures:
                raise failures[0]
        unless_done.pop_all()


class Meter:
    """Bytes done of each layer, told to a progress callback; may be used from several threads."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}

    def of(self, verb: str, digest: str, total: int) -> Callable[[int], None]:
        """What to call with further bytes of one layer."""
        step = f"{verb} {digest.removeprefix('sha256:')[:12]}"

        def advance(count: int) -> None:
            with self._lock:
                self._done[step] = done = self._done.get(step, 0) + count
            if self._progress is not None:
                self._progress(Progress(step, done, total))

        return advance
