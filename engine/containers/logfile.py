"""Writing a container's log: CRI format, ``time stream P|F text``, both streams in the order that they came.

Every piece is written as soon as it is read, marked P until its newline comes: what the container has said
is in the file whatever happens to its monitor. A reader joins pieces (the Kubernetes CRI logging format).
"""

from __future__ import annotations

import os

from engine.store import clock

MAX_PIECE = 16 << 10
"""Bytes of text in one line of the file; longer lines are cut into pieces."""


class LogFile:
    """An open log; one writer, the monitor."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
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
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError as error:
                self.failed = error
                return
