"""What running containers use, in one batch for all of them, and what they used before.

The CPU percentage needs an earlier sample. A sampler has its own; the first of a new process takes the one
that another left in the container's run-time directory, so that a single look never has to wait.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import time
from _thread import RLock
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from engine.containers import state
from engine.errors import NoSpaceError
from engine.kernel.cgroup import Cgroup
from engine.kernel.host import HostSampler
from engine.kernel.meter import Meter, Usage, open_meter
from engine.kernel.traffic import transferred
from engine.model import HostFigures, Sample
from engine.store import clock, database, records
from engine.store.store import Store

SPARE_DESCRIPTORS = 256
"""Of the process's limit, left to others."""
DESCRIPTORS_EACH = 13
CAPACITY = 600
"""Samples in a history."""
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_SHORTEST_NS = 20_000_000
"""Over less a percentage says nothing: the previous one stands."""
_KEPT_AGE_NS = 200_000_000
_KEPT_APART_NS = 500_000_000
_KEPT = struct.Struct("=4Q")


class Entry(NamedTuple):
    """A running container, as the sampler needs it."""

    id: str
    name: str
    cgroup: Cgroup
    pid: int
    start: int = 0
    """When *pid* started, in clock ticks since boot; 0 is unknown."""
    run: str = ""
    """The container's run-time directory, where the last sample is kept; empty keeps none."""
    networked: bool = False
    """Whether it has a network, and not the host's, whose traffic is not its own."""


class Point(NamedTuple):
    """CPU time used up to a moment."""

    monotonic_ns: int
    cpu_ns: int


class Kept:
    """The last samples of one container, where the next process looks for them.

    There are two, a good while apart: of two looks at once, the second still has something to compare with.
    """

    def __init__(self, directory: str) -> None:
        self._descriptor = -1
        self.points: list[Point] = []
        self.error: OSError | None = None
        """Why the next process will not find them."""
        if directory:
            try:
                self._descriptor = os.open(
                    f"{directory}/sample", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                self.points = unpack(os.pread(self._descriptor, _KEPT.size, 0))
            except FileNotFoundError:  # its monitor is taking the directory away
                pass
            except OSError as error:
                self.error = error

    def earlier(self, now: Point, birth: Point | None) -> Point | None:
        """The newest that is long enough ago to compare with, and of this life of the container, if any."""
        for point in reversed(self.points):
            if birth is not None and point.monotonic_ns < birth.monotonic_ns:
                continue
            if point.monotonic_ns + _KEPT_AGE_NS <= now.monotonic_ns and point.cpu_ns <= now.cpu_ns:
                return point
        return None

    def keep(self, now: Point) -> None:
        """Add *now*: it takes the place of the last one as long as that is close to the one before."""
        if not self.points or now.monotonic_ns - self.points[0].monotonic_ns < 0:
            self.points = [now, now]
        elif self.points[1].monotonic_ns - self.points[0].monotonic_ns < _KEPT_APART_NS:
            self.points = [self.points[0], now]
        else:
            self.points = [self.points[1], now]
        if self._descriptor >= 0:
            try:
                os.pwrite(self._descriptor, _KEPT.pack(*self.points[0], *self.points[1]), 0)
            except OSError as error:
                self.error = error

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def unpack(data: bytes) -> list[Point]:
    """What `Kept` wrote, oldest first; empty for anything else."""
    if len(data) != _KEPT.size:
        return []
    first_ns, first_cpu, last_ns, last_cpu = _KEPT.unpack(data)
    return [Point(first_ns, first_cpu), Point(last_ns, last_cpu)] if first_ns <= last_ns else []


class _Track:
    """One container under observation."""

    def __init__(self, entry: Entry) -> None:
        self.key = (entry.pid, entry.start)
        self.meter: Meter | None = None
        self.kept = Kept(entry.run)
        self.last: Point | None = None
        self.percent = 0.0

    def close(self) -> None:
        if self.meter:
            self.meter.close()
        self.kept.close()


class Sampler:
    """Samples containers; the descriptors of those in the last batch stay open. Use it from one thread."""

    def __init__(self, max_descriptors: int | None = None) -> None:
        """Keep at most *max_descriptors* open (None: what the process may have, less a reserve).

        Containers beyond that are sampled too: their files are opened and closed each time.
        """
        if max_descriptors is None:
            import resource

            max_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS
        self._room = max(0, max_descriptors) // DESCRIPTORS_EACH
        self._tracks: dict[str, _Track] = {}
        self.unkept: OSError | None = None
        """Why samples are not kept for the next process, once that is so."""

    def sample(self, entries: Iterable[Entry]) -> list[Sample]:
        """One sample of each of *entries* that (still) has processes, in their order."""
        now = clock.now()
        found: list[Sample] = []
        seen: set[str] = set()
        for entry in entries:
            seen.add(entry.id)
            sample = self._one(entry, now)
            if sample is not None:
                found.append(sample)
        for gone in self._tracks.keys() - seen:
            self._tracks.pop(gone).close()
        return found

    def close(self) -> None:
        """Let go of all descriptors."""
        for track in self._tracks.values():
            track.close()
        self._tracks.clear()

    def _one(self, entry: Entry, now: str) -> Sample | None:
        track = self._tracks.get(entry.id)
        if track is None or track.key != (entry.pid, entry.start):
            if track is not None:
                track.close()
            track = self._tracks[entry.id] = _Track(entry)
        meter = track.meter or open_meter(entry.cgroup, entry.pid)
        try:
            usage = meter.read()
            moment = time.monotonic_ns()
        except OSError:
            # ENODEV: the container ended between two samples.
            meter.close()
            self._tracks.pop(entry.id).close()
            return None
        if track.meter is None and len(self._tracks) <= self._room:
            track.meter = meter
        elif track.meter is None:
            meter.close()
        if not usage.pids:
            return None
        return _sample(entry, now, usage, self._percent(track, entry, Point(moment, usage.cpu_ns), usage))

    def _percent(self, track: _Track, entry: Entry, now: Point, usage: Usage) -> tuple[int, float]:
        before = track.last
        if before is None:
            birth = _birth(entry)
            before = track.kept.earlier(now, birth) or birth or now
        if track.last is None or now.monotonic_ns - before.monotonic_ns >= _SHORTEST_NS:
            track.percent = cpu_percent(before, now, usage)
            track.last = now
            track.kept.keep(now)
            self.unkept = self.unkept or track.kept.error
        return now.monotonic_ns, track.percent


def cpu_percent(before: Point, now: Point, usage: Usage) -> float:
    """Percent of one core between two moments.

    A quota is given out once a period: over a few periods a container can seem to use more than it is
    allowed, by up to one period's worth, which is taken off.
    """
    elapsed = now.monotonic_ns - before.monotonic_ns
    if elapsed < _SHORTEST_NS:
        return 0.0
    percent = 100.0 * (now.cpu_ns - before.cpu_ns) / elapsed
    if usage.limits.cpu is not None and elapsed < 10 * usage.limits.period_ns:
        percent = min(percent, 100.0 * usage.limits.cpu)
    return max(percent, 0.0)


def _birth(entry: Entry) -> Point | None:
    """The moment at which the container's first process started, on the monotonic clock."""
    if not entry.start:
        return None
    age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - entry.start * _TICK_NS
    return Point(time.monotonic_ns() - age, 0)


def _sample(entry: Entry, now: str, usage: Usage, percent: tuple[int, float]) -> Sample:
    limits = usage.limits
    traffic = transferred(entry.pid) if entry.networked else (0, 0)
    return Sample(
        entry.id,
        entry.name,
        now,
        percent[0],
        percent[1],
        usage.cpu_ns,
        usage.throttled_periods,
        usage.throttled_ns,
        usage.periods,
        usage.memory,
        limits.memory,
        usage.memory_peak,
        usage.oom_kills,
        usage.swap,
        usage.io_read,
        usage.io_write,
        *traffic,
        usage.pids,
        limits.pids,
        limits.cpu,
        usage.pressure,
    )


class History:
    """What one container used, oldest first: one figure a sample, the last `CAPACITY` of them.

    One thread adds, any thread may look: what it gets is a copy.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._last: Sample | None = None
        self._cpu: deque[float] = deque(maxlen=capacity)
        self._memory: deque[float] = deque(maxlen=capacity)
        self._io: deque[float] = deque(maxlen=capacity)
        self._pids: deque[float] = deque(maxlen=capacity)

    def add(self, sample: Sample) -> None:
        """Append one sample; a container that was started anew begins its counters anew."""
        rate = 0.0
        last, self._last = self._last, sample
        if last is not None and sample.monotonic_ns > last.monotonic_ns:
            moved = sample.io_read_bytes + sample.io_write_bytes - last.io_read_bytes - last.io_write_bytes
            rate = max(0, moved) * 1e9 / (sample.monotonic_ns - last.monotonic_ns)
        self._cpu.append(sample.cpu_percent)
        self._memory.append(float(sample.memory_bytes))
        self._io.append(rate)
        self._pids.append(float(sample.pids))

    def __len__(self) -> int:
        return len(self._cpu)

    @property
    def cpu(self) -> tuple[float, ...]:
        """Percent of one core."""
        return tuple(self._cpu)

    @property
    def memory(self) -> tuple[float, ...]:
        """Bytes."""
        return tuple(self._memory)

    @property
    def io(self) -> tuple[float, ...]:
        """Bytes read and written per second."""
        return tuple(self._io)

    @property
    def pids(self) -> tuple[float, ...]:
        """Processes and threads."""
        return tuple(self._pids)


class Statistics:
    """Figures of the containers of one root, and of the machine; methods may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = RLock()
        self._sampler: Sampler | None = None
        self._host: HostSampler | None = None
        self._histories: dict[str, History] = {}
        self._entries: list[Entry] = []
        self._seen: tuple[int, int] | None = None
        self._watch: sqlite3.Connection | None = None

    def sample(self) -> list[Sample]:
        """One sample of every container that runs or is paused, oldest first. Adds to the histories."""
        with self._lock:
            if self._sampler is None:
                self._sampler = Sampler()
            samples = self._sampler.sample(self._running())
            if len(samples) < len(self._entries):
                # One has ended without a word: its monitor was killed. The list is made anew next time.
                self._seen = None
            for sample in samples:
                history = self._histories.get(sample.container)
                if history is None:
                    history = self._histories[sample.container] = History()
                history.add(sample)
            return samples

    def history(self, container_id: str) -> History:
        """What has been sampled of a container; empty for one that has not run since this was opened."""
        with self._lock:
            return self._histories.get(container_id) or History(1)

    def caution(self) -> str:
        """What is well to know of the samples so far: a sentence, or nothing."""
        with self._lock:
            unkept = self._sampler.unkept if self._sampler else None
        if unkept is None:
            return ""
        return f"samples are not kept, so that the next look counts from the start ({unkept.strerror})"

    def host(self) -> HostFigures:
        """The machine and this process."""
        with self._lock:
            if self._host is None:
                self._host = HostSampler()
            return self._host.sample()

    def close(self) -> None:
        """Let go of all descriptors; it may be used again."""
        with self._lock:
            if self._sampler is not None:
                self._sampler.close()
            if self._host is not None:
                self._host.close()
            if self._watch is not None:
                self._watch.close()
            self._sampler = self._host = self._watch = self._seen = None

    def _running(self) -> list[Entry]:
        """The running containers; looked up anew when a record or a state has changed."""
        layout = self._store.layout
        if self._watch is None:
            try:
                # It never writes: data_version counts, for each connection, what the *others* have changed.
                self._watch = database.connect(layout)
            except NoSpaceError:
                self._entries = self._looked_up(self._store.connection)
                return self._entries
        connection = self._watch
        moved = 0
        with contextlib.suppress(FileNotFoundError):
            moved = os.stat(layout.revision).st_mtime_ns
        seen = (connection.execute("PRAGMA data_version").fetchone()[0], moved)
        if seen != self._seen:
            self._entries = self._looked_up(connection)
            self._seen = seen
        return self._entries

    def _looked_up(self, connection: sqlite3.Connection) -> list[Entry]:
        rows = records.containers(connection)
        kept = {row.id for row in rows}
        self._histories = {key: value for key, value in self._histories.items() if key in kept}
        return [entry for row in rows if (entry := self._entry(row)) is not None]

    def _entry(self, row: records.ContainerRow) -> Entry | None:
        paths = self._store.layout.container(row.id)
        facts = state.derive(paths)
        if not facts.active or facts.cgroup is None or facts.who is None:
            return None
        return Entry(
            row.id,
            row.name,
            Cgroup.from_json(facts.cgroup),
            facts.who.pid,
            facts.who.start,
            paths.run,
            row.options.network not in ("none", "host"),
        )
