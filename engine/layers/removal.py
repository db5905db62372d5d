"""Removing a subtree without following a link and without recursion: a layer may be thousands of directories
deep.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Removed(NamedTuple):
    """What went."""

    entries: int
    """How many, the top one included."""
    size: int
    """Bytes of the regular files whose last name went."""
    directories: tuple[bytes, ...]
    """Their paths below the top one, which is the empty path; each with a leading slash otherwise."""


def remove_tree(parent: int, name: bytes) -> Removed:
    """Remove *name* from the directory *parent* (a descriptor), with everything below when it is a directory.

    Subdirectories are first moved up beside *name*'s own children, so that neither recursion nor a descriptor
    per level is needed. Raises OSError.
    """
    status = os.lstat(name, dir_fd=parent)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return Removed(1, _freed(status), ())
    count, size = 1, 0
    directories = [b""]
    top = os.open(name, _OPEN, dir_fd=parent)
    try:
        pending: list[tuple[bytes, bytes]] = []  # name in `top`, path
        count, size = _empty(top, top, b"", pending, count, size)
        while pending:
            moved, path = pending.pop()
            directories.append(path)
            inner = os.open(moved, _OPEN, dir_fd=top)
            try:
                count, size = _empty(inner, top, path, pending, count, size)
            finally:
                os.close(inner)
            os.rmdir(moved, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)
    return Removed(count, size, tuple(directories))


def _empty(
    directory: int, top: int, path: bytes, pending: list[tuple[bytes, bytes]], count: int, size: int
) -> tuple[int, int]:
    """Unlink the files of *directory*, move its subdirectories to *top* under fresh names and queue them."""
    for child in map(os.fsencode, os.listdir(directory)):
        status = os.lstat(child, dir_fd=directory)
        count += 1
        if not stat.S_ISDIR(status.st_mode):
            size += _freed(status)
            os.unlink(child, dir_fd=directory)
            continue
        moved = child
        if directory != top:
            moved = b".%d" % count
            while _exists(moved, top):
                moved = b"." + moved
            os.rename(child, moved, src_dir_fd=directory, dst_dir_fd=top)
        pending.append((moved, path + b"/" + child))
    return count, size


def _freed(status: os.stat_result) -> int:
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


def _exists(name: bytes, directory: int) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True
