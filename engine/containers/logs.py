"""Reading a container's log: pieces joined to lines, the last found from the end, followed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Literal

from engine.containers.logfile import file_name
from engine.model import LogLine

_BLOCK = 64 << 10
_POLL_SECONDS = 0.05
_SLACK = 4
"""Two streams may each have begun a line in pieces: so many lines more are looked at."""


def read(
    path: str,
    *,
    tail: int | None = None,
    since: str | None = None,
    until: str | None = None,
    follow: bool = False,
    active: Callable[[], bool] = lambda: False,
) -> Iterator[LogLine]:
    """The lines of the log *path* with its older files; *since* and *until* are RFC 3339 in UTC, as text.

    With *follow*, goes on until *active* says that the container has ended and everything was read.
    """
    with Trail(path) as trail:
        skip = 0
        if tail is not None:
            trail.start_near(tail)
            skip = max(0, sum(1 for _ in _lines(trail.now())) - tail)
        pieces = trail.growing(active) if follow else trail.now()
        for count, line in enumerate(_lines(pieces)):
            if count < skip or (since is not None and line.time < since):
                continue
            if until is not None and line.time > until:
                return
            yield line


def size(path: str) -> int:
    """Bytes that the log *path* takes, older files included."""
    with Trail(path) as trail:
        return trail.size()


class Trail:
    """The files of one log, oldest first, held open: being renamed or deleted takes nothing from a reader."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files = _newer(path, None)
        self._start = 0

    def size(self) -> int:
        """Bytes of all files."""
        return sum(os.fstat(descriptor).st_size for descriptor in self._files)

    def start_near(self, lines: int) -> None:
        """Begin not long before the last *lines* lines."""
        first = 0
        wanted = lines + _SLACK
        for first in range(len(self._files) - 1, -1, -1):
            self._start, found = _from_end(self._files[first], wanted)
            wanted -= found
            if self._start or wanted < 0:
                break
        for descriptor in self._files[:first]:
            os.close(descriptor)
        del self._files[:first]

    def now(self) -> Iterator[bytes]:
        """All that is there, from the start."""
        position = self._start
        for descriptor in list(self._files):
            while data := os.pread(descriptor, _BLOCK, position):
                position += len(data)
                yield data
            position = 0

    def growing(self, active: Callable[[], bool]) -> Iterator[bytes]:
        """All that is there and all that comes, until *active* is no longer true."""
        position = self._start
        while True:
            running = active()  # asked before reading: what came until then is read below
            if len(self._files) < 2:
                self._files += self._following()
            position = yield from self._rest(position)
            if len(self._files) > 1:
                os.close(self._files.pop(0))
                position = 0
            elif not running:
                return
            else:
                time.sleep(_POLL_SECONDS)

    def _rest(self, position: int) -> Generator[bytes, None, int]:
        """What is left of the oldest file; where it ends."""
        if self._files:
            while data := os.pread(self._files[0], _BLOCK, position):
                position += len(data)
                yield data
        return position

    def _following(self) -> list[int]:
        """Files that came after the newest that is held: then nothing more is written to that one."""
        if not self._files:
            return _newer(self._path, None)
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._files[-1])):
                return []
        except FileNotFoundError:
            return []
        return _newer(self._path, self._files[-1])

    def __enter__(self) -> Trail:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            os.close(self._files.pop())


def _newer(path: str, than: int | None) -> list[int]:
    """Descriptors of the log's files that are newer than the open one *than*, or of all; oldest first.

    From the newest on: one that is renamed meanwhile is met a second time, and none is missed. While files
    are being renamed there is one number without a file.
    """
    found: list[int] = []
    seen = [] if than is None else [os.fstat(than)]
    number = missing = 0
    while missing < 2:
        try:
            descriptor = os.open(file_name(path, number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            missing += 1
        else:
            missing = 0
            status = os.fstat(descriptor)
            known = [index for index, other in enumerate(seen) if os.path.samestat(status, other)]
            if known:
                os.close(descriptor)
                if than is not None and known == [0]:
                    break
            else:
                seen.append(status)
                found.append(descriptor)
        number += 1
    return found[::-1]


def _lines(pieces: Iterable[bytes]) -> Iterator[LogLine]:
    """The lines that *pieces* of the files make."""
    joiner = _Joiner()
    rest = b""
    for data in pieces:
        *whole, rest = (rest + data).split(b"\n")
        for raw in whole:
            if (line := joiner.add(raw)) is not None:
                yield line
    yield from joiner.rest()


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


def _from_end(descriptor: int, lines: int) -> tuple[int, int]:
    """Where at least *lines* whole lines of the file begin, or 0, and how many were counted from there."""
    position = os.fstat(descriptor).st_size
    tail = b""
    found = 0
    while position > 0:
        step = min(_BLOCK, position)
        position -= step
        tail = os.pread(descriptor, step, position) + tail
        found = sum(1 for raw in tail.split(b"\n") if b" F " in raw[:45])
        if found > lines:
            return position + tail.index(b"\n") + 1, found
    return 0, found
