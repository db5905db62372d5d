"""Mounts: the old call, the new ones, and the overlay of a container (mount(2), fsopen(2), move_mount(2))."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence

from engine.kernel import syscalls
from engine.kernel.syscalls import AT_EMPTY_PATH, call

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_SILENT = 0x8000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_I_VERSION = 0x800000
MS_STRICTATIME = 0x1000000
MS_LAZYTIME = 0x2000000

ATTR_RDONLY = 0x1
ATTR_NOSUID = 0x2
ATTR_NODEV = 0x4
ATTR_NOEXEC = 0x8
ATTR_NOATIME = 0x10
ATTR_STRICTATIME = 0x20
ATTR_TIMES = 0x70
"""One field of three bits; 0 is relatime."""
ATTR_NODIRATIME = 0x80
ATTR_IDMAP = 0x100000
ATTR_NOSYMFOLLOW = 0x200000

MNT_DETACH = 0x2

FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_RECURSIVE = 0x8000

PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572
TMPFS_MAGIC = 0x01021994
RAMFS_MAGIC = 0x858458F6
DEVPTS_MAGIC = 0x1CD1
OVERLAYFS_MAGIC = 0x794C7630

PAGE = 4096
OPTIONS = "index=off,metacopy=off,redirect_dir=off"
"""What every overlay of ours is mounted with: renames and copies leave only what a layer tar can say, and an
upper directory may be mounted again after its lower ones moved (Documentation/filesystems/overlayfs.rst)."""

_mount = syscalls.libc().mount
_mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_umount2 = syscalls.libc().umount2
_umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_fstatfs = syscalls.libc().fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """Mount as mount(2) does; OSError says what was to be mounted where."""
    if _mount(_bytes(source), os.fsencode(target), _bytes(kind), flags, _bytes(data)):
        syscalls.failed(f"mount {source or kind or 'it'} on {target}")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def unmount(target: str, flags: int = 0) -> None:
    """Unmount *target* (umount2(2))."""
    if _umount2(os.fsencode(target), flags):
        syscalls.failed(f"unmount {target}")


def by_descriptor(descriptor: int) -> str:
    """A path that means exactly what *descriptor* is open on, whatever its name became."""
    return f"/proc/self/fd/{descriptor}"


def file_system(descriptor: int) -> int:
    """The magic number of the file system that *descriptor* is on (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    if _fstatfs(descriptor, buffer):
        syscalls.failed("ask for the file system of a descriptor")
    return int.from_bytes(buffer.raw[:8], sys.byteorder)


def volatile(path: str) -> bool:
    """Whether *path* is on memory, where flushing has no meaning."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return file_system(descriptor) in (TMPFS_MAGIC, RAMFS_MAGIC)
    finally:
        os.close(descriptor)


def move_mount(tree: int, target: int, name: str = "") -> None:
    """Attach the detached mount *tree* at what *target* is open on, or at *name* in that directory.

    move_mount(2), Linux 5.2. A link at *name* is not followed.
    """
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if name else MOVE_MOUNT_T_EMPTY_PATH)
    call("attach a mount", syscalls.NR_MOVE_MOUNT, tree, b"", target, os.fsencode(name), flags)


def set_attributes(
    tree: int,
    add: int,
    remove: int = 0,
    recursive: bool = False,
    user_namespace: int = 0,
    propagation: int = 0,
) -> None:
    """Set and clear ATTR_… of the mount *tree*, with *recursive* of all below (mount_setattr(2), Linux 5.12).

    *propagation* is one of MS_PRIVATE and its like, 0 to leave it. ATTR_IDMAP takes the descriptor of a
    *user_namespace*. Raises OSError: ENOSYS on older kernels, EPERM for what is locked, EINVAL for a file
    system that cannot have it.
    """
    how = mount_attr(add, remove, propagation, user_namespace)
    at = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    call("change a mount", syscalls.NR_MOUNT_SETATTR, tree, b"", at, how, len(how))


def mount_attr(add: int, remove: int = 0, propagation: int = 0, user_namespace: int = 0) -> bytes:
    """``struct mount_attr`` of mount_setattr(2)."""
    return struct.pack("=4Q", add, remove, propagation, user_namespace)


def new_tree(kind: str, options: str = "", attributes: int = 0) -> int:
    """A detached mount of a new file system of *kind* (fsopen(2), Linux 5.2).

    *options* are the file system's own, with commas between; *attributes* ATTR_… of the mount.
    """
    context = call(f"open a {kind}", syscalls.NR_FSOPEN, os.fsencode(kind), FSOPEN_CLOEXEC)
    try:
        _configure(context, "source", kind)
        for option in filter(None, options.split(",")):
            key, equals, value = option.partition("=")
            if equals:
                _configure(context, key, value)
            else:
                flag = os.fsencode(key)
                call(f"set {key}", syscalls.NR_FSCONFIG, context, FSCONFIG_SET_FLAG, flag, None, 0)
        call(f"mount a {kind}", syscalls.NR_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return call(f"mount a {kind}", syscalls.NR_FSMOUNT, context, FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(context)


def clone_tree(directory: int, path: str = "", recursive: bool = False) -> int:
    """A detached copy of the mount at *path*, as a bind mount makes it (open_tree(2))."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    flags |= AT_EMPTY_PATH if not path else 0
    return call(f"bind {path or 'a descriptor'}", syscalls.NR_OPEN_TREE, directory, os.fsencode(path), flags)


def mount_overlay(lowers: Sequence[str], upper: str, work: str, target: str) -> None:
    """Mount an overlay of *lowers* (topmost first) and the read-write *upper* at *target*.

    Takes any number of lower directories that the kernel takes (500). Where the kernel knows ``lowerdir+``
    (Linux 6.7) each is given alone; else all go into one page of options as descriptors.
    """
    try:
        tree = overlay_tree(lowers, upper, work)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise
    else:
        try:
            descriptor = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                move_mount(tree, descriptor)
            finally:
                os.close(descriptor)
        finally:
            os.close(tree)
        return
    mount_overlay_by_options(lowers, upper, work, target)


def overlay_tree(lowers: Sequence[str], upper: str = "", work: str = "") -> int:
    """A detached overlay mount, made with one ``lowerdir+`` for each lower directory (Linux 6.7).

    Without *upper* it is read-only and takes two lower directories at least. Raises OSError(EINVAL) on
    kernels that do not know that parameter.
    """
    context = call("open an overlay", syscalls.NR_FSOPEN, b"overlay", FSOPEN_CLOEXEC)
    try:
        for lower in lowers:
            _configure(context, "lowerdir+", lower)
        # Unlike lowerdir+, these two are unescaped by the kernel.
        for key, path in (("upperdir", upper), ("workdir", work)):
            if path:
                _configure(context, key, path.replace("\\", "\\\\"))
        for option in OPTIONS.split(","):
            key, _, value = option.partition("=")
            _configure(context, key, value)
        call("mount an overlay", syscalls.NR_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return call("mount an overlay", syscalls.NR_FSMOUNT, context, FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)


def overlays_are_detached() -> bool:
    """Whether `overlay_tree` can be had: Linux 6.7. Older kernels take any parameter, not the mount."""
    major, minor, *_ = os.uname().release.replace("-", ".").replace("+", ".").split(".")
    return (int(major), int(minor)) >= (6, 7)


def _configure(context: int, key: str, value: str) -> None:
    name, text = os.fsencode(key), os.fsencode(value)
    call(f"set {key}={value}", syscalls.NR_FSCONFIG, context, FSCONFIG_SET_STRING, name, text, 0)


def mount_overlay_by_options(lowers: Sequence[str], upper: str, work: str, target: str) -> None:
    """Mount an overlay with mount(2) alone; many lower directories go by descriptor to fit in a page."""
    opened: list[int] = []
    try:
        names = [_escape(lower) for lower in lowers]
        if sum(map(len, names)) > PAGE - 1024:
            opened = [os.open(lower, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for lower in lowers]
            names = [by_descriptor(descriptor) for descriptor in opened]
        data = f"lowerdir={':'.join(names)},upperdir={_escape(upper)},workdir={_escape(work)},{OPTIONS}"
        mount("overlay", target, "overlay", 0, data)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _escape(path: str) -> str:
    """A path as overlayfs' own option parser wants it: it splits at colons and commas."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
