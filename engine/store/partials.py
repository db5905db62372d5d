"""Downloads that did not come to their end: the next attempt goes on where this one was, whatever ended it.

A file of partial/ has the first bytes of the blob that it is called after. Whoever writes it holds its lock
(flock), and the kernel lets go of that when the writer dies. A complete one stays until the blob is recorded,
under a second name (a hard link) where it is worked with. What has become a blob is never written to again.

Nothing here is trusted: bytes that a power cut lost show in the digest of the whole.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from io import FileIO

from engine.store.layout import Layout
from engine.store.staging import is_locked

KEPT_S = 7 * 24 * 3600
"""How long a part that nobody asks for again is kept, in seconds."""


def take(layout: Layout, digest: str) -> FileIO | None:
    """The part of the blob *digest* that is here, open for reading and writing; perhaps empty.

    It is the caller's for as long as it is open. None: somebody else is at it.
    """
    path = layout.partial(digest)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            os.makedirs(layout.partials, mode=0o700, exist_ok=True)
            continue
        file = FileIO(descriptor, "r+")
        if is_locked(descriptor):
            file.close()
            return None
        status = os.fstat(descriptor)
        if status.st_nlink and not _is_blob(layout, path, status):
            return file
        file.close()
        if status.st_nlink:
            _unlink(path)


def drop(layout: Layout, digest: str) -> None:
    """Take the part of *digest* away, which the caller holds: it is complete and recorded, or worthless."""
    _unlink(layout.partial(digest))


def unfinished(layout: Layout) -> list[tuple[str, int]]:
    """Digest and bytes of every part that nobody works on."""
    found: list[tuple[str, int]] = []
    for path in _paths(layout):
        with _alone(path) as status:
            if status is not None:
                found.append((f"sha256:{os.path.basename(path)}", status.st_size))
    return found


def sweep(layout: Layout, *, everything: bool = False) -> None:
    """Delete the parts that are old, or that a crash left after they were recorded; with *everything*, all.

    Those that somebody works on stay.
    """
    oldest = time.time() - KEPT_S
    for path in _paths(layout):
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            if not (everything or status.st_mtime < oldest or _is_blob(layout, path, status)):
                continue
        with _alone(path) as held:
            if held is not None:
                _unlink(path)


def _is_blob(layout: Layout, path: str, status: os.stat_result) -> bool:
    """Whether the store has the part as a blob: a crash came before it was taken away."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(status, os.lstat(f"{layout.blobs}/{os.path.basename(path)}"))
    return False


@contextlib.contextmanager
def _alone(path: str) -> Iterator[os.stat_result | None]:
    """Hold the lock of a part; None if somebody else does, or if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    try:
        held = is_locked(descriptor)
        status = os.fstat(descriptor)
        yield status if status.st_nlink and not held else None
    finally:
        os.close(descriptor)


def _paths(layout: Layout) -> list[str]:
    try:
        return sorted(f"{layout.partials}/{name}" for name in os.listdir(layout.partials))
    except FileNotFoundError:
        return []


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
