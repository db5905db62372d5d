"""Deleting trees that containers made: as deep and as wide as they like, without recursion."""

from __future__ import annotations

import contextlib
import errno
import os

_LONG = 3000
"""Bytes of a path from which on its directory is moved up first: PATH_MAX is 4096."""


def delete_tree(path: str) -> None:
    """Delete *path* and everything under it; links are not followed, what is gone already is fine.

    Only for trees inside the store, which nobody else can change while they are deleted: two processes that
    delete the same one are fine.
    """
    top = os.fsencode(path)
    try:
        if not _is_directory(top):
            os.unlink(top)
            return
    except FileNotFoundError:
        return
    levels = [(top, _empty(top))]  # the way to where we are, and what is left to do on it
    moved = 0
    while levels:
        directory, below = levels[-1]
        if not below:
            levels.pop()
            if left := _remove(directory):
                levels.append((directory, left))
            continue
        child = below.pop()
        if len(child) > _LONG:
            moved += 1
            shallow = b"%s/.deep-%d-%d" % (top, os.getpid(), moved)
            with contextlib.suppress(FileNotFoundError):
                os.rename(child, shallow)
                levels[0][1].append(shallow)
        else:
            levels.append((child, _empty(child)))


def _remove(directory: bytes) -> list[bytes]:
    """Remove the empty *directory*; where it is not, as others moved some up, the directories in it."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return _empty(directory) or [directory]
    return []


def _empty(directory: bytes) -> list[bytes]:
    """Unlink what is not a directory in *directory* and return the directories."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append(entry.path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)
    return found


def _is_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
