"""Samples of containers, their histories, and what one look can say without a second."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers import stats
from engine.containers.stats import Entry, History, Kept, Point, Sampler
from engine.engine import Engine
from engine.kernel import cgroup
from engine.kernel.meter import Limits, Usage
from engine.model import Sample
from tests.support.captures import start
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


def entry(pen: Pen, resources: Resources, script: str, run: str = "") -> Entry:
    """A cgroup with a shell in it, described as a running container."""
    made = pen.create(resources)
    pid = pen.start(made, "sh", "-c", script)
    deadline = time.monotonic() + 5
    while cgroup.procs(made) != [pid] and time.monotonic() < deadline:
        time.sleep(0.002)
    return Entry(f"id-{pid}", f"name-{pid}", made, pid, pen.start_time(pid), run)


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
def test_the_first_look_of_another_process_counts_from_the_last(
    pen: Pen, samplers: list[Sampler], tmp_path: Path
) -> None:
    lazy = entry(pen, {}, f"sleep 1; {BUSY}", str(tmp_path))
    time.sleep(0.8)
    samplers[0].sample([lazy])
    time.sleep(0.9)
    (sample,) = samplers[1].sample([lazy])
    # From its start it would be under 45.
    assert sample.cpu_percent > 50, sample


@pytest.mark.kernel
def test_an_idle_container(pen: Pen, samplers: list[Sampler]) -> None:
    idle = entry(pen, {"pids": {"limit": 11}, "memory": {"limit": 64 << 20}}, "exec sleep 60")
    time.sleep(0.1)
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
    first = entry(pen, {}, BUSY)
    time.sleep(0.3)
    samplers[0].sample([first])
    second = entry(pen, {}, BUSY)._replace(id=first.id)
    (sample,) = samplers[0].sample([second])
    assert sample.cpu_usage_ns < 200_000_000
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


def test_of_two_looks_at_once_both_have_something_to_compare_with(tmp_path: Path) -> None:
    first = Kept(str(tmp_path))
    first.keep(Point(1 * SECOND, 10))
    first.keep(Point(2 * SECOND, 20))
    first.close()
    second = Kept(str(tmp_path))
    now = Point(2 * SECOND + SECOND // 20, 21)
    assert second.earlier(now, None) == Point(1 * SECOND, 10)
    assert second.earlier(Point(3 * SECOND, 30), None) == Point(2 * SECOND, 20)
    assert second.earlier(Point(3 * SECOND, 30), Point(2 * SECOND + 1, 0)) is None
    assert second.earlier(Point(3 * SECOND, 5), None) is None
    second.close()


def test_a_directory_that_has_gone_keeps_nothing(tmp_path: Path) -> None:
    kept = Kept(str(tmp_path / "gone"))
    kept.keep(Point(1, 1))
    kept.close()
    assert not (tmp_path / "gone").exists()


def test_what_cannot_be_kept_is_known(tmp_path: Path) -> None:
    os.symlink("/dev/full", tmp_path / "sample")
    kept = Kept(str(tmp_path))
    assert kept.error is None
    kept.keep(Point(1, 1))
    assert kept.error is not None and kept.error.errno == errno.ENOSPC
    kept.close()


@pytest.mark.kernel
def test_what_cannot_be_kept_is_said_once(engine: Engine, cowl: Run, root: Root) -> None:
    for _ in range(2):
        os.symlink("/dev/full", f"{root.layout.container(start(engine)).run}/sample")
    done = cowl("stats", "--no-stream", "--json", check=True)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.count("No space left on device") == 1


@given(st.binary(max_size=80))
def test_any_bytes_in_the_kept_file_are_survived(data: bytes) -> None:
    points = stats.unpack(data)
    assert points == [] or (len(data) == 32 and points[0].monotonic_ns <= points[1].monotonic_ns)


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
