"""Writing a container's log: CRI format, ``time stream P|F text``, both streams in the order that they came.

Every piece is written as soon as it is read, marked P until its newline comes: what the container has said
is in the file whatever happens to its monitor. A reader joins pieces (the Kubernetes CRI logging format). A
line that never got its newline ends with an empty piece that has a tag of ours besides, F:E.

A file that has grown to its size becomes ``log.1``, that one ``log.2``, and the oldest goes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from engine.store import clock, failures
from engine.store.layout import ContainerPaths
from engine.store.trail import rotate

MAX_PIECE = 16 << 10
"""Bytes of text in one line of the file; longer lines are cut into pieces."""

_MANY = 1024
"""Lines that are written at once, about: what a line is told with is more than many a line."""


class LogFile:
    """An open log; one writer, the monitor."""

    def __init__(
        self,
        path: str,
        max_size: int | None = None,
        max_files: int = 1,
        descriptor: int | None = None,
        partial: Iterable[bytes] = (),
        run: str = "",
        torn: bool = False,
    ) -> None:
        """*max_size* is the bytes of one file (None: any number; 0: nothing is kept), *max_files* how many
        there may be.

        If another process goes on with it, it is open at *descriptor*, lines of *partial* are not ended, and
        *torn* is whether its last line is. *run* is the container's run-time directory, for what goes wrong.
        """
        self._path = path
        self._run = run
        self._max_size = max_size
        self._max_files = max_files
        if descriptor is None:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.descriptor = descriptor
        """Changes when the file does."""
        self._size = os.fstat(descriptor).st_size
        self._partial = set(partial)
        self._torn = torn
        self._told = False
        self.failed: OSError | None = None
        """The last write that did not work: a full disk must not stop the container."""

    def parts(self) -> tuple[str, int | None, int, list[bytes], str, bool]:
        """For another process: what `resumed` takes besides the descriptor."""
        return self._path, self._max_size, self._max_files, list(self._partial), self._run, self._torn

    @staticmethod
    def resumed(parts: tuple[str, int | None, int, list[bytes], str, bool], descriptor: int) -> LogFile:
        """The log whose `parts` these are, which is open at *descriptor*."""
        path, max_size, max_files, partial, run, torn = parts
        return LogFile(path, max_size, max_files, descriptor, partial, run, torn)

    def write(self, stream: bytes, data: bytes) -> None:
        """Append what came on *stream* (``stdout`` or ``stderr``) just now."""
        head = clock.now().encode() + b" " + stream + b" "
        whole, partial = head + b"F ", head + b"P "
        while data:
            block = _block(data)
            if block.endswith(b"\n"):
                text = whole + block[:-1].replace(b"\n", b"\n" + whole) + b"\n"
                self._partial.discard(stream)
            else:
                block = block[:MAX_PIECE]
                text = partial + block + b"\n"
                self._partial.add(stream)
            self._append(text)
            data = data[len(block) :]

    def close(self) -> None:
        """End the lines that never got their newline, and close."""
        for stream in sorted(self._partial):
            self._append(clock.now().encode() + b" " + stream + b" F:E \n")
        self._partial.clear()
        os.close(self.descriptor)

    def _append(self, data: bytes) -> None:
        if self._max_size == 0:  # nothing is to be kept
            return
        if self._max_size is not None and self._size and self._size + len(data) > self._max_size:
            self._rotate()
        if self._torn:
            data = b"\n" + data
        view = memoryview(data)
        while view:
            try:
                written = os.write(self.descriptor, view)
            except OSError as error:
                self._fail(error)
                return
            self._size += written
            view = view[written:]
            self._torn = bool(view)

    def _fail(self, error: OSError) -> None:
        """Keep the first error of those that may come now: something is not in the log."""
        if not self._told and self._run:
            failures.keep(ContainerPaths(os.path.dirname(self._path), self._run), failures.LOG, error)
        self._told = True
        self.failed = error

    def _rotate(self) -> None:
        """Go on in a new file. Where none can be had, as on a full disk, the old one grows on."""
        try:
            descriptor = rotate(self._path, self._max_files)
        except OSError as error:
            self.failed = error
            return
        os.close(self.descriptor)
        self.descriptor, self._size = descriptor, 0


def _block(data: bytes) -> bytes:
    """The beginning of *data* that is written at once: whole lines, or one that has no end yet."""
    block = data[: MAX_PIECE + 1]
    lines = block.count(b"\n")
    if lines > _MANY:
        block = block[: len(block) * _MANY // lines]
    return block[: block.rfind(b"\n") + 1] or block
