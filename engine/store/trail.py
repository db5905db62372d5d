"""Files that grow at the end and are renamed when large: ``log``, then ``log.1``, ``log.2`` and so on.

Logs of containers and the store's events are such trails. Whoever writes renames the oldest first; whoever
reads holds what it has open and goes from file to file.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from engine.store.faults import point

_BLOCK = 64 << 10
_POLL_SECONDS = 0.05


def file_name(path: str, number: int) -> str:
    """The *number*-th file of the trail *path*, 0 being the one that is written."""
    return f"{path}.{number}" if number else path


def rotate(path: str, files: int) -> int:
    """Begin a new file, keeping *files* in all; its descriptor, for appending.

    There is a file at *path* all the time: else whoever finds none makes one, which would be lost.
    Raises OSError; then the old one is there still, under one name or another.
    """
    fresh = f"{path}.new"
    descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with contextlib.ExitStack() as unless_renamed:
        unless_renamed.callback(os.close, descriptor)
        if files > 1:
            _make_way(path, files)
        os.rename(fresh, path)
        unless_renamed.pop_all()
    return descriptor


def _make_way(path: str, files: int) -> None:
    """Give the file at *path* a second name, the one that it is to have; those before it move up."""
    second = file_name(path, 1)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(path), os.stat(second)):
            return  # somebody was killed who had come so far
    for number in range(files - 1, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            os.rename(file_name(path, number - 1), file_name(path, number))
        point("trail.after-rename")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(second)  # there is one if no more than two are kept
    with contextlib.suppress(FileNotFoundError):
        try:
            os.link(path, second)
        except OSError:  # a file system without links, or a full one (link(2))
            os.rename(path, second)
    point("trail.after-rename")


class Trail:
    """The files of one trail, oldest first, held open: a reader loses nothing to a renaming or deletion."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files = _newer(path, None)
        self._start = 0
        self._ends = [os.fstat(descriptor).st_size for descriptor in self._files]
        """Where each file ended when the trail was opened."""

    def size(self) -> int:
        """Bytes of all files."""
        return sum(os.fstat(descriptor).st_size for descriptor in self._files)

    def start_near(self, lines: int, counts: Callable[[bytes], bool]) -> None:
        """Begin not long before the last *lines* lines of those that *counts* is true of."""
        first = 0
        for first in range(len(self._files) - 1, -1, -1):
            self._start, found = _from_end(self._files[first], lines, counts)
            lines -= found
            if self._start or lines < 0:
                break
        for descriptor in self._files[:first]:
            os.close(descriptor)
        del self._files[:first], self._ends[:first]

    def now(self) -> Iterator[bytes]:
        """All that was there when it was opened, from the start: a writer may be faster than any reader."""
        position = self._start
        for descriptor, end in zip(self._files, self._ends, strict=True):
            while data := os.pread(descriptor, min(_BLOCK, end - position), position):
                position += len(data)
                yield data
            position = 0

    def growing(self, active: Callable[[], bool]) -> Iterator[bytes]:
        """All that is there and all that comes, until *active* is no longer true; empty when it waits."""
        while True:
            running = active()  # asked before reading: what came until then is read below
            yield from self.fresh()
            if not running:
                return
            yield b""
            time.sleep(_POLL_SECONDS)

    def fresh(self) -> Iterator[bytes]:
        """All that is there and has not been read so; nothing is waited for. Not to be mixed with `now`."""
        while True:
            self._go_on()
            while self._files and (data := os.pread(self._files[0], _BLOCK, self._start)):
                self._start += len(data)
                yield data
            if len(self._files) < 2:
                return
            os.close(self._files.pop(0))
            self._start = 0

    def pending(self) -> int:
        """How many bytes `fresh` would read."""
        self._go_on()
        return self.size() - self._start

    def _go_on(self) -> None:
        """Hold the files that have come."""
        self._files += self._following()

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
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        while self._files:
            os.close(self._files.pop())


def _newer(path: str, than: int | None) -> list[int]:
    """Descriptors of the trail's files that are newer than the open one *than*, or of all; oldest first.

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


def _from_end(descriptor: int, lines: int, counts: Callable[[bytes], bool]) -> tuple[int, int]:
    """Where more than *lines* lines that count begin, or 0, and how many were counted from there."""
    position = os.fstat(descriptor).st_size
    after: list[bytes] = []
    """Blocks of the line that begins further up, the last first."""
    found = 0
    while position > 0:
        step = min(_BLOCK, position)
        position -= step
        first, newline, rest = os.pread(descriptor, step, position).partition(b"\n")
        if newline:
            *whole, last = rest.split(b"\n")
            found += counts(b"".join((last, *reversed(after)))) + sum(map(counts, whole))
            after.clear()
            if found > lines:
                return position + len(first) + 1, found
        after.append(first)
    return 0, found + counts(b"".join(reversed(after)))
