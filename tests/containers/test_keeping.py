"""Keepers, the lean processes to which running containers are handed over: what they have and do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.containers.foreground import Streams
from engine.engine import Engine
from engine.kernel import identity
from engine.model import Health, LaunchOptions
from tests.containers.test_crashes import monitor_of
from tests.support.captures import kill_first, wait_for
from tests.support.roots import environment
from tests.support.traces import Root

pytestmark = pytest.mark.kernel

MOST_KIB = 2048
"""Of what a keeper shares with nobody; a process that has done a launch has half as much again at once."""


@pytest.fixture
def launching(engine: Engine) -> Iterator[Engine]:
    with Engine(engine.root, cgroup_parent=engine.cgroup_parent, launcher=True) as made:
        yield made


def private_kib(pid: int) -> int:
    """KiB of the process that nobody else has (proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def command_name(pid: int) -> str:
    """Empty for a process that has just gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kept(engine: Engine, *argv: str, **options: object) -> tuple[str, int]:
    """A container that has been handed over, and its keeper."""
    made = engine.containers.run(LaunchOptions("starter", argv, **options))  # type: ignore[arg-type]
    keeper = monitor_of(engine, made.id)
    pid = made.pid
    assert pid is not None
    wait_for(lambda: parent_of(pid) == keeper)
    return made.id, keeper


def test_it_has_little_for_itself(launching: Engine, root: Root) -> None:
    name, keeper = kept(launching, "sh", "-c", "sleep 1.5; seq 1 150000; exec sleep 1000", interactive=True)
    assert private_kib(keeper) < MOST_KIB
    wait_for(lambda: sum(1 for _ in launching.containers.logs(name)) == 150000)
    assert private_kib(keeper) < MOST_KIB
    words = [sys.executable, "-m", "engine.cli", "attach", name]
    before = len(os.listdir(f"/proc/{keeper}/fd"))
    with subprocess.Popen(words, env=environment(root), stdin=subprocess.PIPE) as watching:
        wait_for(lambda: len(os.listdir(f"/proc/{keeper}/fd")) > before)
        watching.kill()
    wait_for(lambda: len(os.listdir(f"/proc/{keeper}/fd")) == before)
    assert private_kib(keeper) < MOST_KIB


def test_whoever_has_health_checked_has_little_for_itself(launching: Engine) -> None:
    """What a check touches goes with it."""
    checks = Health(("true",), interval_s=0.1, timeout_s=30, retries=3)
    name, keeper = kept(launching, "sleep", "1000", health=checks)
    paths = launching.store.layout.container(name)
    (checker,) = [pid for pid in children(keeper) if command_name(pid) == "cowl-health"]
    for _ in range(5):
        before = Path(paths.health).read_text()
        wait_for(lambda before=before: Path(paths.health).read_text() != before)
    assert launching.containers.get(name).health == "healthy"
    assert private_kib(checker) < MOST_KIB
    assert private_kib(keeper) < MOST_KIB
    launching.containers.stop(name, timeout=0)
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in (keeper, checker)))


def test_checkers_of_short_runs_are_reaped(launching: Engine) -> None:
    """They are the keeper's children, but it has not been handed those runs."""
    checks = Health(("true",), interval_s=0.1, timeout_s=30, retries=3)
    options = LaunchOptions("starter", ("sh", "-c", "sleep 0.2; exit 1"), health=checks, restart="always")
    name = launching.containers.run(options).id
    keeper = monitor_of(launching, name)
    wait_for(lambda: launching.containers.get(name).restarts >= 4)
    wait_for(lambda: [command_name(pid) for pid in children(keeper)].count("cowl-health") <= 1)
    launching.containers.stop(name, timeout=0)
    wait_for(lambda: not os.path.exists(f"/proc/{keeper}"))


def test_streams_exit_and_log_go_on(launching: Engine) -> None:
    script = "printf begun; read line; echo $line; exit 4"
    name, _ = kept(launching, "sh", "-c", script, interactive=True)
    (reading, writing), (answers, told) = os.pipe(), os.pipe()
    os.write(writing, b"a word\n")
    os.close(writing)
    assert launching.containers.attach(name, streams=Streams(reading, told, told)) == 4
    os.close(told)
    assert os.read(answers, 100) == b"a word\n"
    for descriptor in (reading, answers):
        os.close(descriptor)
    assert launching.containers.wait(name) == 4
    assert [line.text for line in launching.containers.logs(name)] == ["beguna word"]


def test_it_stays_over_further_runs(launching: Engine) -> None:
    name, keeper = kept(launching, "sleep", "1000", restart="always")
    descriptors = len(os.listdir(f"/proc/{keeper}/fd"))
    for restarts in (1, 2):
        kill_first(launching, name)
        wait_for(lambda restarts=restarts: launching.containers.get(name).restarts == restarts)
        wait_for(lambda: launching.containers.get(name).state == "running")
        pid = launching.containers.get(name).pid
        assert monitor_of(launching, name) == keeper
        wait_for(lambda pid=pid: parent_of(pid) == keeper)
        wait_for(lambda: len(os.listdir(f"/proc/{keeper}/fd")) == descriptors)
        wait_for(lambda pid=pid: children(keeper) == [pid])
        assert private_kib(keeper) < MOST_KIB
    launching.containers.stop(name, timeout=0)
    wait_for(lambda: not os.path.exists(f"/proc/{keeper}"))


@pytest.mark.parametrize("half", ["keeper", "starter"])
def test_neither_outlives_the_other_before(launching: Engine, half: str) -> None:
    name = launching.containers.run(LaunchOptions("starter", ("sleep", "1000"))).id
    keeper = monitor_of(launching, name)
    (starter,) = children(keeper)
    os.kill(keeper if half == "keeper" else starter, signal.SIGKILL)
    for pid in (keeper, starter):
        wait_for(lambda pid=pid: identity.start_time(pid) is None)
    found = launching.containers.get(name)
    assert (found.state, found.monitored) == ("running", False)


@pytest.mark.parametrize("point", ["handover.before", "handover.after-sending"])
def test_killed_while_handing_over(engine: Engine, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COWL_FAULT", point)
    with Engine(engine.root, cgroup_parent=engine.cgroup_parent, launcher=True) as made:
        name = made.containers.run(LaunchOptions("starter", ("sleep", "1000"))).id
        keeper = monitor_of(made, name)
        # Once it has reaped who was killed it goes as well, unless it had been given the container by then.
        wait_for(lambda: "cowl-monitor" not in map(command_name, children(keeper)))
        time.sleep(0.1)
        found = made.containers.get(name)
        kept_on = identity.start_time(keeper) is not None
        assert (found.state, found.monitored) == ("running", kept_on)
        assert not (kept_on and point == "handover.before")
        made.containers.kill(name)
        wait_for(lambda: made.containers.get(name).state == "exited")
        assert made.containers.get(name).exit_code == (137 if kept_on else None)


def test_a_killed_keeper_leaves_the_truth(launching: Engine) -> None:
    name, keeper = kept(launching, "sleep", "1000", restart="always")
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: not launching.containers.get(name).monitored)
    assert launching.containers.get(name).state == "running"
    launching.containers.kill(name)
    wait_for(lambda: launching.containers.get(name).state == "exited")
    assert launching.containers.get(name).exit_code is None


def children(pid: int) -> list[int]:
    """None of a process that has gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
