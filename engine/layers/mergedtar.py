"""The merged tree of a stack of layers as one tar, the same bytes each time, without mounting anything.

Whiteouts and opaque marks have done their work and are not in it; entries are written as `tarwrite` does.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from engine.layers import stack
from engine.layers.failures import reporting
from engine.layers.overlayfs import read_xattrs
from engine.layers.tarwrite import LayerTar, Levels, Sink, Written, descend

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write_merged(lowers: Sequence[str], out: Sink | None) -> Written:
    """Write the merged tree of *lowers* (top first) to *out* (None: only to know its digest and size).

    The topmost may be in use: what vanishes meanwhile is left out. Raises NoSpaceError, StoreError.
    """
    with reporting("cannot write the tree as a tar"):
        tar = LayerTar(out)
        directories = stack.roots(lowers)
        tar.directory(b"", os.lstat(directories[0]), read_xattrs(directories[0]))
        descend(_entries(tar, directories, b""))
        return tar.finish()


def write_tree(path: bytes, name: bytes, out: Sink) -> Written:
    """Write the file or directory *path*, with all below it, to *out*; in the tar it is called *name*.

    An empty *name* leaves the entries of a directory without a common first component. Raises NoSpaceError,
    StoreError.
    """
    with reporting("cannot write the files as a tar"):
        tar = LayerTar(out)
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            _put(tar, path, name or os.path.basename(path), status)
            return tar.finish()
        tar.directory(name, status, read_xattrs(path))
        descend(_entries(tar, [path], name))
        return tar.finish()


def _entries(tar: LayerTar, directories: Sequence[bytes], name: bytes) -> Levels:
    for entry, _ in stack.merged_entries(directories):
        found = stack.find(directories, entry)
        if found is None:
            continue
        paths, status = found
        inner = name + b"/" + entry if name else entry
        if stat.S_ISDIR(status.st_mode):
            tar.directory(inner, status, read_xattrs(paths[0]))
            yield _entries(tar, paths, inner)
        elif not stat.S_ISSOCK(status.st_mode):
            _put(tar, paths[0], inner, status)


def _put(tar: LayerTar, path: bytes, name: bytes, status: os.stat_result) -> None:
    first = tar.first_name(name, status) if status.st_nlink > 1 else None
    if first is not None:
        tar.hard_link(name, first, status)
        return
    try:
        if not stat.S_ISREG(status.st_mode):
            link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
            tar.special(name, status, link, read_xattrs(path))
            return
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return
    try:
        tar.file(name, descriptor, os.fstat(descriptor))
    finally:
        os.close(descriptor)
