"""Reading a container's log: pieces joined to lines, the last found from the end, followed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Literal

from engine.model import LogLine

_BLOCK = 64 << 10
_POLL_SECONDS = 0.05


def read(
    path: str,
    *,
    tail: int | None = None,
    since: str | None = None,
    until: str | None = None,
    follow: bool = False,
    active: Callable[[], bool] = lambda: False,
) -> Iterator[LogLine]:
    """The lines of the log *path*; *since* and *until* are RFC 3339 in UTC and compare as text.

    With *follow*, goes on until *active* says that the container has ended and everything was read.
    """
    position = _tail_position(path, tail) if tail is not None else 0
    skip = 0
    joiner = _Joiner()
    if tail is not None:
        total = sum(1 for _ in _lines(path, position, _Joiner()))
        skip = max(0, total - tail)
    for count, line in enumerate(_growing(path, position, joiner, follow, active)):
        if count < skip or (since is not None and line.time < since):
            continue
        if until is not None and line.time > until:
            return
        yield line


class _Joiner:
    """Joins the pieces of each stream's line."""

    def __init__(self) -> None:
        self._held: dict[bytes, tuple[bytes, list[bytes]]] = {}

    def add(self, raw: bytes) -> LogLine | None:
        """The line that *raw* completes, if it does."""
        parts = raw.split(b" ", 3)
        if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr"):
            return None  # torn by a full disk
        stamp, stream, kind, text = parts
        first, pieces = self._held.pop(stream, (stamp, []))
        pieces.append(text)
        if kind != b"F":
            self._held[stream] = (first, pieces)
            return None
        return _line(first, stream, b"".join(pieces))

    def rest(self) -> list[LogLine]:
        """Lines that were never completed: their monitor was killed."""
        found = [_line(stamp, stream, b"".join(pieces)) for stream, (stamp, pieces) in self._held.items()]
        self._held.clear()
        return sorted(found)


def _line(stamp: bytes, stream: bytes, text: bytes) -> LogLine:
    name: Literal["stdout", "stderr"] = "stderr" if stream == b"stderr" else "stdout"
    return LogLine(stamp.decode("ascii", "replace"), name, text.decode("utf-8", "surrogateescape"))


def _lines(path: str, position: int, joiner: _Joiner) -> Iterator[LogLine]:
    """What is there now."""
    yield from _growing(path, position, joiner, False, lambda: False)


def _growing(
    path: str, position: int, joiner: _Joiner, follow: bool, active: Callable[[], bool]
) -> Iterator[LogLine]:
    rest = b""
    descriptor = -1
    try:
        while True:
            if descriptor < 0:
                try:
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    if not (follow and active()):
                        return
                    time.sleep(_POLL_SECONDS)
                    continue
                os.lseek(descriptor, position, os.SEEK_SET)
            running = follow and active()  # asked before reading: what came until then is read below
            while data := os.read(descriptor, _BLOCK):
                *whole, rest = (rest + data).split(b"\n")
                for raw in whole:
                    if (line := joiner.add(raw)) is not None:
                        yield line
            if not running:
                yield from joiner.rest()
                return
            time.sleep(_POLL_SECONDS)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _tail_position(path: str, lines: int) -> int:
    """Where to begin so that at least *lines* whole lines follow: found by reading blocks from the end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        position = os.fstat(descriptor).st_size
        tail = b""
        while position > 0:
            step = min(_BLOCK, position)
            position -= step
            tail = os.pread(descriptor, step, position) + tail
            # Two streams may each have begun a line in pieces: one more of each is enough.
            if sum(1 for raw in tail.split(b"\n") if b" F " in raw[:45]) > lines + 4:
                return position + tail.index(b"\n") + 1
        return 0
    finally:
        os.close(descriptor)
