"""What a root has left on this machine, found by looking everywhere, and taken away again.

A root that a test made has names that nothing else bears: its directory, its run-time directory and its
cgroup parent. Whatever names one of them is its own, so that nothing else is ever touched.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

from engine.kernel import nftables
from engine.kernel.netlink import Netlink
from engine.network import bridges, rules, sweeping
from engine.store.layout import ORIGIN, Layout, runtime_base

SETTLE_SECONDS = 20.0
"""How long something that is on its way out may take: a monitor after the last byte of its log."""


class Root(NamedTuple):
    """A store that belongs to one test."""

    path: str
    cgroup_parent: str
    layout: Layout

    @property
    def names(self) -> tuple[bytes, ...]:
        """What its processes have in their environment, arguments, cgroups or open files."""
        return tuple(os.fsencode(name) for name in (self.path, self.layout.run, self.cgroup_parent))


class Traces(NamedTuple):
    """What there is of a root outside its own directory; empty is how a test should leave it."""

    mounts: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(self)

    def __str__(self) -> str:
        return "\n".join(
            f"{kind}: {item}" for kind, items in zip(self._fields, self, strict=True) for item in items
        )


def find(root: Root) -> Traces:
    """Everything on this machine that names *root*, its own directory aside."""
    return Traces(
        mounts=tuple(mounts(root)),
        cgroups=tuple(cgroups(root)),
        processes=tuple(f"{pid} {_describe(pid)}" for pid in processes(root)),
        runtime=tuple(_container_directories(root)),
        networks=tuple(_networks(root)),
    )


def settle(root: Root, seconds: float = SETTLE_SECONDS) -> Traces:
    """`find`, once nothing is left or *seconds* have passed."""
    deadline = time.monotonic() + seconds
    while (found := find(root)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def clean(root: Root) -> None:
    """End and remove everything of *root*: processes through pidfds, cgroups, run-time files, the store."""
    turn_off(root)
    shutil.rmtree(root.path, ignore_errors=True)


def turn_off(root: Root) -> None:
    """Leave of *root* what a reboot leaves: the store."""
    for directory in cgroups(root):
        _thaw(directory)
    deadline = time.monotonic() + SETTLE_SECONDS
    while (pids := list(processes(root))) and time.monotonic() < deadline:
        for pid in pids:
            _kill(pid, root)
        time.sleep(0.01)
    while (left := list(cgroups(root))) and time.monotonic() < deadline:
        for directory in sorted(left, key=len, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
    if any(_networks(root)):
        sweeping.sweep(root.layout.run, 1.0)
    shutil.rmtree(root.layout.run, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(root.layout.run))


def runtime_directories(prefixes: tuple[str, ...]) -> dict[str, str]:
    """The run-time directories of roots whose paths begin with one of *prefixes*, with those paths."""
    found = {}
    for origin in glob.glob(f"{runtime_base()}/*/{ORIGIN}"):
        with contextlib.suppress(FileNotFoundError):  # somebody else's
            if (path := os.fsdecode(_read(origin))).startswith(prefixes):
                found[os.path.dirname(origin)] = path
    return found


def mounts(root: Root) -> Iterator[str]:
    """Lines of /proc/self/mountinfo that name *root* (proc_pid_mountinfo(5))."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if root.path in line or root.layout.run in line:
                yield line.rstrip("\n")


def cgroup_mounts() -> list[str]:
    """Mount points of every cgroup hierarchy, version 1 and 2."""
    points = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if after.split(" ", 1)[0] in ("cgroup", "cgroup2"):
                points.append(before.split(" ")[4])
    return points


def cgroups(root: Root) -> Iterator[str]:
    """Directories of *root*'s cgroup parent and below, in every hierarchy."""
    for point in cgroup_mounts():
        for directory, subdirectories, _ in os.walk(point):
            if root.cgroup_parent in subdirectories:
                own = os.path.join(directory, root.cgroup_parent)
                subdirectories.remove(root.cgroup_parent)
                for path, _, _ in os.walk(own):
                    yield path


def processes(root: Root) -> Iterator[int]:
    """Living processes, this one and its parents aside, that name *root* anywhere."""
    ours = set(_ancestors())
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in ours and _names(int(entry), root):
            yield int(entry)


def _names(pid: int, root: Root) -> bool:
    with contextlib.suppress(OSError):
        if _state(pid) in ("Z", "X"):
            return False
        text = b"\0".join(_read(f"/proc/{pid}/{name}") for name in ("cmdline", "environ", "cgroup"))
        if any(name in text for name in root.names):
            return True
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.fsencode(os.readlink(descriptor.path))
                if any(name in target for name in root.names):
                    return True
    return False


def _kill(pid: int, root: Root) -> None:
    """SIGKILL, through a descriptor that was made before *pid* was seen to be *root*'s: never a successor."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if _names(pid, root):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def _thaw(directory: str) -> None:
    for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as file:
                file.write(value)


def _ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 0:
        yield pid
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])


def _state(pid: int) -> str:
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0].decode()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _describe(pid: int) -> str:
    with contextlib.suppress(OSError):
        line = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
        return line or _read(f"/proc/{pid}/comm").decode(errors="replace").strip()
    return "(gone)"


def _networks(root: Root) -> Iterator[str]:
    """The bridge and the packet rules of *root* in the network namespace of this process."""
    key = os.path.basename(root.layout.run)
    with Netlink() as channel:
        bridge = bridges.find(channel, key)
        if bridge is not None:
            yield bridge.name
    with contextlib.suppress(OSError), nftables.open_channel() as filters:
        if nftables.exists(filters, rules.table_name(key)):
            yield rules.table_name(key)


def _container_directories(root: Root) -> Iterator[str]:
    """What containers leave in the run-time directory; the directory itself belongs to the root."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(root.layout.run):
            if entry.is_dir(follow_symlinks=False):
                yield entry.path
