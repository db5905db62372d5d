"""What a process hands down to those that it starts, besides arguments, environment and open files."""

from __future__ import annotations

import os
import sys

_NAMESPACES = ("mnt", "net", "pid", "user", "uts", "ipc", "cgroup", "time")
_STATUS = (
    b"Uid",
    b"Gid",
    b"Groups",
    b"CapInh",
    b"CapPrm",
    b"CapEff",
    b"CapBnd",
    b"CapAmb",
    b"NoNewPrivs",
    b"Seccomp",
    b"Cpus_allowed",
)
"""Lines of /proc/self/status that children have too (proc_pid_status(5))."""


def own() -> bytes:
    """This process's: equal for two of them only if their children would be alike.

    Which Python and which cowl they run belongs to it.
    """
    place = os.stat("/")
    parts = [
        os.fsencode(sys.executable),
        os.fsencode(__file__),
        b"%d %d" % (place.st_dev, place.st_ino),
        b"%d %d" % (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)),
    ]
    for name in _NAMESPACES:
        try:
            parts.append(os.fsencode(os.readlink(f"/proc/self/ns/{name}")))
        except OSError:  # a kernel without that kind
            continue
    for name in ("cgroup", "limits", "oom_score_adj"):
        parts.append(_read(f"/proc/self/{name}"))
    status = _read("/proc/self/status").split(b"\n")
    parts += [line for line in status if line.partition(b":")[0] in _STATUS]
    return b"\n".join(parts)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
