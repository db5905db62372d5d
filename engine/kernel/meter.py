"""What the processes of one cgroup use: its counters, read from descriptors that stay open.

One reading takes a dozen `pread`s at offset 0 and as little parsing as can be: it is done for every
container, each second. Limits change seldom: they are opened, read and closed again every few readings.

Who looks once pays for every file that is opened. So a meter takes which parts are wanted, and the cgroups of
one batch are found from the directories that they share (`Parents`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from engine.kernel import cgroupfs, psi
from engine.kernel.cgroupfs import UNIFIED, Cgroup
from engine.model import Pressure

MEMORY, PEAK, IO, PIDS_LIMIT, DETAILS = "memory", "peak", "io", "pids limit", "details"
PARTS = frozenset((MEMORY, PEAK, IO, PIDS_LIMIT, DETAILS))
"""What a reading can have besides CPU time, its limit and the number of processes.

Memory comes with its limit; details are throttling, OOM kills, swap and pressure.
"""
FULL_EVERY = 5
MAX_TASKS = 256
"""Processes asked one by one for their IO, where no controller counts it."""
_PAGE = 4096
_LONG = 16384
_UNLIMITED = 1 << 62
"""Version 1 shows no limit as the largest multiple of a page."""
_READ = os.O_RDONLY | os.O_CLOEXEC


class Limits(NamedTuple):
    """What the cgroup is held to; None is no limit."""

    cpu: float | None = None
    """CPUs."""
    period_ns: int = 100_000_000
    """In which the quota of CPU time is given out."""
    memory: int | None = None
    pids: int | None = None


class Usage(NamedTuple):
    """One reading. Bytes and nanoseconds; counters count from the cgroup's making.

    What is not of the parts that are wanted is 0 or None.
    """

    cpu_ns: int
    periods: int
    throttled_periods: int
    throttled_ns: int
    memory: int
    memory_peak: int
    oom_kills: int
    swap: int
    io_read: int
    io_write: int
    pids: int
    pressure: Pressure | None
    limits: Limits


class Parents:
    """The directories that hold the cgroups of one batch, opened once: the way to each file is short then.

    They are let go of with the batch: one that is removed and made again is another directory.
    """

    def __init__(self) -> None:
        self._opened: dict[str, int] = {}

    def open(self, directory: str, name: str) -> int:
        """A descriptor of the file *name* in *directory*. Raises OSError."""
        parent, _, last = directory.rpartition("/")
        place = self._opened.get(parent)
        if place is None:
            place = os.open(parent or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._opened[parent] = place
        return os.open(f"{last}/{name}", _READ, dir_fd=place)

    def close(self) -> None:
        """Let go of them; more can be opened afterwards."""
        for descriptor in self._opened.values():
            os.close(descriptor)
        self._opened.clear()


class Meter(ABC):
    """The open files of one cgroup: `open_meter` makes the right one."""

    def __init__(self, cgroup: Cgroup, pid: int, parts: frozenset[str], parents: Parents | None) -> None:
        self._directories = cgroup.directories
        self._pid = pid
        self._parts = parts
        self._parents = parents
        self._opened: list[int] = []
        self._gauge: psi.Gauge | None = None
        self._readings = 0
        self._last: Usage | None = None
        self._limits = Limits()
        self._peak = 0
        self._oom_kills = 0
        self._pressure: Pressure | None = None

    @abstractmethod
    def open(self) -> None:
        """Open what there is of the files that the parts take."""

    def read(self) -> Usage:
        """The figures now. Raises OSError (ENODEV) once the cgroup has gone."""
        turn = self._readings % FULL_EVERY
        self._readings += 1
        if self._gauge and turn % 2 == 0:
            self._pressure = self._gauge.read()
        usage = self._read(turn == 0, self._last)
        if usage.pressure != self._pressure:
            usage = usage._replace(pressure=self._pressure)
        self._last = usage
        return usage

    @abstractmethod
    def _read(self, full: bool, last: Usage | None) -> Usage:
        """A reading, *full* or only of what can have changed since *last*."""

    def _open(self, controller: str, *names: str, part: str = "") -> int:
        """A descriptor of the first of *names* that the directory of *controller* has; -1 for none.

        Also where *part* is said and not wanted.
        """
        if part and part not in self._parts:
            return -1
        directory = self._directories.get(controller)
        if directory is None:
            return -1
        for name in names:
            try:
                descriptor = self._descriptor(directory, name)
            except FileNotFoundError:
                continue
            self._opened.append(descriptor)
            return descriptor
        return -1

    def _descriptor(self, directory: str, name: str) -> int:
        return self._parents.open(directory, name) if self._parents else os.open(f"{directory}/{name}", _READ)

    def _text(self, controller: str, name: str) -> bytes:
        """A short file that is not kept open; empty when it is not there."""
        directory = self._directories.get(controller)
        if directory is None:
            return b""
        try:
            descriptor = self._descriptor(directory, name)
        except FileNotFoundError:
            return b""
        try:
            return os.read(descriptor, _PAGE)
        except OSError as error:
            if error.errno != errno.ENODEV:  # it went in between
                raise
            return b""
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._opened:
            os.close(descriptor)
        self._opened = []
        if self._gauge:
            self._gauge.close()


class Meter1(Meter):
    """Of a version 1 or hybrid cgroup."""

    _tasks: TaskIO | None = None
    _counts_blocks = False
    _cpu_stat = -1
    _throttled = (0, 0, 0)
    _io = (0, 0)

    def open(self) -> None:
        """Open those of its files that each reading takes."""
        self._cpu = self._open("cpuacct", "cpuacct.usage")
        self._memory = self._open("memory", "memory.usage_in_bytes", part=MEMORY)
        self._memory_stat = self._open("memory", "memory.stat", part=MEMORY)
        self._pids = self._open("pids", "pids.current")
        self._block = self._open(
            "blkio", "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes", part=IO
        )
        members = "freezer" if "freezer" in self._directories else "pids"
        self._tasks = TaskIO(self._pid, lambda: self._open(members, "cgroup.procs"), IO in self._parts)
        # Its version 2 half knows the pressure only if the processes were born in it.
        if DETAILS in self._parts and b"populated 1" in self._text(UNIFIED, "cgroup.events"):
            self._gauge = psi.Gauge.of_cgroup(self._directories[UNIFIED])

    def _read(self, full: bool, last: Usage | None) -> Usage:
        pread = os.pread
        cpu = int(pread(self._cpu, 32, 0)) if self._cpu >= 0 else 0
        pids = int(pread(self._pids, 32, 0)) if self._pids >= 0 else self._count()
        if last is not None and last.cpu_ns == cpu > 0 and last.pids == pids and not full:
            return last
        stat, usage = b"", 0
        if self._memory >= 0:
            stat = pread(self._memory_stat, _LONG, 0)
            usage = int(pread(self._memory, 32, 0))
        if full:
            self._read_seldom(stat)
        if self._limits.cpu is not None and DETAILS in self._parts:
            if self._cpu_stat < 0:
                self._cpu_stat = self._open("cpu", "cpu.stat")
            words = pread(self._cpu_stat, _PAGE, 0).split()
            self._throttled = (int(words[1]), int(words[3]), int(words[5]))
        if PEAK in self._parts:
            self._peak = max(self._peak, usage)
        return Usage(
            cpu,
            *self._throttled,
            max(0, usage - number_after(stat, b"total_inactive_file ")),
            self._peak,
            self._oom_kills,
            number_after(stat, b"total_swap ") if DETAILS in self._parts else 0,
            *(self._read_io(pids) if IO in self._parts else self._io),
            pids,
            self._pressure,
            self._limits,
        )

    def _read_io(self, pids: int) -> tuple[int, int]:
        """Bytes read and written.

        The controller counts only on devices that throttle something. Where it has counted nothing, the
        processes' own accounts are taken.
        """
        if self._counts_blocks or self._tasks is None:
            now = serviced(os.pread(self._block, _LONG, 0))
        else:
            now = self._tasks.read(pids)
        self._io = (max(self._io[0], now[0]), max(self._io[1], now[1]))
        return self._io

    def _read_seldom(self, stat: bytes) -> None:
        """Limits, and what moves slowly; *stat* is what memory.stat says."""
        if PEAK in self._parts:
            self._peak = int(self._text("memory", "memory.max_usage_in_bytes") or 0)
        if DETAILS in self._parts:
            self._oom_kills = number_after(self._text("memory", "memory.oom_control"), b"oom_kill ")
        self._counts_blocks = self._block >= 0 and any(serviced(os.pread(self._block, _LONG, 0)))
        limit = 0
        # The least of its own limit and those above it: where that is none, nor is its own one.
        if number_after(stat, b"hierarchical_memory_limit ") < _UNLIMITED and MEMORY in self._parts:
            limit = int(self._text("memory", "memory.limit_in_bytes") or 0)
        quota = self._text("cpu", "cpu.cfs_quota_us")
        period = b"" if quota.startswith(b"-") else self._text("cpu", "cpu.cfs_period_us")
        self._limits = cpu_limit(quota, period)._replace(
            memory=limit if 0 < limit < _UNLIMITED else None,
            pids=number_or_none(self._text("pids", "pids.max")) if PIDS_LIMIT in self._parts else None,
        )

    def _count(self) -> int:
        """Processes, where no controller counts tasks."""
        return len(self._tasks.members()) if self._tasks else 0

    def close(self) -> None:
        """Let go of the files."""
        super().close()
        if self._tasks:
            self._tasks.close()


class Meter2(Meter):
    """Of a version 2 cgroup."""

    _blocks = b""
    _io = (0, 0)

    def open(self) -> None:
        """Open what there is of its files."""
        self._cpu = self._open(UNIFIED, "cpu.stat")
        self._memory = self._open(UNIFIED, "memory.current", part=MEMORY)
        self._memory_stat = self._open(UNIFIED, "memory.stat", part=MEMORY)
        self._swap = self._open(UNIFIED, "memory.swap.current", part=DETAILS)
        self._block = self._open(UNIFIED, "io.stat", part=IO)
        self._pids = self._open(UNIFIED, "pids.current")
        if DETAILS in self._parts:
            self._gauge = psi.Gauge.of_cgroup(self._directories[UNIFIED])

    def _read(self, full: bool, last: Usage | None) -> Usage:
        pread = os.pread
        text = pread(self._cpu, _PAGE, 0) if self._cpu >= 0 else b""
        cpu = 1000 * number_after(text, b"usage_usec ")
        pids = int(pread(self._pids, 32, 0)) if self._pids >= 0 else self._populated()
        # What was written can go to the device long after.
        blocks = pread(self._block, _LONG, 0) if self._block >= 0 else b""
        same = last is not None and last.cpu_ns == cpu > 0 and last.pids == pids and blocks == self._blocks
        if last is not None and same and not full:
            return last
        if blocks != self._blocks:
            self._blocks, self._io = blocks, transferred(blocks)
        if full:
            self._read_seldom()
        memory = 0
        if self._memory >= 0:
            usage = int(pread(self._memory, 32, 0))
            memory = max(0, usage - number_after(pread(self._memory_stat, _LONG, 0), b"\ninactive_file "))
            if PEAK in self._parts:
                self._peak = max(self._peak, usage)
        return Usage(
            cpu,
            *(self._throttled(text) if DETAILS in self._parts else (0, 0, 0)),
            memory,
            self._peak,
            self._oom_kills,
            int(pread(self._swap, 32, 0)) if self._swap >= 0 else 0,
            *self._io,
            pids,
            self._pressure,
            self._limits,
        )

    @staticmethod
    def _throttled(text: bytes) -> tuple[int, int, int]:
        return (
            number_after(text, b"nr_periods "),
            number_after(text, b"nr_throttled "),
            1000 * number_after(text, b"throttled_usec "),
        )

    def _populated(self) -> int:
        """1 where processes are not counted and at least one is there."""
        return number_after(self._text(UNIFIED, "cgroup.events"), b"populated ")

    def _read_seldom(self) -> None:
        if PEAK in self._parts:
            # Before Linux 5.19 nobody but us remembers the peak.
            self._peak = max(self._peak, int(self._text(UNIFIED, "memory.peak") or 0))
        if DETAILS in self._parts:
            self._oom_kills = number_after(self._text(UNIFIED, "memory.events"), b"\noom_kill ")
        quota, _, period = self._text(UNIFIED, "cpu.max").partition(b" ")
        self._limits = cpu_limit(quota, period)._replace(
            memory=number_or_none(self._text(UNIFIED, "memory.max")) if MEMORY in self._parts else None,
            pids=number_or_none(self._text(UNIFIED, "pids.max")) if PIDS_LIMIT in self._parts else None,
        )


def open_meter(
    cgroup: Cgroup, pid: int, parts: frozenset[str] = PARTS, parents: Parents | None = None
) -> Meter:
    """A meter for *cgroup*; *pid* is its first process, which takes over the accounts of those it reaps.

    *parts* are those of `PARTS` that are wanted; `PEAK` comes with `MEMORY`. *parents* are of a whole batch.
    A cgroup that has gone has nothing to read: its figures are zero. Raises OSError (EMFILE) for want of
    descriptors.
    """
    if PEAK in parts:  # where the kernel does not remember it, we do
        parts |= {MEMORY}
    meter = (Meter1 if cgroup.version == 1 else Meter2)(cgroup, pid, parts, parents)
    try:
        meter.open()
    except OSError:
        meter.close()
        raise
    return meter


class TaskIO:
    """Bytes that a container's processes have read from and written to storage (proc_pid_io(5)).

    A process takes over the accounts of the children that it waits for, so that nothing of those that ended
    is lost.
    """

    def __init__(self, pid: int, open_members: Callable[[], int], wanted: bool = True) -> None:
        """*open_members* opens the cgroup's cgroup.procs, once it is needed; it stays its owner's.

        If the bytes are not *wanted*, there are but the members.
        """
        self._pid = pid
        self._open_members = open_members
        self._members = -1
        self._first = -1
        if wanted:
            with contextlib.suppress(OSError):
                self._first = os.open(f"/proc/{pid}/io", _READ)

    def members(self) -> list[bytes]:
        """The processes, as cgroup.procs lists them."""
        if self._members < 0:
            self._members = self._open_members()
        return os.pread(self._members, _LONG, 0).split() if self._members >= 0 else []

    def read(self, tasks: int) -> tuple[int, int]:
        """The sum over all processes now, of which there are at most *tasks*.

        It can dip while an account is handed over.
        """
        read = written = 0
        if self._first >= 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                text = os.pread(self._first, _PAGE, 0)
                read = number_after(text, b"\nread_bytes: ")
                written = number_after(text, b"\nwrite_bytes: ")
            if tasks <= 1:
                return read, written
        for member in self.members()[:MAX_TASKS]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if int(member) != self._pid:
                    text = cgroupfs.read(f"/proc/{int(member)}/io")
                    read += number_after(text, b"\nread_bytes: ")
                    written += number_after(text, b"\nwrite_bytes: ")
        return read, written

    def close(self) -> None:
        """Let go of the file."""
        if self._first >= 0:
            os.close(self._first)
            self._first = -1


def number_after(text: bytes, key: bytes) -> int:
    """The number between *key* and the end of its line; 0 when *key* is not there."""
    start = text.find(key)
    if start < 0:
        return 0
    start += len(key)
    return int(text[start : text.find(b"\n", start)])


def number_or_none(text: bytes) -> int | None:
    """A limit as version 2 writes it: ``max`` is None."""
    return int(text) if text.strip().isdigit() else None


def cpu_limit(quota: bytes, period: bytes) -> Limits:
    """The limit that *quota* microseconds in each *period* are; ``max`` and -1 are none."""
    if not quota.strip().isdigit() or not period.strip().isdigit() or not int(period):
        return Limits()
    return Limits(cpu=int(quota) / int(period), period_ns=int(period) * 1000)


def serviced(text: bytes) -> tuple[int, int]:
    """Bytes read and written on all devices, from blkio.throttle.io_service_bytes: ``8:0 Read 4096`` …"""
    words = text.split()
    read = written = 0
    for place, word in enumerate(words):
        if word == b"Read":
            read += int(words[place + 1])
        elif word == b"Write":
            written += int(words[place + 1])
    return read, written


def transferred(text: bytes) -> tuple[int, int]:
    """Bytes read and written on all devices, from io.stat: ``8:0 rbytes=4096 wbytes=0 rios=1 …``."""
    read = written = 0
    for word in text.split():
        if word.startswith(b"rbytes="):
            read += int(word[7:])
        elif word.startswith(b"wbytes="):
            written += int(word[7:])
    return read, written
