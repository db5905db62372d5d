"""The processes in a container, as /proc shows them (proc_pid_stat(5), proc_pid_status(5))."""

from __future__ import annotations

import os
from typing import NamedTuple

from engine.kernel import cgroup
from engine.model import JSON

_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One process, numbered as the caller's PID namespace has it."""

    pid: int
    parent: int
    uid: int
    """Effective."""
    cpu_seconds: float
    memory_bytes: int
    """Resident."""
    command: str


def processes(group: JSON) -> list[Process]:
    """Those in the cgroup *group*, as state.json has it; what ends meanwhile is left out."""
    found = (_read(pid) for pid in cgroup.procs(cgroup.Cgroup.from_json(group)))
    return sorted(process for process in found if process is not None)


def _read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            before, _, after = file.read().rpartition(b")")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").replace(b"\0", b" ")
        uid = os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = after.split()
    name = before.partition(b"(")[2]
    return Process(
        pid=pid,
        parent=int(fields[1]),
        uid=uid,
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        memory_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        command=(words or b"[" + name + b"]").decode("utf-8", "surrogateescape"),
    )
