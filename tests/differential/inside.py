"""A process of the container: it does file operations and writes down trees.

Only the standard library, and no import of this project: its text goes into containers as a whole (`python3
-c`), and works in trees of other engines from outside. Paths and data are text of one character per byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any

Operation = Sequence[Any]
"""A verb of `VERBS` and its arguments."""
Row = list[Any]
"""A path and what `tests.layers.trees.Seen` has of it."""

APART = ("dev", "etc", "lib", "lib64", "proc", "sys", "usr")
"""Entries of the root that are mounted over or that this program itself runs from: nobody touches them."""
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service=ep as security.capability holds it (struct vfs_cap_data, revision 2)."""
ACL = bytes.fromhex(
    "0200000001000700ffffffff020005007b00000004000500ffffffff10000700ffffffff20000400ffffffff"
)
"""user::rwx user:123:r-x group::r-x mask::rwx other::r--, as system.posix_acl_access holds it."""


def walk(top: str) -> list[Row]:
    """Every entry below *top*, and *top* itself as the empty path: a list of all that a layer has to keep."""
    base = os.fsencode(top)
    found: dict[bytes, os.stat_result] = {}
    groups: dict[tuple[int, int], list[bytes]] = {}
    pending = [b""]
    while pending:
        path = pending.pop()
        where = os.path.join(base, path)
        status = os.lstat(where)
        found[path] = status
        if stat.S_ISDIR(status.st_mode):
            names = [name for name in os.listdir(where) if path or name not in map(os.fsencode, APART)]
            pending += [path + b"/" + name if path else name for name in names]
        else:
            groups.setdefault((status.st_dev, status.st_ino), []).append(path)
    return [
        [path.decode("latin-1"), *_entry(os.path.join(base, path), status, groups)]
        for path, status in sorted(found.items())
    ]


def _entry(where: bytes, status: os.stat_result, groups: dict[tuple[int, int], list[bytes]]) -> Row:
    mode = status.st_mode
    content = ""
    if stat.S_ISREG(mode):
        with open(where, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    elif stat.S_ISLNK(mode):
        content = os.readlink(where).decode("latin-1")
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        content = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    xattrs = [
        [name, os.getxattr(where, name, follow_symlinks=False).hex()]
        for name in sorted(os.listxattr(where, follow_symlinks=False))
        if not name.startswith("trusted.")
    ]
    names = [] if stat.S_ISDIR(mode) else sorted(groups[status.st_dev, status.st_ino])
    return [
        stat.S_IFMT(mode),
        stat.S_IMODE(mode),
        [status.st_uid, status.st_gid],
        status.st_mtime_ns,
        content,
        status.st_size if stat.S_ISREG(mode) else 0,
        xattrs,
        [name.decode("latin-1") for name in names],
    ]


def perform(operations: Sequence[Operation]) -> int:
    """Do *operations* below the root; what makes no sense there is refused by the kernel and passed over."""
    done = 0
    for verb, *arguments in operations:
        try:
            VERBS[verb](*[_decoded(argument) for argument in arguments])
            done += 1
        except (OSError, shutil.Error):
            continue
    return done


def _decoded(argument: str | int) -> bytes | int:
    return argument.encode("latin-1") if isinstance(argument, str) else argument


def _plain(path: bytes) -> None:
    """A regular file or nothing: a device has no end, a fifo no other side."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise IsADirectoryError(path)


def _write(path: bytes, data: bytes, flags: int = os.O_TRUNC, offset: int | None = None) -> None:
    _plain(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        if offset is not None:
            os.lseek(descriptor, offset, os.SEEK_SET)
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _truncate(path: bytes, size: int) -> None:
    _plain(path)
    os.truncate(path, size)


def _rewrite(path: bytes) -> None:
    """As an editor saves a file: the same bytes in a new file under the old name."""
    _plain(path)
    shutil.copy2(path, path + b"~")
    os.rename(path + b"~", path)


def _touch(path: bytes) -> None:
    """Opened for writing and closed again: overlayfs copies it up."""
    _plain(path)
    os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW))


def _remove(path: bytes) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        if path == b"/":
            raise OSError("not the root")
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _remake(path: bytes) -> None:
    _remove(path)
    os.mkdir(path)


def _directory_to_file(path: bytes, data: bytes) -> None:
    _remove(path)
    _write(path, data)


def _directory_to_link(path: bytes, target: bytes) -> None:
    _remove(path)
    os.symlink(target, path)


def _file_to_directory(path: bytes, name: bytes) -> None:
    _remove(path)
    os.makedirs(path + b"/" + name)


def _move(old: bytes, new: bytes) -> None:
    """As mv(1) moves: by copying where overlayfs refuses to rename a lower directory."""
    try:
        os.rename(old, new)
    except OSError:
        if (
            new.startswith(old + b"/")
            or not os.path.isdir(old)
            or os.path.islink(old)
            or os.path.lexists(new)
        ):
            raise
        for directory, _, files in os.walk(old):
            if any(
                not (os.path.isfile(p) or os.path.islink(p)) for p in (directory + b"/" + f for f in files)
            ):
                raise
        shutil.copytree(old, new, symlinks=True)
        shutil.rmtree(old)


def _socket(path: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


def _chown(path: bytes, user: int, group: int) -> None:
    os.chown(path, user, group, follow_symlinks=False)


def _xattr(path: bytes, name: bytes, value: bytes) -> None:
    os.setxattr(path, name, value, follow_symlinks=False)


VERBS: dict[str, Callable[..., object]] = {
    "write": _write,
    "append": lambda path, data: _write(path, data, os.O_APPEND),
    "patch": lambda path, data, offset: _write(path, data, 0, offset),
    "truncate": _truncate,
    "rewrite": _rewrite,
    "touch": _touch,
    "mkdir": os.makedirs,
    "remove": _remove,
    "remake": _remake,
    "directory-to-file": _directory_to_file,
    "directory-to-link": _directory_to_link,
    "file-to-directory": _file_to_directory,
    "rename": os.rename,
    "move": _move,
    "symlink": lambda path, target: os.symlink(target, path),
    "link": lambda path, first: os.link(first, path, follow_symlinks=False),
    "chmod": os.chmod,
    "chown": _chown,
    "xattr": _xattr,
    "unxattr": lambda path, name: os.removexattr(path, name, follow_symlinks=False),
    "capability": lambda path: _xattr(path, b"security.capability", CAPABILITY),
    "acl": lambda path: _xattr(path, b"system.posix_acl_access", ACL),
    "utime": lambda path, time: os.utime(path, ns=(time, time), follow_symlinks=False),
    "fifo": os.mkfifo,
    "char": lambda path, major, minor: os.mknod(path, stat.S_IFCHR | 0o640, os.makedev(major, minor)),
    "block": lambda path, minor: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, minor)),
    "socket": _socket,
}


def main() -> None:
    """Read operations, do them, print both trees; with an argument, in that directory as root."""
    for top in sys.argv[1:]:
        os.chroot(top)
    os.chdir("/")
    os.umask(0o022)
    before = walk("/")
    done = perform(json.load(sys.stdin))
    print(json.dumps({"before": before, "after": walk("/"), "done": done}))


if __name__ == "__main__":
    main()
