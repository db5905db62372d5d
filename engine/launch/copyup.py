"""Copying a small tree inside a container that does not run yet: what tmpcopyup asks for."""

from __future__ import annotations

import os
import stat

from engine.errors import LaunchError
from engine.launch.mountpoints import copy_metadata

_PIECE = 1 << 20
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


def copy_tree(source: int, target: int) -> None:
    """Copy everything in the directory *source* into the empty directory *target*, following no link.

    Owners, modes, extended attributes and times are kept. Raises OSError (ENOSPC), and LaunchError for what
    cannot be copied.
    """
    for name in os.listdir(source):
        _copy(name, source, target)
    copy_metadata(source, target)


def _copy(name: str, source: int, target: int) -> None:
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    elif kind in (stat.S_IFREG, stat.S_IFDIR):
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=target)
            wanted = os.O_RDONLY | os.O_DIRECTORY
        else:
            wanted = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        below = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=source)
        above = os.open(name, wanted | _FLAGS, 0o600, dir_fd=target)
        try:
            if kind == stat.S_IFDIR:
                copy_tree(below, above)
            else:
                _copy_content(below, above)
                copy_metadata(below, above)
        finally:
            os.close(below)
            os.close(above)
    elif kind == stat.S_IFIFO:
        os.mkfifo(name, stat.S_IMODE(status.st_mode), dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    else:
        raise LaunchError(f"cannot copy {name} into a tmpfs", "it is a device or a socket")


def _copy_content(source: int, target: int) -> None:
    while piece := os.read(source, _PIECE):
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]
