"""Writing a container's log: CRI format, ``time stream P|F text``, both streams in the order that they came.

Every piece is written as soon as it is read, marked P until its newline comes: what the container has said
is in the file whatever happens to its monitor. A reader joins pieces (the Kubernetes CRI logging format).
A file that has grown to its size becomes ``log.1``, that one ``log.2``, and the oldest goes.
"""

from __future__ import annotations

import os

from engine.store import clock
from engine.store.trail import rotate

MAX_PIECE = 16 << 10
"""Bytes of text in one line of the file; longer lines are cut into pieces."""


class LogFile:
    """An open log; one writer, the monitor."""

    def __init__(self, path: str, max_size: int | None = None, max_files: int = 1) -> None:
        """*max_size* is the bytes of one file (None: any number), *max_files* how many there may be."""
        self._path = path
        self._max_size = max_size
        self._max_files = max_files
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        self._partial: set[bytes] = set()
        self.failed: OSError | None = None
        """The last write that did not work: a full disk must not stop the container."""

    def write(self, stream: bytes, data: bytes) -> None:
        """Append what came on *stream* (``stdout`` or ``stderr``) just now."""
        head = clock.now().encode() + b" " + stream + b" "
        whole, partial = head + b"F ", head + b"P "
        lines = data.split(b"\n")
        rest = lines.pop()
        written = []
        for line in lines:
            cut = 0
            while len(line) - cut > MAX_PIECE:
                written.append(partial + line[cut : cut + MAX_PIECE])
                cut += MAX_PIECE
            written.append(whole + line[cut:])
        if lines:
            self._partial.discard(stream)
        while rest:
            written.append(partial + rest[:MAX_PIECE])
            rest = rest[MAX_PIECE:]
            self._partial.add(stream)
        if written:
            self._append(b"\n".join(written) + b"\n")

    def close(self) -> None:
        """End the lines that never got their newline, and close."""
        for stream in sorted(self._partial):
            self._append(clock.now().encode() + b" " + stream + b" F \n")
        self._partial.clear()
        os.close(self._descriptor)

    def _append(self, data: bytes) -> None:
        if self._max_size is not None and self._size and self._size + len(data) > self._max_size:
            self._rotate()
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._descriptor, view)
            except OSError as error:
                self.failed = error
                return
            self._size += written
            view = view[written:]

    def _rotate(self) -> None:
        """Go on in a new file. Where none can be had, as on a full disk, the old one grows on."""
        try:
            descriptor = rotate(self._path, self._max_files)
        except OSError as error:
            self.failed = error
            return
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, 0
