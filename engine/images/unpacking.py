"""One layer of an archive on its way into the store: read once, verified, kept, unpacked.

A worker process runs this module (`python -m engine.images.unpacking`). The app has threads and so never
forks; a fresh interpreter costs less than the smallest layer that is worth it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from hashlib import sha256
from typing import Any, NamedTuple

from engine.errors import ArchiveError
from engine.images.serving import serve
from engine.layers.apply import apply_layer
from engine.layers.compression import codec_of, open_layer
from engine.store.faults import point

_READ = 1 << 20
_HEAD = 6
_LARGE = 4 << 20
"""Bytes of a layer that is worth a second process."""


class Job(NamedTuple):
    """What is to be done with the bytes of one layer."""

    source: str
    """The archive."""
    offset: int
    size: int
    digest: str | None
    """Of these bytes; None if the archive does not say it."""
    diff_id: str
    media_type: str
    blob: str | None
    """Where the bytes are kept as they are; None: they are kept already."""
    tree: str | None
    """A directory to be made for the unpacked layer; None: it is there already."""
    is_verified: bool = False
    """Whether the bytes were compared with `digest` already."""
    fork: bool = False
    """Whether a second process may help, as no other layer keeps its processor busy."""


class Unpacked(NamedTuple):
    """What came of a job."""

    digest: str
    size: int
    """Bytes of the regular files in the layer."""
    file_count: int
    implicit: list[str]
    """Directories without an entry of their own, as `engine.layers.apply` tells them; surrogate-escaped."""


def shared_out(jobs: Sequence[Job]) -> list[Job]:
    """*jobs*, of which one that outweighs all others together is for two processes."""
    half = max(sum(job.size for job in jobs) / 2, _LARGE)
    may_fork = len(os.sched_getaffinity(0)) > 1
    return [job._replace(fork=may_fork and job.tree is not None and job.size > half) for job in jobs]


def unpack(job: Job, advance: Callable[[int], None]) -> Unpacked:
    """Do *job*, calling *advance* with the number of bytes read each time.

    Raises ArchiveError for what is damaged, truncated, hostile, or not what its digests say; NoSpaceError;
    OSError.
    """
    with _Reader(job, advance) as reader:
        plain = open_layer(reader, job.media_type)
        if job.tree is not None:
            os.makedirs(job.tree)
            applied = apply_layer(plain, job.tree, fork=job.fork)
            diff_id, size, count = applied.diff_id, applied.size, applied.file_count
            implicit = [os.fsdecode(path) for path in applied.implicit]
        else:
            diff_id, size, count, implicit = _digest(plain.read), 0, 0, []
        reader.drain()
        digest = reader.digest(diff_id)
    if digest != (job.digest or digest):
        raise _damaged("blob", job.digest or "", digest)
    if diff_id != job.diff_id:
        raise _damaged("layer", job.diff_id, diff_id)
    return Unpacked(digest, size, count, implicit)


def _digest(read: Callable[[int], bytes]) -> str:
    hashed = sha256()
    while data := read(_READ):
        hashed.update(data)
    return f"sha256:{hashed.hexdigest()}"


def _damaged(what: str, expected: str, actual: str) -> ArchiveError:
    return ArchiveError(
        f"the {what} {expected[:19]} is damaged", f"its bytes have the digest {actual[:19]}", "get it again"
    )


class _Reader:
    """The bytes of a layer as a stream that hashes and keeps what is read from it.

    What is verified is what was kept: the archive may change meanwhile.
    """

    def __init__(self, job: Job, advance: Callable[[int], None]) -> None:
        self._job = job
        self._advance = advance
        self._left = job.size
        self._hash = sha256()
        self._source = os.open(job.source, os.O_RDONLY | os.O_CLOEXEC)
        self._kept = -1
        with ExitStack() as opened:
            opened.callback(os.close, self._source)
            os.lseek(self._source, job.offset, os.SEEK_SET)
            self._is_plain = codec_of(os.pread(self._source, _HEAD, job.offset)) == "none"
            self._is_hashed = not self._is_plain and not job.is_verified
            if job.blob is not None:
                self._kept = os.open(job.blob, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            opened.pop_all()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._source)
        if self._kept >= 0:
            os.close(self._kept)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most *size*."""
        wanted = min(self._left, _READ if size < 0 else size)
        if not wanted:
            return b""
        data = os.read(self._source, wanted)
        if not data:
            raise ArchiveError("the archive is truncated", "it ends within a layer", "get a complete copy")
        self._left -= len(data)
        if self._is_hashed:
            self._hash.update(data)
        if self._kept >= 0:
            view = memoryview(data)
            while view:
                view = view[os.write(self._kept, view) :]
        self._advance(len(data))
        return data

    def drain(self) -> None:
        """Read what follows the end of the compressed stream: it belongs to the blob."""
        while self.read(_READ):
            pass

    def digest(self, diff_id: str) -> str:
        """The digest of everything read; that of a plain layer is its *diff_id*, computed already."""
        if self._job.is_verified and self._job.digest and not self._is_plain:
            return self._job.digest
        return diff_id if self._is_plain else f"sha256:{self._hash.hexdigest()}"


def work() -> None:
    """Do the jobs that come on standard input until it ends."""

    def act(words: list[Any], advance: Callable[[int], None]) -> Unpacked:
        result = unpack(Job(*words), advance)
        point("load.worker")
        return result

    serve(act)


if __name__ == "__main__":
    work()
