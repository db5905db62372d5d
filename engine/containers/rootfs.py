"""The container's file system, made by its own first process, in its own mount namespace, before it pivots.

Whatever is in the rootfs is the image's and may be hostile. No path in it is ever walked by the host's
rules: each is opened inside the root (openat2's RESOLVE_IN_ROOT), looked at, and mounted on as that
descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Mapping, Sequence

from engine.containers import mountpoints
from engine.containers.plan import Device, Plan, Step
from engine.errors import LaunchError
from engine.kernel import mount, syscalls
from engine.record import Record

_ATTRIBUTES = {mount.MS_RDONLY: 1, mount.MS_NOSUID: 2, mount.MS_NODEV: 4, mount.MS_NOEXEC: 8}
"""MOUNT_ATTR_… of mount_setattr(2) for the flags of mount(2)."""
_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
)
NULL = os.makedev(1, 3)
_KERNEL = {"proc": mount.PROC_SUPER_MAGIC, "sys": mount.SYSFS_MAGIC}


class CgroupView(Record):
    """What the container sees of its cgroups below /sys/fs/cgroup."""

    name: str
    """A controller's directory of version 1; empty for version 2, whose directory is all there is."""
    path: str
    """The container's own cgroup, on the host."""


class Stack(Record):
    """The directories of the overlay."""

    lowers: tuple[str, ...]
    upper: str
    work: str
    init: str
    target: str


class Made(Record):
    """Descriptors of what has been made."""

    root: int
    null: int | None
    """The container's /dev/null; None when its /dev is not ours."""
    pts: int | None
    """Its devpts."""


def build(plan: Plan, stack: Stack, cgroups: Sequence[CgroupView]) -> Made:
    """Mount everything of *plan* at `stack.target`; the caller pivots into it.

    Raises OSError or LaunchError with a sentence for the first thing that cannot be done.
    """
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
    return _furnish(_overlay(plan, stack), plan, cgroups)


def _overlay(plan: Plan, stack: Stack) -> int:
    """Mount the overlay, with every mount point that the image lacks; a descriptor of its root.

    They are looked for before anything is mounted on it: finding out halfway costs all of that twice.
    """
    lowers = (stack.init, *stack.lowers)
    places = mountpoints.wanted(plan)
    with_init = bool(os.listdir(stack.init))
    root = _mount_overlay(stack, lowers if with_init else stack.lowers)
    if not mountpoints.missing(root, places):
        return root
    if with_init:  # made only in part: a lower of an overlay that is mounted must not change
        os.close(root)
        mount.unmount(stack.target)
        root = _mount_overlay(stack, stack.lowers)
    mountpoints.make(root, mountpoints.missing(root, places), stack.init)
    os.close(root)
    mount.unmount(stack.target)
    return _mount_overlay(stack, lowers)


def _mount_overlay(stack: Stack, lowers: Sequence[str]) -> int:
    mount.mount_overlay(lowers, stack.upper, stack.work, stack.target)
    return _open_directory(stack.target)


def _furnish(root: int, plan: Plan, cgroups: Sequence[CgroupView]) -> Made:
    null = pts = None
    for step in plan.steps:
        if step.kind == "bind":
            _bind(root, step)
        elif step.kind == "cgroup":
            _cgroups(root, step, cgroups)
        else:
            made = _mount(root, step)
            if step.kind == "devpts" and step.destination == "/dev/pts":
                pts = made
                continue
            if step.kind == "tmpfs" and step.destination == "/dev":
                null = _devices(made)
            os.close(made)
    for device in plan.devices:
        _device(root, device)
    _restrict(root, plan, null)
    flags = (mount.MS_RDONLY if plan.read_only else 0) | (mount.MS_NODEV if plan.no_devices else 0)
    if flags:
        attributes(root, flags)
    return Made(root, null, pts)


def _restrict(root: int, plan: Plan, null: int | None) -> None:
    """Sysctls, then what is read-only or masked in /proc and /sys."""
    tops: dict[str, int] = {}
    if plan.sysctls or plan.read_only_paths or plan.masked:
        tops = {name: _kernel_top(root, name) for name in _KERNEL}
    try:
        _sysctls(tops, plan.sysctls)
        for path in plan.read_only_paths:
            _protect(root, tops, path)
        _mask(root, tops, plan.masked, null)
    finally:
        for top in tops.values():
            os.close(top)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _target(root: int, path: str, directory: bool) -> int:
    """What *path* is in the container, to be mounted on; made when it lies in a mount of this container."""
    try:
        return mountpoints.inside(root, path)
    except FileNotFoundError:
        mountpoints.make_inside(root, path, directory)  # raises that again for what is not in a mount
    return mountpoints.inside(root, path)


def _mount(root: int, step: Step) -> int:
    """Mount a file system that is made for this container; a descriptor of its root."""
    target = _target(root, step.destination, directory=True)
    try:
        flags = step.flags
        data = step.data
        if step.kind == "tmpfs" and "mode=" not in data:
            data = f"{data},mode=1777" if data else "mode=1777"
        mount.mount(step.source, mount.by_descriptor(target), step.kind, flags, data or None)
    except OSError as error:
        raise LaunchError(
            f"cannot mount {step.kind} at {step.destination}", syscalls.reason(error)
        ) from error
    finally:
        os.close(target)
    made = mountpoints.inside(root, step.destination)
    if step.propagation & ~mount.MS_REC not in (0, mount.MS_PRIVATE):
        mount.mount(None, mount.by_descriptor(made), None, step.propagation)
    return made


def _bind(root: int, step: Step) -> None:
    """Show a file or directory of the host; its flags hold from the first moment."""
    recursive = bool(step.flags & mount.MS_REC)
    try:
        tree = mount.clone_tree(-100, step.source, recursive)
    except OSError as error:
        raise LaunchError(
            f"cannot bind {step.source}", syscalls.reason(error), "look whether it exists"
        ) from error
    try:
        target = _target(root, step.destination, stat.S_ISDIR(os.fstat(tree).st_mode))
        try:
            flags = step.flags & ~(mount.MS_BIND | mount.MS_REC)
            late = bool(flags) and not _try_attributes(tree, flags, recursive)
            mount.move_mount(tree, target)
            if late:
                _remount(tree, flags)
        finally:
            os.close(target)
        if step.propagation & ~mount.MS_REC not in (0, mount.MS_PRIVATE):
            mount.mount(None, mount.by_descriptor(tree), None, step.propagation)
    except FileNotFoundError:
        raise  # the rootfs lacks that place: `build` makes it
    except OSError as error:
        raise LaunchError(
            f"cannot bind {step.source} at {step.destination}", syscalls.reason(error)
        ) from error
    finally:
        os.close(tree)


def attributes(descriptor: int, flags: int, recursive: bool = False) -> None:
    """Add *flags* of mount(2) to the mount that *descriptor* is open on."""
    if not _try_attributes(descriptor, flags, recursive):
        _remount(descriptor, flags)


def _try_attributes(descriptor: int, flags: int, recursive: bool) -> bool:
    """mount_setattr(2); False on kernels before 5.12 and for flags that it does not take."""
    add = 0
    for flag, attribute in _ATTRIBUTES.items():
        if flags & flag:
            add |= attribute
            flags &= ~flag
    if flags & ~mount.MS_RELATIME:
        return False
    how = struct.pack("=4Q", add, 0, 0, 0)
    at = syscalls.AT_EMPTY_PATH | (mount.AT_RECURSIVE if recursive else 0)
    try:
        syscalls.call("change a mount", syscalls.NR_MOUNT_SETATTR, descriptor, b"", at, how, len(how))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        return False
    return True


def _remount(descriptor: int, flags: int) -> None:
    """The older way; what the mount had stays, as ST_… are the numbers of MS_… for these."""
    kept = os.fstatvfs(descriptor).f_flag & (
        mount.MS_RDONLY | mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
    )
    mount.mount(None, mount.by_descriptor(descriptor), None, mount.MS_BIND | mount.MS_REMOUNT | kept | flags)


def _devices(directory: int) -> int:
    """Fill the container's own /dev; a descriptor of its null device."""
    before = os.umask(0)
    try:
        for name, major, minor in _NODES:
            _node(directory, name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=directory)
    finally:
        os.umask(before)
    for target, name in _LINKS:
        os.symlink(target, name, dir_fd=directory)
    return os.open("null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def _node(directory: int, name: str, mode: int, number: int) -> None:
    try:
        os.mknod(name, mode, number, dir_fd=directory)
    except PermissionError:
        # No CAP_MKNOD for us, or a devices cgroup above that forbids it: show the host's node.
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=directory))
        tree = mount.clone_tree(-100, f"/dev/{name}")
        target = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=directory)
        try:
            mount.move_mount(tree, target)
        finally:
            os.close(target)
            os.close(tree)


def _device(root: int, device: Device) -> None:
    """One more node, as linux.devices asks for."""
    parent, _, name = device.path.rpartition("/")
    directory = _target(root, parent or "/", directory=True)
    before = os.umask(0)
    try:
        with contextlib.suppress(FileExistsError):
            os.mknod(name, device.mode, device.number, dir_fd=directory)
            if device.uid or device.gid:
                os.chown(name, device.uid, device.gid, dir_fd=directory, follow_symlinks=False)
    finally:
        os.umask(before)
        os.close(directory)


def _cgroups(root: int, step: Step, views: Sequence[CgroupView]) -> None:
    """The container's own cgroups, by bind: the same as a mount inside its cgroup namespace would show.

    A mount per controller would cost a superblock each, 0.1 ms of every launch.
    """
    flags = step.flags & ~mount.MS_RELATIME
    whole = next((view for view in views if not view.name), None)
    if whole is not None and len(views) == 1:
        _bind(root, step._replace(source=whole.path, flags=flags | mount.MS_BIND))
        return
    plain = step._replace(kind="tmpfs", source="tmpfs", flags=flags & ~mount.MS_RDONLY, data="mode=755")
    directory = _mount(root, plain)
    try:
        for view in views:
            name = view.name
            os.mkdir(name, 0o755, dir_fd=directory)
            inner = f"{step.destination}/{name}"
            _bind(root, step._replace(destination=inner, source=view.path, flags=flags | mount.MS_BIND))
            if "," in name:
                for alias in name.split(","):
                    os.symlink(name, alias, dir_fd=directory)
        if flags & mount.MS_RDONLY:
            attributes(directory, mount.MS_RDONLY)
    finally:
        os.close(directory)


def _kernel_top(root: int, name: str) -> int:
    """The container's /proc or /sys; only the kernel's own is trusted (CVE-2019-19921, CVE-2025-52881)."""
    rules = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
    try:
        top = syscalls.openat2(root, name, os.O_PATH | os.O_DIRECTORY, rules)
    except OSError as error:
        raise LaunchError(f"cannot protect /{name}", syscalls.reason(error)) from error
    if mount.file_system(top) != _KERNEL[name]:
        raise LaunchError(f"cannot trust /{name}", "it is not the kernel's own")
    return top


def _kernel_file(tops: Mapping[str, int], path: str, flags: int) -> int:
    """Open *path* of /proc or /sys in that mount alone, over no link."""
    _, top, rest = path.split("/", 2)
    rules = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_XDEV
    return syscalls.openat2(tops[top], rest, flags, rules)


def _open_protected(root: int, tops: Mapping[str, int], path: str) -> int | None:
    """What is to be masked or made read-only; None when it is not there."""
    try:
        if path.startswith(("/proc/", "/sys/")):
            return _kernel_file(tops, path, os.O_PATH)
        return mountpoints.inside(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sysctls(tops: Mapping[str, int], values: Sequence[tuple[str, str]]) -> None:
    for name, value in values:
        path = f"/proc/sys/{name.replace('.', '/')}"
        try:
            descriptor = _kernel_file(tops, path, os.O_WRONLY)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise LaunchError(f"cannot set the sysctl {name}={value}", syscalls.reason(error)) from error


def _protect(root: int, tops: Mapping[str, int], path: str) -> None:
    """Make *path* read-only, with whatever is mounted below it."""
    target = _open_protected(root, tops, path)
    if target is None:
        return
    tree = mount.clone_tree(target, recursive=True)
    try:
        late = not _try_attributes(tree, mount.MS_RDONLY, recursive=True)
        mount.move_mount(tree, target)
        if late:
            _remount(tree, mount.MS_RDONLY)
    finally:
        os.close(tree)
        os.close(target)


def _mask(root: int, tops: Mapping[str, int], paths: Sequence[str], null: int | None) -> None:
    """Hide *paths*: a file behind the null device, a directory behind an empty read-only one."""
    if paths and null is None:
        null = mountpoints.inside(root, "/dev/null")
    empty: int | None = None
    for path in paths:
        target = _open_protected(root, tops, path)
        if target is None:
            continue
        try:
            if stat.S_ISDIR(os.fstat(target).st_mode):
                empty = _mask_directory(target, empty)
            elif null is not None:
                _mask_file(target, null)
        finally:
            os.close(target)
    if empty is not None:
        os.close(empty)


def _mask_file(target: int, null: int) -> None:
    status = os.fstat(null)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != NULL:
        raise LaunchError("cannot mask a path", "/dev/null of the container is not the null device")
    tree = mount.clone_tree(null)
    try:
        mount.move_mount(tree, target)
    finally:
        os.close(tree)


def _mask_directory(target: int, empty: int | None) -> int:
    """Cover *target*; all covers are one empty tmpfs, which is returned."""
    if empty is None:
        context = syscalls.call("open a tmpfs", syscalls.NR_FSOPEN, b"tmpfs", mount.FSOPEN_CLOEXEC)
        try:
            syscalls.call(
                "mount a tmpfs", syscalls.NR_FSCONFIG, context, mount.FSCONFIG_CMD_CREATE, None, None, 0
            )
            empty = syscalls.call(
                "mount a tmpfs", syscalls.NR_FSMOUNT, context, mount.FSMOUNT_CLOEXEC, 1 | 2 | 4 | 8
            )
        finally:
            os.close(context)
        mount.move_mount(empty, target)
        return empty
    tree = mount.clone_tree(empty)
    try:
        mount.move_mount(tree, target)
    finally:
        os.close(tree)
    return empty
