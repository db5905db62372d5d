"""The device nodes of a container: those that every one has, and those that its document adds."""

from __future__ import annotations

import contextlib
import os
import stat

from engine.errors import LaunchError
from engine.kernel import mount, syscalls
from engine.launch import mountpoints
from engine.launch.mountpoints import Ground
from engine.launch.plan import Device

NULL = os.makedev(1, 3)
_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
)
_ANY = 0o666


def fill(directory: int) -> int:
    """Fill the container's /dev, a tmpfs of its own; a descriptor of its null device."""
    before = os.umask(0)
    try:
        for name, major, minor in _NODES:
            _make(directory, name, stat.S_IFCHR | _ANY, os.makedev(major, minor))
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=directory)
    finally:
        os.umask(before)
    for target, name in _LINKS:
        os.symlink(target, name, dir_fd=directory)
    return os.open("null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def complete(ground: Ground) -> int:
    """Put what is missing into a /dev that is the rootfs's; a descriptor of its null device."""
    place = mountpoints.target(ground, "/dev", directory=True)
    directory = os.open(mount.by_descriptor(place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.close(place)
    before = os.umask(0)
    try:
        for name, major, minor in _NODES:
            number = os.makedev(major, minor)
            try:
                _make(directory, name, stat.S_IFCHR | _ANY, number)
            except FileExistsError:
                if not _is(directory, name, stat.S_IFCHR, number):
                    _show(directory, name, f"/dev/{name}")
        for target, name in _LINKS:
            with contextlib.suppress(FileExistsError):
                os.symlink(target, name, dir_fd=directory)
        return os.open("null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.umask(before)
        os.close(directory)


def _is(directory: int, name: str, kind: int, number: int) -> bool:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_IFMT(status.st_mode) == kind and (kind == stat.S_IFIFO or status.st_rdev == number)


def _make(directory: int, name: str, mode: int, number: int) -> None:
    try:
        os.mknod(name, mode, number, dir_fd=directory)
    except PermissionError:
        # No CAP_MKNOD for us, or a devices cgroup above that forbids it: show the host's node.
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _ANY, dir_fd=directory))
        _show(directory, name, f"/dev/{name}")


def _show(directory: int, name: str, source: str) -> None:
    """Bind the host's *source* over *name*."""
    tree = mount.clone_tree(-100, source)
    target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        mount.move_mount(tree, target)
    finally:
        os.close(target)
        os.close(tree)


def add(ground: Ground, device: Device) -> None:
    """One more node, as linux.devices asks for. Raises LaunchError where something else is in its place."""
    parent, _, name = device.path.rpartition("/")
    kind = stat.S_IFMT(device.mode)
    directory = mountpoints.target(ground, parent or "/", directory=True)
    before = os.umask(0)
    try:
        try:
            _add(directory, name, device)
        except FileExistsError:
            if not _is(directory, name, kind, device.number):
                raise LaunchError(
                    f"cannot make the device {device.path}", "something else is in its place"
                ) from None
    except OSError as error:
        raise LaunchError(f"cannot make the device {device.path}", syscalls.reason(error)) from error
    finally:
        os.umask(before)
        os.close(directory)


def _add(directory: int, name: str, device: Device) -> None:
    try:
        os.mknod(name, device.mode, device.number, dir_fd=directory)
    except PermissionError:
        status = os.stat(device.path)
        same = stat.S_IFMT(status.st_mode) == stat.S_IFMT(device.mode) and status.st_rdev == device.number
        if not same:
            raise
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _ANY, dir_fd=directory))
        _show(directory, name, device.path)
        return
    if device.uid or device.gid:
        os.chown(name, device.uid, device.gid, dir_fd=directory, follow_symlinks=False)


def null_of(root: int) -> int:
    """A descriptor (O_PATH) of the container's null device, whatever it has at that place."""
    rules = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
    found = syscalls.openat2(root, "dev/null", os.O_PATH, rules)
    with contextlib.ExitStack() as unless_right:
        unless_right.callback(os.close, found)
        check_null(found)
        unless_right.pop_all()
    return found


def check_null(descriptor: int) -> None:
    """Raise LaunchError if *descriptor* is open on anything but the null device (null(4))."""
    status = os.fstat(descriptor)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != NULL:
        raise LaunchError("cannot use /dev/null of the container", "it is not the null device")
