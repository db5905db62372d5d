"""Reading ahead in a thread: the same bytes, the same errors, and no thread left."""

from __future__ import annotations

import io
import threading

import pytest

from engine.layers.readahead import Readahead

DATA = bytes(range(256)) * 40_000


def test_everything_is_hashed_and_read_once_in_order() -> None:
    seen: list[bytes] = []
    with Readahead(io.BytesIO(DATA), seen.append) as ahead:
        read = list(iter(lambda: ahead.read(7), b""))
    assert b"".join(read) == b"".join(seen) == DATA
    assert ahead.read(1) == b""


def test_an_error_of_the_source_is_the_readers() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError("the disk has gone")
            return super().read(10)

    with Readahead(Broken(DATA), bytes) as ahead:
        assert len(ahead.read(10)) == 10
        with pytest.raises(OSError, match="the disk has gone"):
            ahead.read(10)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    with Readahead(io.BytesIO(DATA * 10), bytes) as ahead:
        ahead.read(1)
    assert threading.active_count() == before
