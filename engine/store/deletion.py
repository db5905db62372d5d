"""Deleting trees that containers made: as deep and as wide as they like, without recursion."""

from __future__ import annotations

import contextlib
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
        directories = [top] if _is_directory(top) else []
        if not directories:
            os.unlink(top)
    except FileNotFoundError:
        return
    emptied = []
    moved = 0
    while directories:
        directory = directories.pop()
        if len(directory) > _LONG:
            moved += 1
            shallow = b"%s/.deep-%d-%d" % (top, os.getpid(), moved)
            try:
                os.rename(directory, shallow)
            except FileNotFoundError:
                continue
            directory = shallow
        emptied.append(directory)
        directories.extend(_empty(directory))
    for directory in reversed(emptied):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(directory)


def _empty(directory: bytes) -> list[bytes]:
    """Unlink what is not a directory in *directory* and return the directories."""
    found = []
    try:
        with os.scandir(directory) as iterator:
            entries = list(iterator)
    except FileNotFoundError:
        return []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            found.append(entry.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)
    return found


def _is_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
