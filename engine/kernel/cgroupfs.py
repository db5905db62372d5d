"""Where cgroups are on this machine, and the few ways in which their files are read and written.

Version 1 has a hierarchy per controller (or per set of co-mounted ones), and a process can be elsewhere in
each; version 2 has one for all (cgroups(7)). A *hybrid* machine mounts both, the controllers on version 1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

from engine import errors
from engine.model import JSON
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

UNIFIED = "unified"
"""The name under which the version 2 hierarchy stands beside version 1's controllers."""

ON_DEMAND = ("cpuset", "hugetlb", "net_cls", "net_prio", "rdma")
"""Controllers that a cgroup gets once a limit asks for them."""
V1_CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "freezer", "devices", "blkio", *ON_DEMAND)
V2_CONTROLLERS = ("cpu", "io", "memory", "pids")

_LONGEST = 1 << 16


class Hierarchies(Record):
    """The hierarchies of this machine and the directory in each below which new cgroups belong."""

    version: Literal[1, 2]
    bases: dict[str, str]
    """By controller: on version 1 our own cgroup's directory; `UNIFIED` the root of version 2's hierarchy."""
    roots: dict[str, str]
    """By controller: the mount points, for paths that are absolute."""


class Cgroup(Record):
    """One cgroup: a directory in every hierarchy. It names them; it does not hold them open."""

    version: int
    path: str
    """As the runtime-spec's `cgroupsPath` has it: ``cowl/<id>``."""
    directories: dict[str, str]
    """By controller; on version 2 `UNIFIED` alone. Co-mounted ones share one, `ON_DEMAND` may not exist."""

    def to_json(self) -> JSON:
        """A document that `from_json` reads back."""
        return self._asdict()

    @classmethod
    def from_json(cls, document: JSON) -> Cgroup:
        """The cgroup that `to_json` described; KeyError or TypeError when it did not."""
        return cls(int(document["version"]), str(document["path"]), dict(document["directories"]))

    @property
    def places(self) -> list[str]:
        """Its directories, each once, in the order in which a process should enter them."""
        return list(dict.fromkeys(self.directories.values()))


def detect() -> Hierarchies:
    """Find the cgroup hierarchies that this process sees (proc_pid_mountinfo(5), cgroups(7)).

    Raises `UnsupportedError` where none is mounted.
    """
    bases: dict[str, str] = {}
    roots: dict[str, str] = {}
    own = own_paths(read("/proc/self/cgroup"))
    for kind, mounted_root, point, options in mounts(read("/proc/self/mountinfo")):
        names = [UNIFIED] if kind == "cgroup2" else [name for name in options if name in V1_CONTROLLERS]
        for name in names:
            if name not in bases:
                roots[name] = point
                bases[name] = point if name == UNIFIED else _below(point, mounted_root, own.get(name, "/"))
    if any(name in bases for name in ("cpu", "memory", "pids")):
        return Hierarchies(1, bases, roots)
    if UNIFIED in bases:
        return Hierarchies(2, {UNIFIED: bases[UNIFIED]}, {UNIFIED: roots[UNIFIED]})
    raise errors.UnsupportedError(
        "no cgroup hierarchy is mounted", "/proc/self/mountinfo lists none", "mount cgroup2 on /sys/fs/cgroup"
    )


def own_paths(text: bytes) -> dict[str, str]:
    """Our cgroup by controller (`UNIFIED` for version 2), from the text of /proc/self/cgroup."""
    found: dict[str, str] = {}
    for line in text.rstrip(b"\n").split(b"\n"):
        _, controllers, path = os.fsdecode(line).split(":", 2)
        for name in controllers.split(",") if controllers else [UNIFIED]:
            found[name] = path
    return found


def mounts(text: bytes) -> Iterator[tuple[str, str, str, list[str]]]:
    """The cgroup mounts in a mountinfo file: kind, root, mount point, options."""
    for line in text.split(b"\n"):
        before, separator, after = line.partition(b" - cgroup")
        if not separator:
            continue
        fields = before.split(b" ")
        kind, _, options = (b"cgroup" + after).split(b" ", 2)
        yield (
            os.fsdecode(kind),
            os.fsdecode(_unescape(fields[3])),
            os.fsdecode(_unescape(fields[4])),
            os.fsdecode(options).split(","),
        )


def _unescape(field: bytes) -> bytes:
    """Undo mountinfo's escapes: a backslash and the three octal digits of a character."""
    first, *others = field.split(b"\\")
    return first + b"".join(bytes([int(other[:3], 8)]) + other[3:] for other in others)


def _below(point: str, mounted_root: str, own: str) -> str:
    """The directory of our cgroup *own* in a hierarchy of which *mounted_root* is what the mount shows.

    Inside a container without a cgroup namespace both name the same place: our directory is the mount itself.
    """
    prefix = "" if mounted_root == "/" else mounted_root
    if own != prefix and not own.startswith(f"{prefix}/"):
        return point
    inside = own[len(prefix) :].strip("/")
    return f"{point}/{inside}" if inside and ".." not in inside.split("/") else point


def read(path: str) -> bytes:
    """The whole of a file of /proc or of a cgroup."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = part = os.read(descriptor, _LONGEST)
        while part:
            part = os.read(descriptor, _LONGEST)
            text += part
        return text
    except OSError as error:
        raise _gone(error, path) from None
    finally:
        os.close(descriptor)


def write(path: str, value: str) -> None:
    """Give a cgroup's file *value*, in one write as the kernel wants it; OSError says why it refuses."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    except OSError as error:
        raise _gone(error, path) from None
    finally:
        os.close(descriptor)


def _gone(error: OSError, path: str) -> OSError:
    """*error*, or FileNotFoundError for ENODEV: the cgroup went after its file was opened."""
    return (
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if error.errno == errno.ENODEV
        else error
    )


def field(text: bytes, name: bytes) -> int:
    """The number of a line ``name number`` of a file such as memory.events; 0 when there is none."""
    start = (b"\n" + text).find(b"\n" + name + b" ")
    if start < 0:
        return 0
    return int(text[start + len(name) + 1 :].split(None, 1)[0])


def nested(directory: str) -> list[str]:
    """The cgroups below *directory*, deepest first; empty when it does not exist."""
    found: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        # A cgroup directory has two links and one more for each child: the usual one has none to look for.
        if os.stat(directory).st_nlink > 2:
            with os.scandir(directory) as entries:
                children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            for child in children:
                found += nested(child)
                found.append(child)
    return found


def pids(directory: str) -> list[int]:
    """The processes of one directory and everything below it; empty when it does not exist."""
    found: list[int] = []
    for place in (directory, *nested(directory)):
        try:
            text = read(f"{place}/cgroup.procs")
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.ENODEV:
                continue
            if error.errno != errno.EOPNOTSUPP:
                raise
            # A threaded cgroup lists threads only; each is of a process that the domain above lists too.
            continue
        # Those that our PID namespace does not see are listed as 0.
        found += [pid for pid in map(int, text.split()) if pid]
    return found


class Deadline:
    """A bounded wait: ``while deadline.pause(): …`` sleeps a little longer each time, until time is over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._step = 0.0002

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self._end - time.monotonic())

    def pause(self) -> bool:
        """Sleep; False once the time is over."""
        left = self.left
        if not left:
            return False
        time.sleep(min(self._step, left))
        self._step = min(self._step * 1.6, 0.02)
        return True
