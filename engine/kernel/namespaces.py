"""Making, entering and leaving namespaces: clone3, setns, unshare, pivot_root (namespaces(7))."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Iterator

from engine.kernel import mount, signals, syscalls
from engine.kernel.channel import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, Channel
from engine.record import Record

CLONE_NEWTIME = 0x80
CLONE_PARENT = 0x8000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

BY_TYPE = {
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "cgroup": CLONE_NEWCGROUP,
    "user": CLONE_NEWUSER,
    "time": CLONE_NEWTIME,
}
"""The runtime-spec's names of namespaces (config-linux.md, Namespaces)."""

SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
_OWN_NETWORK = "/proc/self/ns/net"


def clone(flags: int, cgroup: int | None = None) -> int:
    """Fork into new namespaces: 0 in the child, its pid in the parent (clone3(2)).

    *cgroup* is a descriptor of the cgroup2 directory in which the child is born (Linux 5.7). Python's own
    fork hooks do not run, so the caller must have one thread and the child must end in exec or `os._exit`.
    With CLONE_PARENT it is no child of this process but of this one's parent.
    """
    # Whose parent is another's has that one's signal.
    ends_with = 0 if flags & CLONE_PARENT else signals.SIGCHLD
    if cgroup is not None:
        flags |= CLONE_INTO_CGROUP
    arguments = struct.pack("=11Q", flags, 0, 0, 0, ends_with, 0, 0, 0, 0, 0, 0 if cgroup is None else cgroup)
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    try:
        return syscalls.call("make namespaces", syscalls.NR_CLONE3, buffer, len(arguments))
    except OSError as error:
        if error.errno != errno.ENOSYS or cgroup is not None:
            raise
    # Sandboxes whose filter cannot look into clone3's structure answer ENOSYS; the older call does the rest.
    return syscalls.call("make namespaces", syscalls.number("clone"), flags | ends_with, 0, 0, 0, 0)


def unshare(flags: int) -> None:
    """Move this process (of one thread) into new namespaces (unshare(2))."""
    syscalls.call("leave the namespaces", syscalls.number("unshare"), flags)


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespaces of a process by its pidfd, all of *flags* at once (setns(2), Linux 5.8)."""
    syscalls.call("enter the container's namespaces", syscalls.number("setns"), descriptor, flags)


def enter(path: str, kind: int) -> None:
    """Enter the one namespace that the file *path* is, of the CLONE_NEW… *kind* (setns(2)).

    Raises OSError: EINVAL when it is no namespace of that kind.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.call(f"enter the namespace {path}", syscalls.number("setns"), descriptor, kind)
    finally:
        os.close(descriptor)


class Network(Record):
    """A network namespace that has been made for somebody to come, and the one of whoever made it."""

    new: int
    """A descriptor of it."""
    home: int

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in it, and have children in it, during the block; after that it is gone but for them."""
        try:
            setns(self.new, CLONE_NEWNET)
            try:
                yield
            finally:
                setns(self.home, CLONE_NEWNET)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it."""
        os.close(self.new)
        os.close(self.home)


def network_ahead() -> Network:
    """Make a network namespace whose loopback interface is up; this process stays in its own.

    Making one takes longer than all other namespaces together. Raises OSError without the privilege.
    """
    home = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.ExitStack() as unless_made:
        unless_made.callback(os.close, home)
        unshare(CLONE_NEWNET)
        try:
            bring_up_loopback()
            new = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            setns(home, CLONE_NEWNET)
        unless_made.pop_all()
    return Network(new, home)


def pivot_root(descriptor: int, shared: bool = False) -> None:
    """Make the mount that *descriptor* is open on the root, and let go of the old one (pivot_root(2)).

    The old root is stacked under the new one in the same directory and then detached, so that no directory
    for it is needed in the container. *shared*: what is below the old root may still be shared with others,
    who must not lose it.
    """
    old = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(descriptor)
        syscalls.call("pivot into the container's root", syscalls.number("pivot_root"), b".", b".")
        os.fchdir(old)
        if shared:
            mount.mount(None, ".", None, mount.MS_SLAVE | mount.MS_REC)
        mount.unmount(".", mount.MNT_DETACH)
    finally:
        os.close(old)
    os.chdir("/")


def change_root(descriptor: int) -> None:
    """Make the directory that *descriptor* is open on the root of this process alone (chroot(2))."""
    os.fchdir(descriptor)
    os.chroot(".")


def map_ids(pid: int, uids: Iterable[tuple[int, int, int]], gids: Iterable[tuple[int, int, int]]) -> None:
    """Give the new user namespace of *pid* its IDs: first inside, first outside, count (user_namespaces(7)).

    Raises OSError: EINVAL for mappings that overlap or are too many.
    """
    for name, entries in (("uid_map", uids), ("gid_map", gids)):
        text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in entries)
        try:
            _write(f"/proc/{pid}/{name}", text)
        except OSError as error:
            raise OSError(error.errno, f"cannot set {name}: {os.strerror(error.errno or 0)}") from error


def user_namespace(uids: Iterable[tuple[int, int, int]], gids: Iterable[tuple[int, int, int]]) -> int:
    """A descriptor of a new user namespace with these IDs, which nobody is in."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = clone(CLONE_NEWUSER)
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)  # until our parent is done with us, or has ended
        os._exit(0)
    try:
        os.close(reader)
        map_ids(pid, uids, gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


def set_time_offsets(text: str) -> None:
    """Set the clocks of the time namespace that this process's children will be in (time_namespaces(7))."""
    _write("/proc/self/timens_offsets", text)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def bring_up_loopback() -> None:
    """Set the loopback interface of this network namespace up (netdevice(7))."""
    with Channel(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC) as channel:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(channel, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(channel, SIOCSIFFLAGS, loopback_up(flags))


def loopback_up(flags: int = 0) -> bytes:
    """``struct ifreq`` for SIOCSIFFLAGS: the loopback interface up, with its other *flags*."""
    return struct.pack("16sh14x", b"lo", flags | IFF_UP)


def set_domain_name(name: str) -> None:
    """Set the NIS domain name of this UTS namespace (setdomainname(2))."""
    text = os.fsencode(name)
    if syscalls.libc().setdomainname(text, ctypes.c_size_t(len(text))):
        syscalls.failed("set the domain name")
