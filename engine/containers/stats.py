"""What running containers use, in one batch for all of them, and what they used before.

The CPU percentage needs an earlier sample. A sampler has its own; the first of a new process takes the one
that another left (`lastsamples`), so that a single look never has to wait.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from _thread import RLock
from collections import deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

from engine.containers import state
from engine.containers.lastsamples import LastSamples, Point
from engine.errors import NoSpaceError
from engine.kernel import meter
from engine.kernel.cgroup import Cgroup
from engine.kernel.host import HostSampler
from engine.kernel.meter import Meter, Parents, Usage, open_meter
from engine.kernel.traffic import transferred
from engine.model import HostFigures, Sample
from engine.store import clock, database, records
from engine.store.store import Store

MEMORY, PEAK, IO, PIDS_LIMIT, DETAILS = meter.MEMORY, meter.PEAK, meter.IO, meter.PIDS_LIMIT, meter.DETAILS
NETWORK = "network"
PARTS = meter.PARTS | {NETWORK}
"""What samples can have besides CPU and the number of processes; what is not wanted is 0 or None."""
SPARE_DESCRIPTORS = 256
"""Of the process's limit, left to others."""
DESCRIPTORS_EACH = 12
CAPACITY = 600
"""Samples in a history."""
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_SHORTEST_NS = 20_000_000
"""Over less a percentage says nothing: the previous one stands."""


class Entry(NamedTuple):
    """A running container, as the sampler needs it."""

    id: str
    name: str
    cgroup: Cgroup
    pid: int
    start: int = 0
    """When *pid* started, in clock ticks since boot; 0 is unknown."""
    networked: bool = False
    """Whether it has a network, and not the host's, whose traffic is not its own."""


class _Track:
    """One container under observation."""

    def __init__(self, entry: Entry) -> None:
        self.key = (entry.pid, entry.start)
        self.meter: Meter | None = None
        self.last: Point | None = None
        self.percent = 0.0

    def close(self) -> None:
        if self.meter:
            self.meter.close()


class Sampler:
    """Samples containers; the descriptors of those in the last batch stay open. Use it from one thread."""

    def __init__(
        self, max_descriptors: int | None = None, parts: frozenset[str] = PARTS, kept: str = ""
    ) -> None:
        """Keep at most *max_descriptors* open (None: what the process may have, less a reserve).

        Containers beyond that are sampled too: their files are opened and closed each time. *parts* are those
        of `PARTS` that are wanted. The last samples are those in the file *kept*, and left there.
        """
        if max_descriptors is None:
            import resource

            max_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS
        self._room = max(0, max_descriptors) // DESCRIPTORS_EACH
        self.parts = parts
        self._parents = Parents()
        self._last = LastSamples(kept)
        self._tracks: dict[str, _Track] = {}

    @property
    def unkept(self) -> OSError | None:
        """Why samples are not kept for the next process, once that is so."""
        return self._last.error

    def sample(self, entries: Iterable[Entry], containers: Collection[str] | None = None) -> list[Sample]:
        """One sample of each of *entries* that (still) has processes, in their order.

        *containers* are all that there are, if there are more than these: their last samples stay.
        """
        now = clock.now()
        found: list[Sample] = []
        seen: set[str] = set()
        try:
            for entry in entries:
                seen.add(entry.id)
                sample = self._one(entry, now)
                if sample is not None:
                    found.append(sample)
        finally:
            self._parents.close()
        for gone in self._tracks.keys() - seen:
            self._tracks.pop(gone).close()
        self._last.write(seen if containers is None else containers)
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
        meter = track.meter or open_meter(entry.cgroup, entry.pid, self.parts, self._parents)
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
        percent = self._percent(track, entry, Point(moment, usage.cpu_ns), usage)
        traffic = transferred(entry.pid) if entry.networked and NETWORK in self.parts else (0, 0)
        return _sample(entry, now, usage, percent, traffic)

    def _percent(self, track: _Track, entry: Entry, now: Point, usage: Usage) -> tuple[int, float]:
        before = track.last
        if before is None:
            birth = _birth(entry)
            before = self._last.earlier(entry.id, now, birth) or birth or now
        if track.last is None or now.monotonic_ns - before.monotonic_ns >= _SHORTEST_NS:
            track.percent = cpu_percent(before, now, usage)
            track.last = now
            self._last.keep(entry.id, now)
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


def _sample(
    entry: Entry, now: str, usage: Usage, percent: tuple[int, float], traffic: tuple[int, int]
) -> Sample:
    limits = usage.limits
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


def _idle(identity: str, name: str, now: str, moment: int) -> Sample:
    """That of a container that does not run."""
    counters = (0,) * 4
    return Sample(
        identity, name, now, moment, 0.0, *counters, 0, None, 0, 0, 0, *counters, 0, None, None, None
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
        self._rows: list[tuple[str, str, str]] = []
        """ID, name and network of every container."""
        self._entries: list[Entry] = []
        """Those that run."""
        self._seen: tuple[int, int] | None = None
        self._watch: sqlite3.Connection | None = None
        self._unkept: OSError | None = None

    def sample(
        self,
        parts: frozenset[str] = PARTS,
        only: Collection[str] | None = None,
        *,
        everything: bool = False,
        once: bool = False,
    ) -> list[Sample]:
        """One sample of every container that runs or is paused, oldest first. Adds to the histories.

        *parts* are those of `PARTS` that are wanted: each costs files to read. *only* has the IDs of those
        that are. With *everything*, those that do not run are there too, and use nothing. Whoever looks
        *once* has nothing kept open.
        """
        with self._lock:
            sampler = self._sampler_for(parts, once)
            entries = self._running(once, only)
            samples = sampler.sample(entries, {row[0] for row in self._rows})
            self._unkept = self._unkept or sampler.unkept
            if len(samples) < len(entries):
                # One has ended without a word: its monitor was killed. The list is made anew next time.
                self._seen = None
            for sample in samples:
                history = self._histories.get(sample.container)
                if history is None:
                    history = self._histories[sample.container] = History()
                history.add(sample)
            return self._with_idle(samples, only) if everything else samples

    def history(self, container_id: str) -> History:
        """What has been sampled of a container; empty for one that has not run since this was opened."""
        with self._lock:
            return self._histories.get(container_id) or History(1)

    def identify(self, reference: str) -> str:
        """The ID of the container that *reference* means. Raises NotFoundError, AmbiguousError."""
        return records.container_row(self._store.connection, reference).id

    def caution(self) -> str:
        """What is well to know of the samples so far: a sentence, or nothing."""
        with self._lock:
            unkept = self._unkept
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

    def _sampler_for(self, parts: frozenset[str], once: bool) -> Sampler:
        """The one of this process for *parts*, or one that keeps nothing open."""
        kept = self._store.layout.samples
        if once:
            return Sampler(0, parts, kept)
        if self._sampler is None or self._sampler.parts != parts:
            if self._sampler is not None:
                self._sampler.close()
            self._sampler = Sampler(None, parts, kept)
        return self._sampler

    def _running(self, once: bool, only: Collection[str] | None) -> list[Entry]:
        """The running containers, or those of them that are in *only*."""
        if self._watch is None and not once:
            with contextlib.suppress(NoSpaceError):
                # It never writes: data_version counts, for each connection, what the *others* have changed.
                self._watch = database.connect(self._store.layout)
        if self._watch is None or once:
            return self._looked_up(self._store.connection, only)
        moved = 0
        with contextlib.suppress(FileNotFoundError):
            moved = os.stat(self._store.layout.revision).st_mtime_ns
        seen = (self._watch.execute("PRAGMA data_version").fetchone()[0], moved)
        if seen != self._seen:  # a record or a state has changed
            self._entries = self._looked_up(self._watch, None)
            self._seen = seen
        return self._entries if only is None else [each for each in self._entries if each.id in only]

    def _looked_up(self, connection: sqlite3.Connection, only: Collection[str] | None) -> list[Entry]:
        self._rows = records.container_networks(connection)
        kept = {row[0] for row in self._rows}
        self._histories = {key: value for key, value in self._histories.items() if key in kept}
        return [
            entry
            for row in self._rows
            if (only is None or row[0] in only) and (entry := self._entry(*row)) is not None
        ]

    def _entry(self, identity: str, name: str, network: str) -> Entry | None:
        found = state.live(self._store.layout.container(identity))
        if found is None:
            return None
        who, where = found
        networked = network not in ("none", "host")
        return Entry(identity, name, Cgroup.from_json(where), who.pid, who.start, networked)

    def _with_idle(self, samples: list[Sample], only: Collection[str] | None) -> list[Sample]:
        """*samples*, and in their places those that do not run."""
        running = {sample.container: sample for sample in samples}
        now, moment = clock.now(), time.monotonic_ns()
        return [
            running.get(identity) or _idle(identity, name, now, moment)
            for identity, name, _ in self._rows
            if only is None or identity in only
        ]
