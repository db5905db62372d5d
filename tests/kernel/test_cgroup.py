"""Cgroups with real processes in them: entering, stopping, ending, removing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from engine import errors
from engine.kernel import cgroup, cgroupfs
from engine.kernel.cgroup import Cgroup
from tests.support.captures import wait_for
from tests.support.pen import Pen, said, value
from tests.support.traces import Root

pytestmark = pytest.mark.kernel

BUSY = "while :; do :; done"
BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


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


def cpu_ns(where: Cgroup) -> int:
    if where.version == 1:
        return int(value(where, "cpuacct.usage", ""))
    return 1000 * cgroupfs.field(value(where, "", "cpu.stat").encode(), b"usage_usec")


def settled(where: Cgroup, count: int) -> list[int]:
    """Its processes once there are *count*."""
    wait_for(lambda: len(cgroup.procs(where)) == count)
    return cgroup.procs(where)


def stands(where: Cgroup) -> bool:
    """Whether its processes have done nothing for a while."""
    before = cpu_ns(where)
    time.sleep(0.2)
    return cpu_ns(where) == before


def stopped(where: Cgroup) -> bool:
    """Whether it stands for good: who is seen to be frozen may still be on the way off its processor."""
    wait_for(lambda: stands(where))
    return stands(where)


def test_a_process_is_in_every_hierarchy(pen: Pen, pipe: tuple[int, int]) -> None:
    made = pen.create()
    pid = pen.start(made, "sh", "-c", "echo in; exec sleep 60", stdout=pipe[1])
    said(pipe[0])
    for name, place in made.directories.items():
        if os.path.exists(place):
            assert cgroupfs.pids(place) == [pid], name
    assert cgroup.procs(made) == [pid]
    assert cgroup.populated(made)


def test_the_version_2_way_in_without_clone3(pen: Pen) -> None:
    made = pen.create()
    doors = cgroup.entrances(made)
    pid = os.fork()
    if pid == 0:
        try:
            cgroup.join(doors)
            os.execvp("sleep", ["sleep", "60"])
        finally:
            os._exit(127)
    cgroup.close(doors)
    try:
        assert settled(made, 1) == [pid]
    finally:
        assert cgroup.kill_all(made)
        os.waitpid(pid, 0)


def test_entering_takes_no_grace_period_of_the_kernel(pen: Pen, pipe: tuple[int, int]) -> None:
    """It would sleep for most of those (getrusage(2), ru_nvcsw), and seldom does for somebody else's lock."""
    slept: list[int] = []
    for _ in range(12):
        made = pen.create()
        time.sleep(0.03)
        doors = cgroup.entrances(made, born_inside=True)
        pid = os.fork()
        if pid == 0:
            try:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
                cgroup.join(doors)
                os.write(pipe[1], b"%d" % (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before))
            finally:
                os._exit(0)
        cgroup.close(doors)
        slept.append(int(said(pipe[0])))
        os.waitpid(pid, 0)
    assert slept.count(0) >= 9, slept


def test_freeze_stops_and_thaw_lets_go(pen: Pen) -> None:
    made = pen.create()
    pen.start(made, "sh", "-c", BUSY)
    settled(made, 1)
    assert not cgroup.frozen(made)
    cgroup.freeze(made)
    assert cgroup.frozen(made)
    assert stopped(made)
    before = cpu_ns(made)
    cgroup.thaw(made)
    assert not cgroup.frozen(made)
    wait_for(lambda: cpu_ns(made) > before)


def test_freezing_what_forks_all_the_time(pen: Pen) -> None:
    made = pen.create({"pids": {"limit": 30}})
    pen.python(made, BOMB)
    settled(made, 30)
    cgroup.freeze(made)
    assert stopped(made)


def test_what_is_frozen_is_killed_all_the_same(pen: Pen) -> None:
    made = pen.create()
    pid = pen.start(made, "sh", "-c", BUSY)
    settled(made, 1)
    cgroup.freeze(made)
    assert cgroup.kill_all(made)
    assert pen.wait(pid) == -signal.SIGKILL
    assert not cgroup.frozen(made)


@pytest.mark.parametrize("at_once", [True, False], ids=["as it is", "without cgroup.kill"])
def test_a_fork_bomb_does_not_outrun_the_kill(
    pen: Pen, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    made = pen.create({"pids": {"limit": 60}})
    pid = pen.python(made, BOMB)
    assert len(settled(made, 60)) == 60
    if not at_once:
        monkeypatch.setattr("engine.kernel.cgroup2.kill", lambda directory: False)
    assert cgroup.kill_all(made, 20)
    assert pen.wait(pid) == -signal.SIGKILL
    assert not cgroup.populated(made)


def test_cgroups_made_inside_are_ended_and_removed_too(pen: Pen) -> None:
    made = pen.create()
    inner = [f"{place}/a/b" for place in made.places if os.path.exists(place) and "cpuset" not in place]
    for directory in inner:
        os.makedirs(directory)
    pid = pen.start(made, "sleep", "60")
    settled(made, 1)
    for directory in inner:
        cgroupfs.write(f"{directory}/cgroup.procs", str(pid))
    assert cgroup.procs(made) == [pid]
    assert cgroup.kill_all(made)
    pen.wait(pid)
    cgroup.remove(made)
    assert not any(map(os.path.exists, made.places))


def test_remove_waits_for_a_process_that_is_just_ending(pen: Pen) -> None:
    made = pen.create()
    # Freeing this much keeps the process in its cgroup for a while after the signal.
    pid = pen.python(made, "import time; x = b'x' * (150 << 20); time.sleep(60)")
    settled(made, 1)
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    cgroup.remove(made)
    assert pen.wait(pid) == -signal.SIGKILL
    assert not any(map(os.path.exists, made.places))


def test_remove_refuses_what_is_in_use_and_kills_nothing(pen: Pen) -> None:
    made = pen.create()
    pid = pen.start(made, "sleep", "60")
    settled(made, 1)
    with pytest.raises(errors.InUseError, match=str(pid)):
        cgroup.remove(made, 0.05)
    assert cgroup.procs(made) == [pid]


def test_remove_takes_the_empty_parent_and_no_other(pen: Pen) -> None:
    one, two = pen.create(), pen.create()
    parents = [os.path.dirname(place) for place in one.places if os.path.exists(place)]
    cgroup.remove(one)
    assert all(map(os.path.exists, parents))
    cgroup.remove(two)
    assert not any(map(os.path.exists, parents))
    cgroup.remove(two)  # nothing is left to be done


def test_what_a_killed_monitor_left_is_made_anew(pen: Pen) -> None:
    made = pen.create({"pids": {"limit": 5}}, name="again")
    assert value(made, "pids.max", "pids.max") == "5"
    assert value(pen.create(name="again"), "pids.max", "pids.max") == "max"


def test_one_in_use_is_not_taken_over(pen: Pen) -> None:
    made = pen.create({"pids": {"limit": 5}}, name="taken")
    pid = pen.start(made, "sleep", "60")
    settled(made, 1)
    with pytest.raises(errors.ConflictError):
        pen.create({"pids": {"limit": 7}}, name="taken")
    assert cgroup.procs(made) == [pid]
    assert value(made, "pids.max", "pids.max") == "5"


def test_nothing_is_left_of_one_that_could_not_be_made(pen: Pen) -> None:
    with pytest.raises(errors.UsageError):
        pen.create({"cpu": {"quota": 1, "period": 100000}})
    where = cgroup.locate(f"{pen.parent}/1", cgroup.detect())
    assert not any(os.path.exists(os.path.dirname(place)) for place in where.places)


def test_entering_what_has_gone(pen: Pen) -> None:
    made = pen.create()
    cgroup.remove(made)
    with pytest.raises(errors.NotFoundError):
        cgroup.entrances(made)
    with pytest.raises(errors.NotFoundError):
        cgroup.freeze(made)
    assert cgroup.into_cgroup(made) is None
    assert cgroup.procs(made) == []
    assert cgroup.oom_kills(made) == 0
    assert not cgroup.frozen(made)
    assert cgroup.kill_all(made)


MANY = """
import sys
from engine.kernel import cgroup
for turn in range(25):
    made = cgroup.create(f"{sys.argv[1]}/{sys.argv[2]}-{turn}", {"pids": {"limit": 9}})
    cgroup.remove(made)
"""


def test_several_processes_make_and_remove_below_one_parent(pen: Pen) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, pen.parent, str(number)], stderr=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    for each in running:
        _, complaints = each.communicate(timeout=60)
        assert each.returncode == 0, complaints
