"""A stack of read-only layers, read as the one tree that overlayfs would show, without mounting it.

Documentation/filesystems/overlayfs.rst: the topmost layer with a name decides; directories of the same name
merge until one of them is opaque or something else than a directory (a whiteout, usually) lies in between.
Symlinks are never followed, so a path of the container never becomes a path of the host. *lowers* are always
top first.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from typing import BinaryIO, NamedTuple

from engine.errors import NotFoundError
from engine.layers.confine import clean
from engine.layers.overlayfs import is_opaque, is_whiteout


class Location(NamedTuple):
    """Where one path of the merged tree lies."""

    path: bytes
    """On the host, in the topmost layer that has it."""
    status: os.stat_result
    directories: tuple[bytes, ...]
    """For a directory: all that merge into it, top first; `path` is the first. Empty for all else."""
    layer: int
    """Index of the topmost layer with it, in the stack that was asked for; 0 is the top."""


def visible(lowers: Sequence[str]) -> list[str]:
    """*lowers* down to the first whose root is opaque: overlayfs itself does not look for that mark at the
    root.
    """
    kept = []
    for lower in lowers:
        kept.append(lower)
        if is_opaque(os.fsencode(lower)):
            break
    return kept


def roots(lowers: Iterable[str]) -> list[bytes]:
    """The directories that merge into the root of a stack."""
    return [os.fsencode(lower) for lower in visible(list(lowers))]


def find(directories: Sequence[bytes], name: bytes) -> tuple[list[bytes], os.stat_result] | None:
    """*name* in a merged directory: the paths that make it up (more than one for directories only), and the
    first's status; None if there is nothing. Raises OSError for anything but absence.
    """
    merged: list[bytes] = []
    first: os.stat_result | None = None
    last = len(directories) - 1
    for index, directory in enumerate(directories):
        path = directory + b"/" + name
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(status.st_mode):
            if first is None and not is_whiteout(status):
                return [path], status
            break
        merged.append(path)
        first = first or status
        if index < last and is_opaque(path):
            break
    return (merged, first) if first is not None else None


def lookup(lowers: Sequence[str], path: str | bytes) -> Location | None:
    """*path* (absolute or relative to the root) in the merged tree; None if it is not there.

    Links among its parents are not followed: below a link there is nothing.
    """
    directories = roots(lowers)
    if not directories:
        return None
    here: tuple[list[bytes], os.stat_result] | None = directories, os.lstat(directories[0])
    for name in _components(path):
        if here is None or not stat.S_ISDIR(here[1].st_mode):
            return None
        here = find(here[0], name)
    if here is None:
        return None
    paths, status = here
    layer = next(
        index
        for index, root in enumerate(map(os.fsencode, lowers))
        if paths[0] == root or paths[0].startswith(root.rstrip(b"/") + b"/")
    )
    return Location(paths[0], status, tuple(paths) if stat.S_ISDIR(status.st_mode) else (), layer)


def open_file(lowers: Sequence[str], path: str | bytes) -> BinaryIO:
    """The regular file *path* of the merged tree, open for reading.

    Raises NotFoundError when there is none, or something else than a regular file.
    """
    location = lookup(lowers, path)
    if location is None or not stat.S_ISREG(location.status.st_mode):
        raise NotFoundError(f"no regular file {os.fsdecode(path)!r} in the image")
    descriptor = os.open(location.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return os.fdopen(descriptor, "rb")


def list_dir(lowers: Sequence[str], path: str | bytes) -> list[tuple[bytes, os.stat_result]]:
    """Names and status of all entries of the directory *path* of the merged tree, sorted by name.

    Raises NotFoundError when there is no such directory.
    """
    location = lookup(lowers, path)
    if location is None or not location.directories:
        raise NotFoundError(f"no directory {os.fsdecode(path)!r} in the image")
    return merged_entries(location.directories)


def merged_entries(directories: Sequence[bytes]) -> list[tuple[bytes, os.stat_result]]:
    """Names and status of all entries of one merged directory, sorted by name."""
    seen: dict[bytes, os.stat_result] = {}
    for directory in directories:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name not in seen:
                    seen[entry.name] = entry.stat(follow_symlinks=False)
    return sorted((name, status) for name, status in seen.items() if not is_whiteout(status))


def _components(path: str | bytes) -> list[bytes]:
    cleaned = clean(os.fsencode(path))
    return cleaned.split(b"/") if cleaned else []
