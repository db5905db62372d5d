"""How far a long operation is: one line of a terminal's stderr, redrawn; otherwise one line at the end."""

from __future__ import annotations

import os
import sys
import time
from _thread import allocate_lock
from types import TracebackType

from engine.cli.output import size_text, visible
from engine.model import Progress

INTERVAL_S = 0.1
"""Between two drawings."""


class ProgressLine:
    """Hand it to the engine as its progress callback, inside a ``with``; it may be called from any thread."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what = what
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._lock = allocate_lock()
        self._drawn = 0.0
        self._done: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        """Show *progress*."""
        with self._lock:
            self._done[progress.step] = progress.done
            now = time.monotonic()
            if self._live and now - self._drawn >= INTERVAL_S:
                self._drawn = now
                self._draw(progress)

    def _draw(self, progress: Progress) -> None:
        total = f" of {size_text(progress.total)}" if progress.total else ""
        share = f" {min(100, progress.done * 100 // progress.total)}%" if progress.total else ""
        text = f"{self._what}: {visible(progress.step)} {size_text(progress.done)}{total}{share}"
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        sys.stderr.write(f"\r\x1b[K{text[: columns - 1]}")
        sys.stderr.flush()

    def __enter__(self) -> ProgressLine:
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        elif error is None and not self._quiet:
            most = max(self._done.values(), default=0)
            amount = f" {size_text(most)} in" if most else ""
            sys.stderr.write(f"{self._what}:{amount} {time.monotonic() - self._began:.1f} s\n")
