"""Work that is not published yet, things on their way out, and what a crash made of either.

A directory under staging/ belongs to whoever holds the lock (flock) beside it. The kernel lets go of a lock
when its last holder dies, whatever killed it, so that an unlocked directory is nobody's and may be swept.
What is taken out of the store is renamed into trash/ first: half-deleted trees are never seen under their own
name.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator

from engine.record import Record
from engine.store.database import no_space
from engine.store.deletion import delete_tree
from engine.store.faults import point
from engine.store.layout import Layout

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Area(Record):
    """A staging directory and the lock that keeps it: child processes that work in it inherit the lock."""

    path: str
    lock: int
    """A descriptor."""


@contextlib.contextmanager
def staging(layout: Layout) -> Iterator[str]:
    """An empty directory on the store's file system; what is still in it at the end is deleted.

    Raises NoSpaceError for an ENOSPC or EDQUOT that leaves the block.
    """
    with staging_area(layout) as area:
        yield area.path


@contextlib.contextmanager
def staging_area(layout: Layout) -> Iterator[Area]:
    """`staging`, with the descriptor of its lock."""
    with no_space_on_full(layout):
        area = _make_area(layout)
        try:
            yield area
        finally:
            delete_tree(area.path)
            _unlink(f"{area.path}.lock")
            os.close(area.lock)


@contextlib.contextmanager
def no_space_on_full(layout: Layout) -> Iterator[None]:
    """Turn an ENOSPC or EDQUOT of the block into NoSpaceError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise no_space(layout) from error
        raise


def _make_area(layout: Layout) -> Area:
    """Lock first, directory second: a directory is never there without somebody to whom it belongs."""
    while True:
        path = f"{layout.staging}/{os.urandom(8).hex()}"
        lock = os.open(f"{path}.lock", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with contextlib.ExitStack() as unless_made:
            unless_made.callback(os.close, lock)
            unless_made.callback(_unlink, f"{path}.lock")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # else a sweep found it before it was locked
                point("staging.after-lock")
                os.mkdir(path, 0o700)
                point("staging.after-make")
                unless_made.pop_all()
                return Area(path, lock)


def sync(path: str) -> None:
    """Write everything of the file system that holds *path* to its disk (syncfs(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """Make the names in *path* last: what was renamed into it is still there after a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def making(layout: Layout) -> Iterator[None]:
    """For whoever makes a container: its directory grows under a name of its own until it is recorded.

    Meanwhile the directory of all containers is locked (shared, flock): a sweep that finds an unfinished one,
    and can lock all others out, knows that a crash left it.
    """
    descriptor = _containers(layout)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def nobody_makes(layout: Layout) -> Iterator[bool]:
    """Whether nobody is within `making`; nobody gets there meanwhile if so."""
    descriptor = _containers(layout)
    try:
        yield not is_locked(descriptor)
    finally:
        os.close(descriptor)


def _containers(layout: Layout) -> int:
    return os.open(layout.containers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def publish(path: str, destination: str, *, flush: bool = True) -> None:
    """Give the finished *path* its place in the store; with *flush*, after everything in it is on disk.

    Call it inside the transaction that records it: whoever sees a directory without a record while holding
    the write lock may take it for a leftover.
    """
    if flush:
        sync(path)
    os.rename(path, destination)
    if flush:
        sync_directory(os.path.dirname(destination))


def retire(layout: Layout, path: str) -> str | None:
    """Rename *path* into trash/ and return its name there; None if it is not there (any more)."""
    trashed = f"{layout.trash}/{os.urandom(8).hex()}"
    try:
        os.rename(path, trashed)
    except FileNotFoundError:
        return None
    return trashed


def sweep_unlocked(layout: Layout) -> list[str]:
    """Delete the staging directories that nobody holds, which are returned, and whatever is in the trash."""
    names = sorted({name.removesuffix(".lock") for name in _names(layout.staging)})
    swept = [path for name in names if _sweep_area(path := f"{layout.staging}/{name}")]
    for name in _names(layout.trash):
        delete_tree(f"{layout.trash}/{name}")
    return swept


def unlocked(layout: Layout) -> list[str]:
    """The staging directories that nobody holds: what the next sweep takes."""
    paths = [f"{layout.staging}/{name}" for name in _names(layout.staging) if not name.endswith(".lock")]
    return [path for path in paths if not is_held(f"{path}.lock") and os.path.isdir(path)]


def _sweep_area(path: str) -> bool:
    """Delete a staging directory and its lock unless somebody holds it; whether it was there."""
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if is_locked(lock):
            return False
        was_there = os.path.lexists(path)
        delete_tree(path)
        _unlink(f"{path}.lock")
        return was_there
    finally:
        os.close(lock)


def is_held(lock: str) -> bool:
    """Whether somebody holds the lock file *lock*; nobody holds one that is not there."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return is_locked(descriptor)
    finally:
        os.close(descriptor)


def is_locked(descriptor: int) -> bool:
    """Whether another open file description holds the lock; it is ours afterwards if none did."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
