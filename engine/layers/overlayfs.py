"""How overlayfs marks deletions on disk, and how a layer tar spells the same marks.

On disk (Documentation/filesystems/overlayfs.rst): a whiteout is a character device 0:0, an opaque directory
carries the xattr ``trusted.overlay.opaque`` = ``y``. In a tar (OCI image-spec, layer.md): an empty file
``.wh.<name>``, and an empty file ``.wh..wh..opq`` in the directory.
"""

from __future__ import annotations

import errno
import os
import stat

WHITEOUT_PREFIX = b".wh."
OPAQUE_MARKER = b".wh..wh..opq"
AUFS_PREFIX = b".wh..wh."
"""Names that aufs kept for itself; of these only the opaque marker has a meaning in a layer."""

OPAQUE_XATTR = "trusted.overlay.opaque"
ORIGIN_XATTR = "trusted.overlay.origin"
"""Set by overlayfs on what it copied up, so a file without it is new, whatever its times say."""
PRIVATE_XATTRS = ("trusted.overlay.", "user.overlay.")
"""Overlayfs' own notes, the second on mounts with `userxattr`: never part of a file, never in a tar."""
_LABELS = "security."
_CAPABILITY = "security.capability"
"""The one attribute in `security.` that belongs to a program; the others are what this host's policy thinks
of its files (SELinux, Smack, IMA, EVM), which is not a layer's to say.
"""

_ABSENT = (errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.ENOTDIR)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether an entry of a layer directory stands for "deleted here"."""
    return status.st_rdev == 0 and stat.S_ISCHR(status.st_mode)


def is_opaque(directory: bytes | int) -> bool:
    """Whether a directory of a layer hides all that lower layers have at its place."""
    try:
        return os.getxattr(directory, OPAQUE_XATTR) == b"y"
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise


def has_origin(path: bytes) -> bool:
    """Whether overlayfs copied the file at *path* up from a lower layer."""
    try:
        os.getxattr(path, ORIGIN_XATTR, follow_symlinks=False)
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True


def read_xattrs(entry: bytes | int) -> dict[str, bytes]:
    """The extended attributes of a path (a link itself, not its target) or descriptor, without overlayfs'
    own.
    """
    follow = isinstance(entry, int)
    found = {}
    for name in _names(entry, follow):
        try:
            found[name] = os.getxattr(entry, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
    return found


def same_xattrs(one: bytes, other: bytes) -> bool:
    """Whether two paths carry the same attributes, without overlayfs' own: two calls for most files."""
    first, second = _names(one, False), _names(other, False)
    if not first and not second:
        return True
    return sorted(first) == sorted(second) and read_xattrs(one) == read_xattrs(other)


def _names(entry: bytes | int, follow: bool) -> list[str]:
    try:
        names = os.listxattr(entry, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise
    return [name for name in names if not name.startswith(PRIVATE_XATTRS)] if names else names


def write_xattrs(entry: bytes | int, xattrs: dict[str, bytes]) -> None:
    """Set *xattrs* on a path or descriptor, those of overlayfs and of this host's security policy aside.

    What this file system does not know is left out, capabilities never. Raises OSError: ENOTSUP for
    ``security.capability``, as a program that silently lost it would fail much later; E2BIG for more or
    longer ones than a file can have.
    """
    follow = isinstance(entry, int)
    for name, value in xattrs.items():
        if name.startswith(PRIVATE_XATTRS) or (name.startswith(_LABELS) and name != _CAPABILITY):
            continue
        try:
            os.setxattr(entry, name, value, follow_symlinks=follow)
        except OSError as error:
            if error.errno == errno.ENOSPC and _has_room(entry):
                raise OSError(errno.E2BIG, "it has more extended attributes than fit on a file") from error
            if error.errno not in (errno.ENOTSUP, errno.EPERM) or name == _CAPABILITY:
                raise


def _has_room(entry: bytes | int) -> bool:
    """Whether the file system has free space, so that ENOSPC speaks of the one file."""
    path = entry if isinstance(entry, int) else os.path.dirname(entry)
    return os.statvfs(path).f_bavail > 16
