"""What the whole machine and this process use, for the header line."""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple

from engine.kernel import psi
from engine.model import HostFigures

_PAGE = os.sysconf("SC_PAGESIZE")
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_SHORTEST_NS = 50_000_000
"""Clock ticks are too coarse to tell a percentage over less."""


class _Moment(NamedTuple):
    monotonic_ns: int
    busy: int
    total: int
    """Clock ticks of all CPUs."""
    own_ns: int
    helpers: dict[int, int]
    """CPU nanoseconds by pid."""


class HostSampler:
    """Figures of the machine, of this process and of its direct children (the launcher)."""

    def __init__(self) -> None:
        self._stat = os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._meminfo = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        self._pressure = psi.Gauge.of_host()
        self._before = self._look()
        self._percent = (0.0, 0.0)

    def sample(self) -> HostFigures:
        """The figures now; percentages are over the time since the previous call, at first the making."""
        now = self._look()
        if now.monotonic_ns - self._before.monotonic_ns >= _SHORTEST_NS:
            self._percent = percentages(self._before, now)
            self._before = now
        total, available = memory(os.pread(self._meminfo, 4096, 0))
        return HostFigures(
            cpu_percent=self._percent[0],
            memory_used=total - available,
            memory_total=total,
            own_cpu_percent=self._percent[1],
            own_memory=sum(map(_resident, (os.getpid(), *now.helpers))),
            pressure=self._pressure.read(),
        )

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._stat)
        os.close(self._meminfo)
        self._pressure.close()

    def _look(self) -> _Moment:
        busy, total = processors(os.pread(self._stat, 512, 0))
        helpers = {pid: spent for pid in _children() if (spent := _spent(pid)) is not None}
        return _Moment(time.monotonic_ns(), busy, total, time.process_time_ns(), helpers)


def percentages(before: _Moment, now: _Moment) -> tuple[float, float]:
    """Of the whole machine (0..100), and of one core by this process and its children."""
    elapsed = now.total - before.total
    machine = 100.0 * (now.busy - before.busy) / elapsed if elapsed > 0 else 0.0
    own = now.own_ns - before.own_ns
    own += sum(spent - before.helpers.get(pid, spent) for pid, spent in now.helpers.items())
    return min(max(machine, 0.0), 100.0), 100.0 * max(own, 0) / (now.monotonic_ns - before.monotonic_ns)


def processors(text: bytes) -> tuple[int, int]:
    """Busy and all clock ticks of all CPUs since boot, from the text of /proc/stat (proc_stat(5)).

    Waiting for IO is idle; guests are in user time already; what the hypervisor gave to others counts in
    neither.
    """
    fields = [int(word) for word in text[: text.index(b"\n")].split()[1:8]]
    user, nice, system, idle, iowait, irq, softirq = fields
    busy = user + nice + system + irq + softirq
    return busy, busy + idle + iowait


def memory(text: bytes) -> tuple[int, int]:
    """Total and available bytes, from the text of /proc/meminfo (proc_meminfo(5))."""
    found = {b"MemTotal": 0, b"MemFree": 0, b"MemAvailable": -1}
    for line in text.splitlines():
        name, _, rest = line.partition(b":")
        if name in found:
            found[name] = int(rest.split()[0]) * 1024
    available = found[b"MemAvailable"]
    return found[b"MemTotal"], found[b"MemFree"] if available < 0 else available


def _children() -> list[int]:
    """Direct children of any thread of this process (proc_tid_children(5))."""
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, _read(f"/proc/self/task/{thread}/children").split())
    return found


def _spent(pid: int) -> int | None:
    """CPU nanoseconds of a process, None when it has gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_NS
    return None


def _resident(pid: int) -> int:
    """Bytes of a process in memory; 0 when it has gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    return 0


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
