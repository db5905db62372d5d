"""Limits: what is written for an OCI document, and that the kernel keeps to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import errors
from engine.kernel import cgroup, cgroup1, cgroup2, cgroupfs
from tests.support.captures import wait_for
from tests.support.pen import Pen, command_of, said, value
from tests.support.traces import Root

MEBI = 1 << 20
SHAPES = {"cpu": {"quota": 50_000, "period": 100_000, "shares": 512}, "pids": {"limit": 42}}


@pytest.fixture
def pen(root: Root) -> Iterator[Pen]:
    with Pen(root.cgroup_parent) as made:
        yield made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_CLOEXEC)
    yield ends
    for end in ends:
        os.close(end)


def test_version_1_files() -> None:
    assert cgroup1.settings(SHAPES) == [
        ("cpu", "cpu.shares", "512", False),
        ("cpu", "cpu.cfs_period_us", "100000", False),
        ("cpu", "cpu.cfs_quota_us", "50000", False),
        ("pids", "pids.max", "42", False),
    ]
    assert cgroup1.settings({"pids": {"limit": 0}, "cpu": {"quota": -1}}) == [
        ("cpu", "cpu.cfs_quota_us", "-1", False),
        ("pids", "pids.max", "max", False),
    ]
    throttle = {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 4096}]}
    assert cgroup1.settings({"blockIO": throttle}) == [
        ("blkio", "blkio.throttle.read_bps_device", "8:0 4096", False)
    ]


def test_version_2_files() -> None:
    assert cgroup2.settings(SHAPES) == [
        ("cpu.weight", "59", False),
        ("cpu.max", "50000 100000", False),
        ("pids.max", "42", False),
    ]
    assert cgroup2.settings(
        {"pids": {"limit": -1}, "cpu": {"quota": -1}, "unified": {"memory.high": "5"}}
    ) == [
        ("cpu.max", "max", False),
        ("pids.max", "max", False),
        ("memory.high", "5", False),
    ]
    throttle = {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 9}]}
    assert cgroup2.settings({"blockIO": throttle}) == [("io.max", "8:0 wiops=9", False)]


@pytest.mark.parametrize(
    ("limit", "swap", "file"),
    [(64, None, None), (64, 0, None), (64, 64, "0"), (64, 100, "36"), (64, -1, "max"), (None, 100, "100")],
)
def test_swap_alone_is_what_version_2_limits(limit: int | None, swap: int | None, file: str | None) -> None:
    assert cgroup2.swap_max(limit, swap) == file


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 100), (262144, 10000), (1 << 20, 10000)])
def test_the_fixed_points_of_the_weight(shares: int, weight: int) -> None:
    assert cgroup2.weight(shares) == weight


@given(st.integers(2, 262143))
def test_more_shares_never_weigh_less(shares: int) -> None:
    assert 1 <= cgroup2.weight(shares) <= cgroup2.weight(shares + 1) <= 10000


@pytest.mark.kernel
def test_the_files_hold_what_was_asked_for(pen: Pen) -> None:
    made = pen.create({**SHAPES, "memory": {"limit": 64 * MEBI, "swap": 96 * MEBI, "reservation": 32 * MEBI}})
    if made.version == 1:
        assert value(made, "cpu.cfs_quota_us", "") == "50000"
        assert value(made, "cpu.cfs_period_us", "") == "100000"
        assert value(made, "cpu.shares", "") == "512"
        assert value(made, "memory.soft_limit_in_bytes", "") == str(32 * MEBI)
        if os.path.exists(f"{made.directories['memory']}/memory.memsw.limit_in_bytes"):
            assert value(made, "memory.memsw.limit_in_bytes", "") == str(96 * MEBI)
    else:
        assert value(made, "", "cpu.max") == "50000 100000"
        assert value(made, "", "cpu.weight") == "59"
        assert value(made, "", "memory.low") == str(32 * MEBI)
        assert value(made, "", "memory.swap.max") == str(32 * MEBI)
    assert value(made, "memory.limit_in_bytes", "memory.max") == str(64 * MEBI)
    assert value(made, "pids.max", "pids.max") == "42"


@pytest.mark.kernel
def test_no_limits_are_the_kernels_own(pen: Pen) -> None:
    made = pen.create()
    assert value(made, "pids.max", "pids.max") == "max"
    assert value(made, "memory.limit_in_bytes", "memory.max") in ("max", str((1 << 63) - 4096))
    assert not os.path.exists(made.directories.get("cpuset", "/nowhere"))


@pytest.mark.kernel
@pytest.mark.parametrize("steps", [(64, 128, 32), (32, 16, 512), (16, -1, 16)])
def test_limits_move_up_and_down(pen: Pen, steps: tuple[int, ...]) -> None:
    made = pen.create()
    for step in steps:
        limit = step * MEBI if step > 0 else -1
        cgroup.apply(made, {"memory": {"limit": limit, "swap": limit}})
        shown = value(made, "memory.limit_in_bytes", "memory.max")
        assert shown == str(limit) if limit > 0 else shown in ("max", str((1 << 63) - 4096))


@pytest.mark.kernel
def test_a_quota_can_be_changed_with_its_period_and_taken_back(pen: Pen) -> None:
    made = pen.create({"cpu": {"quota": 50_000, "period": 100_000}})
    cgroup.apply(made, {"cpu": {"quota": 2_000, "period": 4_000}})
    assert value(made, "cpu.cfs_quota_us", "cpu.max").split()[0] == "2000"
    cgroup.apply(made, {"cpu": {"quota": -1}})
    assert value(made, "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")


@pytest.mark.kernel
def test_what_the_kernel_refuses_is_the_callers_mistake(pen: Pen) -> None:
    made = pen.create()
    with pytest.raises(errors.UsageError):
        cgroup.apply(made, {"cpu": {"quota": 10, "period": 100_000}})
    with pytest.raises(errors.UsageError):
        cgroup.apply(made, {"memory": {"limit": 64 * MEBI, "swap": 32 * MEBI}})


@pytest.mark.kernel
def test_a_missing_controller_is_named(pen: Pen) -> None:
    made = pen.create()
    without = made._replace(directories=dict.fromkeys(made.directories, "/nowhere"))
    for resources, name in (({"pids": {"limit": 1}}, "pids"), ({"memory": {"limit": MEBI}}, "memory")):
        with pytest.raises(errors.UnsupportedError, match=name):
            cgroup.apply(without, resources)


@pytest.mark.kernel
def test_a_quota_is_kept_to(pen: Pen) -> None:
    made = pen.create({"cpu": {"quota": 20_000, "period": 100_000}})
    pen.start(made, "sh", "-c", "while :; do :; done")
    wait_for(lambda: cgroupfs.field(value(made, "cpu.stat", "cpu.stat").encode(), b"nr_throttled") >= 1)


@pytest.mark.kernel
def test_a_memory_hog_is_killed_and_counted(pen: Pen) -> None:
    made = pen.create({"memory": {"limit": 24 * MEBI, "swap": 24 * MEBI}})
    assert cgroup.oom_kills(made) == 0
    pid = pen.python(made, f"x = b'x' * {100 * MEBI}")
    assert pen.wait(pid) == -signal.SIGKILL
    assert cgroup.oom_kills(made) == 1


@pytest.mark.kernel
def test_a_limit_below_what_is_in_use_is_refused_and_kills_nobody(pen: Pen, pipe: tuple[int, int]) -> None:
    made = pen.create({"memory": {"limit": 200 * MEBI, "swap": 200 * MEBI}})
    program = f"import sys, time; x = b'x' * {60 * MEBI}; print('full', flush=True); time.sleep(60)"
    pid = pen.python(made, program, stdout=pipe[1])
    assert said(pipe[0]) == b"full\n"
    with pytest.raises(errors.ConflictError):
        cgroup.apply(made, {"memory": {"limit": 20 * MEBI, "swap": 200 * MEBI}})
    assert cgroup.procs(made) == [pid]
    assert value(made, "memory.limit_in_bytes", "memory.max") == str(200 * MEBI)


@pytest.mark.kernel
def test_forks_stop_at_the_limit(pen: Pen, pipe: tuple[int, int]) -> None:
    made = pen.create({"pids": {"limit": 8}})
    program = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    while made < 100:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(60)\n"
        "        made += 1\n"
        "except OSError:\n"
        "    print(made, flush=True)\n"
        "time.sleep(60)\n"
    )
    pen.python(made, program, stdout=pipe[1])
    assert said(pipe[0]) == b"7\n"
    assert value(made, "pids.current", "pids.current") == "8"


@pytest.mark.kernel
def test_cpus_are_chosen_at_the_start_and_while_it_runs(pen: Pen) -> None:
    if not any("cpuset" in where for where in (cgroup.detect().bases, controllers())):
        pytest.skip("this kernel has no cpuset controller")
    at_start = pen.create({"cpu": {"cpus": "0"}})
    later = pen.create()
    pids = [pen.start(at_start, "sleep", "60"), pen.start(later, "sleep", "60")]
    wait_for(lambda: all(command_of(pid) == "sleep" for pid in pids))  # then it has entered all of them
    cgroup.apply(later, {"cpu": {"cpus": "0"}})
    for pid in pids:
        assert os.sched_getaffinity(pid) == {0}
    with pytest.raises(errors.UsageError):
        cgroup.apply(later, {"cpu": {"cpus": "no"}})


def controllers() -> str:
    """Those of the version 2 root."""
    root = cgroup.detect().roots.get("unified")
    return cgroupfs.read(f"{root}/cgroup.controllers").decode() if root else ""
