"""How far the layers of an image are: one line each on a terminal's stderr, with rate and time left."""

from __future__ import annotations

import os
import sys
import time
from _thread import allocate_lock
from types import TracebackType
from typing import NamedTuple

from engine.cli.output import size_text, visible
from engine.cli.progress import INTERVAL_S
from engine.model import Progress

MAX_LINES = 12
"""Layers that are shown at once; finished ones make room."""


class _Layer(NamedTuple):
    began: float
    before: int
    """Bytes that were there when it began: from an earlier attempt."""
    done: int
    total: int | None


class LayerLines:
    """Hand it to the engine as its progress callback, inside a ``with``; it may be called from any thread."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what = what
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._lock = allocate_lock()
        self._layers: dict[str, _Layer] = {}
        self._drawn_at = 0.0
        self._drawn = 0

    def __call__(self, progress: Progress) -> None:
        """Show *progress*."""
        with self._lock:
            now = time.monotonic()
            known = self._layers.get(progress.step)
            began, before = (known.began, known.before) if known else (now, progress.done)
            self._layers[progress.step] = _Layer(
                began, min(before, progress.done), progress.done, progress.total
            )
            if self._live and now - self._drawn_at >= INTERVAL_S:
                self._drawn_at = now
                self._draw(now)

    def _draw(self, now: float) -> None:
        size = os.get_terminal_size(sys.stderr.fileno())
        most = max(1, min(MAX_LINES, (size.lines or 24) - 1))
        open_layers = [item for item in self._layers.items() if item[1].done != item[1].total]
        lines = [
            line(step, layer.done, layer.total, now - layer.began, layer.before)
            for step, layer in open_layers
        ]
        self._clear()
        for text in lines[:most]:
            sys.stderr.write(f"{text[: (size.columns or 80) - 1]}\n")
        self._drawn = len(lines[:most])
        sys.stderr.flush()

    def _clear(self) -> None:
        sys.stderr.write(f"\x1b[{self._drawn}A\r\x1b[J" if self._drawn else "")
        self._drawn = 0

    def __enter__(self) -> LayerLines:
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            took = time.monotonic() - self._began
            if self._live:
                self._clear()
                self._live = False  # threads that were stopped may have a last word
                sys.stderr.flush()
            elif error is None and not self._quiet:
                sys.stderr.write(f"{self._what}:{self._amounts()} {took:.1f} s\n")

    def _amounts(self) -> str:
        """What crossed the network."""
        moved = [
            layer.done - layer.before
            for step, layer in self._layers.items()
            if step.startswith(("down", "up"))
        ]
        layers = "1 layer" if len(moved) == 1 else f"{len(moved)} layers"
        return f" {layers}, {size_text(sum(moved))} in" if moved else " nothing to transfer,"


def line(step: str, done: int, total: int | None, seconds: float, before: int = 0) -> str:
    """``downloading 3f2a1b4c5d6e   12.0M of   40.0M   30%   5.1M/s  6 s left``.

    *before* is what of *done* was there *seconds* ago.
    """
    words = [f"{visible(step):<24}", f"{size_text(done):>7}"]
    if total:
        words[-1] += f" of {size_text(total):>7}"
        words.append(f"{min(100, done * 100 // total):>3}%")
    if seconds > INTERVAL_S and done > before:
        rate = (done - before) / seconds
        words.append(f"{size_text(int(rate)):>7}/s")
        if total and total > done:
            words.append(f"{_duration((total - done) / rate)} left")
    return "  ".join(words)


def _duration(seconds: float) -> str:
    whole = int(seconds + 1)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min" if whole < 6000 else f"{whole // 3600} h"
