"""Counters: the kernel's texts in any form, and real processes that use what is counted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel import cgroup, meter
from engine.kernel.cgroup import Cgroup
from engine.kernel.meter import DETAILS, IO, MEMORY, PARTS, PEAK, PIDS_LIMIT, Limits, Meter, Parents, Usage
from tests.support.captures import wait_for
from tests.support.pen import Pen, command_of, said
from tests.support.traces import Root

MEBI = 1 << 20
COUNT = st.integers(0, 1 << 63)
KEY = st.from_regex(r"[a-z_]{1,20}", fullmatch=True)
DEVICE = st.tuples(st.integers(0, 4095), st.integers(0, 1 << 20), COUNT, COUNT)


@given(st.dictionaries(KEY, COUNT, min_size=1), st.data())
def test_numbers_of_keyed_lines(wanted: dict[str, int], data: st.DataObject) -> None:
    text = "".join(f"{key} {number}\n" for key, number in wanted.items()).encode()
    key = data.draw(st.sampled_from(list(wanted)))
    assert meter.number_after(b"\n" + text, f"\n{key} ".encode()) == wanted[key]
    assert meter.number_after(text, b"\nABSENT ") == 0


@given(st.lists(DEVICE))
def test_version_1_block_bytes(devices: list[tuple[int, int, int, int]]) -> None:
    lines = [
        f"{major}:{minor} Read {read}\n{major}:{minor} Write {written}\n{major}:{minor} Sync 7\n"
        f"{major}:{minor} Async 7\n{major}:{minor} Discard 7\n{major}:{minor} Total 7\n"
        for major, minor, read, written in devices
    ]
    text = "".join([*lines, "Total 99\n"]).encode()
    assert meter.serviced(text) == (sum(each[2] for each in devices), sum(each[3] for each in devices))


@given(st.lists(DEVICE))
def test_version_2_block_bytes(devices: list[tuple[int, int, int, int]]) -> None:
    text = "".join(
        f"{major}:{minor} rbytes={read} wbytes={written} rios=7 wios=7 dbytes=7 dios=7\n"
        for major, minor, read, written in devices
    ).encode()
    assert meter.transferred(text) == (sum(each[2] for each in devices), sum(each[3] for each in devices))


@pytest.mark.parametrize(
    ("quota", "period", "limit"),
    [
        (b"50000\n", b"100000\n", Limits(cpu=0.5, period_ns=100_000_000)),
        (b"max", b"100000\n", Limits()),
        (b"-1\n", b"100000\n", Limits()),
        (b"", b"", Limits()),
    ],
)
def test_limits_of_cpu(quota: bytes, period: bytes, limit: Limits) -> None:
    assert meter.cpu_limit(quota, period) == limit


@pytest.fixture
def pen(root: Root) -> Iterator[Pen]:
    with Pen(root.cgroup_parent) as made:
        yield made


@pytest.fixture
def meters() -> Iterator[list[Meter]]:
    opened: list[Meter] = []
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_CLOEXEC)
    yield ends
    for end in ends:
        os.close(end)


def observe(meters: list[Meter], where: Cgroup, pid: int) -> Meter:
    meters.append(meter.open_meter(where, pid))
    return meters[-1]


@pytest.mark.kernel
def test_limits_are_those_that_were_set(pen: Pen, meters: list[Meter]) -> None:
    limits = {
        "cpu": {"quota": 25_000, "period": 50_000},
        "memory": {"limit": 64 * MEBI},
        "pids": {"limit": 9},
    }
    made = pen.create(limits)
    usage = observe(meters, made, pen.start(made, "sleep", "60")).read()
    assert usage.limits == Limits(cpu=0.5, period_ns=50_000_000, memory=64 * MEBI, pids=9)
    free = pen.create()
    assert observe(meters, free, pen.start(free, "sleep", "60")).read().limits == Limits()


@pytest.mark.kernel
def test_limits_that_change_are_seen_after_a_few_readings(pen: Pen, meters: list[Meter]) -> None:
    made = pen.create()
    watched = observe(meters, made, pen.start(made, "sleep", "60"))
    assert watched.read().limits.pids is None
    cgroup.apply(made, {"pids": {"limit": 7}})
    assert [watched.read() for _ in range(meter.FULL_EVERY)][-1].limits.pids == 7


@pytest.mark.kernel
def test_cpu_time_and_throttling(pen: Pen, meters: list[Meter]) -> None:
    made = pen.create({"cpu": {"quota": 20_000, "period": 100_000}})
    begun = time.monotonic()
    watched = observe(meters, made, pen.start(made, "sh", "-c", "while :; do :; done"))
    wait_for(lambda: (now := watched.read()).throttled_periods >= 3 and now.throttled_ns > 100_000_000)
    usage = watched.read()
    periods = (time.monotonic() - begun) / 0.1 + 2
    assert 2 * 20_000_000 <= usage.cpu_ns <= periods * 20_000_000
    assert usage.throttled_periods <= usage.periods <= periods


@pytest.mark.kernel
def test_memory_now_and_at_its_highest(pen: Pen, meters: list[Meter], pipe: tuple[int, int]) -> None:
    made = pen.create()
    program = f"import time; x = b'x' * {50 * MEBI}; del x; print('freed', flush=True); time.sleep(60)"
    watched = observe(meters, made, pen.python(made, program, stdout=pipe[1]))
    said(pipe[0])
    usage = watched.read()
    assert usage.memory_peak >= 50 * MEBI
    assert usage.memory < 40 * MEBI


@pytest.mark.kernel
def test_oom_kills_are_counted_while_the_container_lives(pen: Pen, meters: list[Meter]) -> None:
    made = pen.create({"memory": {"limit": 24 * MEBI, "swap": 24 * MEBI}})
    program = (
        f"python='{os.path.realpath('/proc/self/exe')}'; $python -ISc 'x = b\"x\" * {80 * MEBI}'; sleep 60"
    )
    watched = observe(meters, made, pen.start(made, "sh", "-c", program))
    deadline = time.monotonic() + 60
    while not (usage := watched.read()).oom_kills and time.monotonic() < deadline:
        time.sleep(0.02)
    assert usage.oom_kills == 1
    assert usage.pids >= 1


@pytest.mark.kernel
def test_processes_and_threads_are_counted(pen: Pen, meters: list[Meter], pipe: tuple[int, int]) -> None:
    made = pen.create()
    program = (
        "import os, threading, time\n"
        "threads = [threading.Thread(target=time.sleep, args=(60,), daemon=True) for _ in range(3)]\n"
        "[each.start() for each in threads]\n"
        "if os.fork():\n"
        "    print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    watched = observe(meters, made, pen.python(made, program, stdout=pipe[1]))
    said(pipe[0])
    assert watched.read().pids == 5


@pytest.mark.kernel
def test_bytes_to_storage_count_and_outlive_the_process_that_wrote_them(
    pen: Pen, meters: list[Meter], tmp_path: Path
) -> None:
    if os.major(tmp_path.stat().st_dev) == 0:
        pytest.skip("temporary files are not on a block device here")
    made = pen.create()
    script = f"dd if=/dev/zero of={tmp_path}/file bs=64k count=32 conv=fsync 2>/dev/null; sleep 60"
    watched = observe(meters, made, pen.start(made, "sh", "-c", script))
    deadline = time.monotonic() + 60
    while (usage := watched.read()).io_write < 2 * MEBI and time.monotonic() < deadline:
        time.sleep(0.05)
    assert 2 * MEBI <= usage.io_write < 3 * MEBI


@pytest.mark.kernel
def test_rest_is_read_in_fewer_looks_and_says_the_same(pen: Pen, meters: list[Meter]) -> None:
    made = pen.create()
    pid = pen.start(made, "sleep", "60")
    watched = observe(meters, made, pid)
    readings: list[Usage] = []

    def at_rest() -> bool:
        readings[:] = [watched.read() for _ in range(2 * meter.FULL_EVERY)]
        return len({reading.cpu_ns for reading in readings}) == 1

    wait_for(lambda: command_of(pid) == "sleep")
    wait_for(at_rest)
    assert {reading.pids for reading in readings} == {1}
    os.kill(pid, 9)
    pen.wait(pid)
    assert watched.read().pids == 0


@pytest.mark.kernel
def test_one_that_has_gone(pen: Pen, meters: list[Meter]) -> None:
    made = pen.create()
    watched = observe(meters, made, 1)
    assert watched.read().pids == 0
    cgroup.remove(made)
    with pytest.raises(OSError):
        watched.read()
    assert observe(meters, made, 1).read().pids == 0


@pytest.mark.kernel
def test_pressure_where_the_kernel_tells_it(pen: Pen, meters: list[Meter]) -> None:
    made = pen.create()
    usage = observe(meters, made, pen.start(made, "sh", "-c", "while :; do :; done")).read()
    known = os.path.exists(f"{made.directories.get('unified', '')}/cpu.pressure")
    assert (usage.pressure is not None) == known


OF_PARTS = {
    MEMORY: {"memory"},
    PEAK: {"memory_peak"},
    IO: {"io_read", "io_write"},
    PIDS_LIMIT: set(),
    DETAILS: {"periods", "throttled_periods", "throttled_ns", "oom_kills", "swap", "pressure"},
}
"""The figures of each part of a reading, besides its limits."""


@pytest.mark.kernel
@pytest.mark.parametrize("parts", [*({part} for part in PARTS), PARTS - {DETAILS}, set()])
def test_a_part_of_a_reading_is_what_the_whole_says_of_it(
    pen: Pen, pipe: tuple[int, int], tmp_path: Path, parts: set[str]
) -> None:
    made = pen.create({"cpu": {"quota": 50_000, "period": 100_000}, "memory": {"limit": 64 * MEBI}})
    cgroup.apply(made, {"pids": {"limit": 9}})
    program = (
        f"import time; x = b'x' * {8 * MEBI}; open('{tmp_path}/file', 'wb').write(x); print('up', flush=True)"
    )
    pid = pen.python(made, f"{program}; time.sleep(60)", stdout=pipe[1])
    said(pipe[0])
    for _ in range(200):
        before, found, after = (at_once(made, pid, each) for each in (PARTS, frozenset(parts), PARTS))
        if before._replace(pressure=None) == after._replace(pressure=None):
            break
    else:
        raise AssertionError("the process is never quiet")
    shown = {name for part in parts for name in OF_PARTS[part]} | ({"memory"} if PEAK in parts else set())
    hidden = {name for names in OF_PARTS.values() for name in names} - shown
    for name in Usage._fields:
        if name not in {*hidden, "limits", "pressure"}:
            assert getattr(found, name) == getattr(before, name), name
    assert {getattr(found, name) for name in hidden} <= {0, None}
    assert before.limits == Limits(0.5, 100_000_000, 64 * MEBI, 9)
    assert found.limits == before.limits._replace(
        memory=before.limits.memory if parts & {MEMORY, PEAK} else None,
        pids=before.limits.pids if PIDS_LIMIT in parts else None,
    )


def at_once(where: Cgroup, pid: int, parts: frozenset[str]) -> Usage:
    """One reading of a meter that is opened and closed for it, among those of a batch."""
    parents = Parents()
    watched = meter.open_meter(where, pid, parts, parents)
    try:
        return watched.read()
    finally:
        watched.close()
        parents.close()


@pytest.mark.kernel
def test_what_is_not_wanted_is_not_opened(pen: Pen) -> None:
    made = pen.create()
    pid = pen.start(made, "sleep", "60")
    counts = {}
    for name, parts in {"all": PARTS, "table": PARTS - {DETAILS}, "none": frozenset[str]()}.items():
        before = len(os.listdir("/proc/self/fd"))
        watched = meter.open_meter(made, pid, parts)
        watched.read()
        counts[name] = len(os.listdir("/proc/self/fd")) - before
        watched.close()
        assert len(os.listdir("/proc/self/fd")) == before
    assert counts["none"] <= 2 < counts["table"] <= counts["all"]


@pytest.mark.kernel
def test_the_parents_of_a_batch_are_opened_once_and_found_anew_in_the_next(pen: Pen) -> None:
    parents = Parents()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):  # the second time the parent is another directory of the same name
        crowd = [pen.create(name=f"crowd/{number}") for number in range(3)]
        pids = [pen.start(each, "sleep", "60") for each in crowd]
        wait_for(lambda: [cgroup.procs(each) for each in crowd] == [[pid] for pid in pids])  # noqa: B023
        meters = [meter.open_meter(each, pid, parents=parents) for each, pid in zip(crowd, pids, strict=True)]
        assert [each.read().pids for each in meters] == [1, 1, 1]
        for each in meters:
            each.close()
        places = {os.path.dirname(path) for path in crowd[0].directories.values()}
        assert before < len(os.listdir("/proc/self/fd")) <= before + len(places)
        parents.close()
        assert len(os.listdir("/proc/self/fd")) == before
        for where, pid in zip(crowd, pids, strict=True):
            os.kill(pid, 9)
            pen.wait(pid)
            cgroup.remove(where)
        assert not any(os.path.exists(place) for place in places if place.endswith("/crowd"))


@pytest.mark.kernel
def test_a_memory_limit_from_above_is_not_its_own(pen: Pen) -> None:
    above = pen.create({"memory": {"limit": 48 * MEBI}}, name="above")
    if above.version == 2:
        pytest.skip("a cgroup with a process has no cgroups inside it there")
    inner = pen.create(name="above/inner")
    pid = pen.start(inner, "sleep", "60")
    assert at_once(inner, pid, PARTS).limits.memory is None
    cgroup.apply(inner, {"memory": {"limit": 32 * MEBI}})
    assert at_once(inner, pid, PARTS).limits.memory == 32 * MEBI
