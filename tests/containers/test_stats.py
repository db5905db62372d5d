"""Samples of containers, their histories, and what one look can say without a second."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import model
from engine.containers import state, stats
from engine.containers.lastsamples import Point
from engine.containers.stats import Entry, History, Sampler
from engine.engine import Engine
from engine.kernel import cgroup
from engine.kernel.meter import Limits, Usage
from engine.model import LaunchOptions, Sample
from tests.support.captures import start, wait_for
from tests.support.pen import Pen, Resources
from tests.support.roots import Run
from tests.support.traces import Root

BUSY = "while :; do :; done"
SECOND = 1_000_000_000
HALF: Resources = {"cpu": {"quota": 50_000, "period": 100_000}}


@pytest.fixture
def pen(root: Root) -> Iterator[Pen]:
    with Pen(root.cgroup_parent) as made:
        yield made


@pytest.fixture
def samplers() -> Iterator[list[Sampler]]:
    made = [Sampler(), Sampler(), Sampler(0)]
    yield made
    for each in made:
        each.close()


def entry(pen: Pen, resources: Resources, script: str) -> Entry:
    """A cgroup with a shell in it, described as a running container."""
    made = pen.create(resources)
    pid = pen.start(made, "sh", "-c", script)
    deadline = time.monotonic() + 30
    while cgroup.procs(made) != [pid] and time.monotonic() < deadline:
        time.sleep(0.002)
    return Entry(f"id-{pid}", f"name-{pid}", made, pid, pen.start_time(pid))


def wait_until_asleep(pid: int) -> None:
    """Until it has become `sleep`, and has nothing more to do."""
    wait_for(lambda: Path(f"/proc/{pid}/stat").read_text().partition("(")[2].startswith("sleep) S"))


@pytest.mark.kernel
def test_half_a_cpu_is_shown_as_fifty_percent(pen: Pen, samplers: list[Sampler]) -> None:
    half = entry(pen, HALF, BUSY)
    samplers[0].sample([half])
    time.sleep(1.5)
    (sample,) = samplers[0].sample([half])
    assert 40 <= sample.cpu_percent <= 56, sample
    assert sample.cpu_limit == 0.5
    assert sample.throttled_periods > 5
    assert sample.periods >= sample.throttled_periods


@pytest.mark.kernel
def test_the_first_look_counts_from_the_start(pen: Pen, samplers: list[Sampler]) -> None:
    half = entry(pen, HALF, BUSY)
    time.sleep(0.55)
    (sample,) = samplers[0].sample([half])
    assert 35 <= sample.cpu_percent <= 50, sample


@pytest.mark.kernel
def test_the_first_look_of_another_process_counts_from_the_last(pen: Pen, tmp_path: Path) -> None:
    lazy = entry(pen, {}, f"sleep 1; {BUSY}")
    time.sleep(0.8)
    Sampler(0, kept=f"{tmp_path}/samples").sample([lazy])
    time.sleep(0.9)
    (sample,) = Sampler(0, kept=f"{tmp_path}/samples").sample([lazy])
    # From its start it would be under 45.
    assert sample.cpu_percent > 50, sample


@pytest.mark.kernel
def test_an_idle_container(pen: Pen, samplers: list[Sampler]) -> None:
    idle = entry(pen, {"pids": {"limit": 11}, "memory": {"limit": 64 << 20}}, "exec sleep 60")
    wait_until_asleep(idle.pid)
    samplers[0].sample([idle])
    time.sleep(0.2)
    (sample,) = samplers[0].sample([idle])
    assert sample.cpu_percent < 1
    assert (sample.container, sample.name) == (idle.id, idle.name)
    assert (sample.pids, sample.pids_limit, sample.memory_limit_bytes) == (1, 11, 64 << 20)
    assert 0 < sample.memory_bytes <= sample.memory_peak_bytes
    assert sample.oom_kills == sample.net_rx_bytes == sample.net_tx_bytes == 0


@pytest.mark.kernel
def test_without_descriptors_to_spare_it_is_the_same(pen: Pen, samplers: list[Sampler]) -> None:
    half = entry(pen, HALF, BUSY)
    before = len(os.listdir("/proc/self/fd"))
    samplers[2].sample([half])
    assert len(os.listdir("/proc/self/fd")) == before
    time.sleep(1.0)
    (sample,) = samplers[2].sample([half])
    assert 35 <= sample.cpu_percent <= 60, sample


@pytest.mark.kernel
def test_those_that_end_drop_out_and_leave_no_descriptor(pen: Pen, samplers: list[Sampler]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    entries = [entry(pen, {}, "exec sleep 60") for _ in range(4)]
    assert [each.container for each in samplers[0].sample(entries)] == [each.id for each in entries]
    assert len(os.listdir("/proc/self/fd")) > before
    os.kill(entries[0].pid, 9)
    pen.wait(entries[0].pid)
    assert [each.container for each in samplers[0].sample(entries)] == [each.id for each in entries[1:]]
    os.kill(entries[1].pid, 9)
    pen.wait(entries[1].pid)
    cgroup.remove(entries[1].cgroup)
    assert [each.container for each in samplers[0].sample(entries)] == [each.id for each in entries[2:]]
    assert samplers[0].sample([]) == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.kernel
def test_a_container_that_was_started_anew_begins_anew(pen: Pen, samplers: list[Sampler]) -> None:
    first, second = entry(pen, {}, BUSY), entry(pen, {}, "exec sleep 60")
    wait_until_asleep(second.pid)
    used = samplers[1].sample([second])[0].cpu_usage_ns
    wait_for(lambda: samplers[0].sample([first])[0].cpu_usage_ns > 2 * used + SECOND // 5)
    (sample,) = samplers[0].sample([second._replace(id=first.id)])
    assert used <= sample.cpu_usage_ns < 2 * used + SECOND // 5
    assert sample.cpu_percent >= 0


USAGE = Usage(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, None, Limits())


def test_a_period_of_quota_too_much_is_taken_off_a_short_look() -> None:
    limited = USAGE._replace(limits=Limits(cpu=0.5, period_ns=SECOND // 10))
    short, long = Point(SECOND // 4, SECOND // 4), Point(4 * SECOND, 4 * SECOND)
    assert stats.cpu_percent(Point(0, 0), short, limited) == 50.0
    assert stats.cpu_percent(Point(0, 0), short, USAGE) == 100.0
    assert stats.cpu_percent(Point(0, 0), long, limited) == 100.0


def test_no_time_is_no_percentage() -> None:
    assert stats.cpu_percent(Point(5, 0), Point(5, 9), USAGE) == 0.0
    assert stats.cpu_percent(Point(0, 9), Point(SECOND, 0), USAGE) == 0.0


@pytest.mark.kernel
def test_what_cannot_be_kept_is_said_once(engine: Engine, cowl: Run, root: Root) -> None:
    for _ in range(2):
        start(engine)
    os.symlink("/dev/full", root.layout.samples)
    done = cowl("stats", "--no-stream", "--json", check=True)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.count("No space left on device") == 1


def figures(sample: Sample) -> dict[str, object]:
    """What does not change from one moment to the next while nothing happens."""
    return {
        name: value
        for name, value in sample._asdict().items()
        if name not in ("time", "monotonic_ns", "cpu_percent", "pressure")
    }


OF_PARTS = {
    stats.MEMORY: ("memory_bytes", "memory_limit_bytes"),
    stats.PEAK: ("memory_peak_bytes",),
    stats.IO: ("io_read_bytes", "io_write_bytes"),
    stats.NETWORK: ("net_rx_bytes", "net_tx_bytes"),
    stats.PIDS_LIMIT: ("pids_limit",),
    stats.DETAILS: ("throttled_periods", "throttled_ns", "periods", "oom_kills", "swap_bytes", "pressure"),
}
"""The figures of each part of a sample."""


@pytest.mark.kernel
def test_a_part_of_a_sample_is_what_the_whole_says_of_it(engine: Engine) -> None:
    limits = model.Limits(cpus=0.5, memory=64 << 20, pids=20)
    start(engine, "sh", "-c", "cat /bin/* > /copy; exec sleep 600", limits=limits)
    start(engine)
    for each in engine.containers.list():
        assert each.pid is not None
        wait_until_asleep(each.pid)
    for parts in (*({part} for part in OF_PARTS), stats.PARTS - {stats.DETAILS}, set()):
        found, whole = both_ways(engine, frozenset(parts))
        shown = {name for part in parts for name in OF_PARTS[part]}
        shown |= set(OF_PARTS[stats.MEMORY]) if stats.PEAK in parts else set()
        hidden = {name for names in OF_PARTS.values() for name in names} - shown
        for sample, all_of_it in zip(found, whole, strict=True):
            said, known = figures(sample), figures(all_of_it)
            assert {name: said[name] for name in said.keys() - hidden} == {
                name: known[name] for name in known.keys() - hidden
            }, parts
            assert {getattr(sample, name) for name in hidden} <= {0, None}, parts
        assert (found[0].cpu_limit, found[1].cpu_limit) == (0.5, None)
    _, (first, second) = both_ways(engine, stats.PARTS)
    assert (first.memory_limit_bytes, first.pids_limit) == (64 << 20, 20)
    assert (second.memory_limit_bytes, second.pids_limit) == (None, None)
    assert first.periods > 0


def both_ways(engine: Engine, parts: frozenset[str]) -> tuple[list[Sample], list[Sample]]:
    """Samples of *parts* and of all, for which nothing has happened in between."""
    for _ in range(100):
        before, found, after = [
            engine.stats.sample(each, once=True) for each in (stats.PARTS, parts, stats.PARTS)
        ]
        if list(map(figures, before)) == list(map(figures, after)):
            return found, before
    raise AssertionError("the containers are never quiet")


@pytest.mark.kernel
def test_one_look_keeps_nothing_open_and_sees_the_same(engine: Engine) -> None:
    names = [start(engine) for _ in range(3)]
    assert [each.container for each in engine.stats.sample()] == names
    before = os.listdir("/proc/self/fd")
    engine.stats.close()
    assert len(os.listdir("/proc/self/fd")) < len(before)
    before = os.listdir("/proc/self/fd")
    assert [each.container for each in engine.stats.sample(once=True)] == names
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.kernel
def test_who_is_looked_at(engine: Engine) -> None:
    first, second = start(engine), start(engine)
    idle = engine.containers.create(LaunchOptions("starter:base", ("true",))).id
    assert engine.stats.identify(engine.containers.get(second).name) == second
    for once in (True, False):
        found = engine.stats.sample(only={second}, once=once)
        assert [each.container for each in found] == [second]
        found = engine.stats.sample(everything=True, once=once)
        assert [each.container for each in found] == [first, second, idle]
        assert [each.pids for each in found] == [1, 1, 0]
        found = engine.stats.sample(only={idle}, everything=True, once=once)
        assert [(each.container, each.memory_bytes, each.pids_limit) for each in found] == [(idle, 0, None)]
        assert engine.stats.sample(only={idle}, once=once) == []
    engine.containers.stop(first, 0)
    assert [each.container for each in engine.stats.sample(once=True)] == [second]


@pytest.mark.kernel
def test_a_paused_container_is_sampled(engine: Engine) -> None:
    name = start(engine)
    engine.containers.pause(name)
    assert [each.container for each in engine.stats.sample(once=True)] == [name]
    engine.containers.unpause(name)


@pytest.mark.kernel
def test_changes_at_one_moment_are_seen_one_by_one(tmp_path: Path) -> None:
    """Whoever looks between two of them: the clock of files may be a coarse one."""
    seen = set()
    for _ in range(500):
        state.touch(f"{tmp_path}/revision")
        seen.add(os.stat(f"{tmp_path}/revision").st_mtime_ns)
    assert len(seen) == 500


def sample_at(seconds: int, *, read: int = 0, written: int = 0, cpu: float = 0.0) -> Sample:
    return Sample(
        "id",
        "name",
        "",
        seconds * SECOND,
        cpu,
        0,
        0,
        0,
        0,
        7,
        None,
        7,
        0,
        0,
        read,
        written,
        0,
        0,
        3,
        None,
        None,
        None,
    )


def test_a_history_is_a_ring_of_figures() -> None:
    history = History(3)
    for seconds in range(1, 6):
        history.add(sample_at(seconds, read=seconds * 100, written=seconds * 50, cpu=seconds))
    assert history.cpu == (3.0, 4.0, 5.0)
    assert history.io == (150.0, 150.0, 150.0)
    assert history.memory == (7.0, 7.0, 7.0)
    assert history.pids == (3.0, 3.0, 3.0)
    assert len(history) == 3


def test_counters_that_begin_anew_are_no_negative_rate() -> None:
    history = History()
    history.add(sample_at(1, read=1000))
    history.add(sample_at(2, read=0))
    assert history.io == (0.0, 0.0)
