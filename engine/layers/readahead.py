"""A stream that is read, decompressed and hashed in a thread of its own while another one unpacks it.

Decompression, SHA-256 and file system calls all let go of the interpreter's lock, so the two run side by
side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, Queue
from types import TracebackType

from engine.layers.compression import Source

CHUNK = 1 << 20
_AHEAD = 4
"""Chunks that wait at most."""


class Readahead:
    """Reads *source* to its end, hands each chunk to *update*, then to whoever calls `read`; a context
    manager.

    Leaving the block early stops the thread after the read that it is in. The source's errors are raised by
    `read`.
    """

    def __init__(self, source: Source, update: Callable[[bytes], object]) -> None:
        self._source = source
        self._update = update
        self._chunks: Queue[bytes | BaseException] = Queue(_AHEAD)
        self._stopped = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="layer readahead", daemon=True)

    def __enter__(self) -> Readahead:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._chunks.get(timeout=0.01)  # the thread may wait for room
            except Empty:
                continue
        self._thread.join()

    def read(self, size: int = -1, /) -> bytes:
        """The next chunk, whatever *size* says; nothing at the end."""
        if self._ended:
            return b""
        chunk = self._chunks.get()
        if isinstance(chunk, BaseException):
            self._ended = True
            raise chunk
        self._ended = not chunk
        return chunk

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                chunk = self._source.read(CHUNK)
                if chunk:
                    self._update(chunk)
                self._chunks.put(chunk)
                if not chunk:
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where it is read
            self._chunks.put(error)
