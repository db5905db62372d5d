"""kill -9 of each process that has a part in a container, at each step: rm cleans up, ps tells the truth."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from engine.containers import state
from engine.engine import Engine
from engine.errors import LaunchError
from engine.kernel import cgroup, process
from engine.model import LaunchOptions
from tests.support import roots
from tests.support.captures import UNTIL_TOLD, run, start, tell, wait_for
from tests.support.traces import Root, find, settle

pytestmark = pytest.mark.kernel

START_POINTS = (
    "start.after-cgroup",
    "start.after-fork",
    "start.after-record",
    "start.after-report",
    "end.before-record",
    "end.after-record",
    "end.after-cgroup",
)
REMOVE_POINTS = ("remove.before-record", "remove.after-record", "remove.after-rename")


def monitor_of(engine: Engine, container: str) -> int:
    paths = engine.store.layout.container(engine.containers.get(container).id)
    document = state.read_document(paths.state)
    assert document is not None
    return int(document["monitor"])


def kill_monitor(engine: Engine, container: str) -> None:
    pid = monitor_of(engine, container)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not engine.containers.get(container).monitored)


def test_a_container_outlives_its_monitor(engine: Engine, root: Root) -> None:
    name = start(engine)
    kill_monitor(engine, name)
    found = engine.containers.get(name)
    assert (found.state, found.monitored, found.exit_code) == ("running", False, None)
    assert engine.containers.exec(name, ["true"]) == 0
    engine.containers.remove(name, force=True)
    assert engine.containers.list() == []
    assert not settle(root)


def test_a_foreground_container_that_lost_its_monitor_can_be_removed(engine: Engine, root: Root) -> None:
    words = ["run", "--rm", "--name", "x", "starter", "sh", "-c", "echo up; sleep 1000"]
    with subprocess.Popen(
        [sys.executable, "-m", "engine.cli", *words],
        env=roots.environment(root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"up\n"
        kill_monitor(engine, "x")
        assert command.wait(60) == 125
    assert engine.containers.get("x").state == "running"
    engine.containers.remove("x", force=True)
    assert not settle(root)


def test_an_end_that_nobody_saw_is_said_so(engine: Engine, root: Root) -> None:
    name = start(engine)
    kill_monitor(engine, name)
    pid = engine.containers.get(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: engine.containers.get(name).state == "exited")
    found = engine.containers.get(name)
    assert (found.exit_code, found.error) == (None, state.UNKNOWN_END)
    assert engine.containers.wait(name) == state.UNKNOWN_EXIT_CODE
    engine.containers.start(name)
    assert engine.containers.get(name).state == "running"
    engine.containers.stop(name, timeout=0)
    assert engine.containers.get(name).exit_code == 137


def test_stop_works_without_a_monitor(engine: Engine, root: Root) -> None:
    name = start(engine)
    kill_monitor(engine, name)
    engine.containers.stop(name, timeout=0.1)
    assert engine.containers.get(name).state == "exited"
    assert not find(root).cgroups


def take_away(cgroups: list[str]) -> bool:
    """Remove the directories *cgroups*; False if the kernel is still busy with what was in one."""
    with contextlib.suppress(OSError):
        for place in cgroups:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(place)
        return True
    return False


@pytest.mark.parametrize("goes", [False, True], ids=["rm", "--rm"])
def test_parents_that_a_monitor_killed_among_its_cgroups_left(engine: Engine, root: Root, goes: bool) -> None:
    """The container's own are removed by then, or not made yet."""
    made = engine.containers.create(LaunchOptions("starter", ("sleep", "100"), auto_remove=goes))
    engine.containers.start(made.id)
    kill_monitor(engine, made.id)
    document = state.read_document(engine.store.layout.container(made.id).state)
    assert document is not None
    group = cgroup.Cgroup.from_json(document["cgroup"])
    cgroup.kill_all(group)
    parents = {os.path.dirname(place) for place in group.places if os.path.isdir(place)}
    assert parents
    wait_for(lambda: take_away(group.places))
    assert {*find(root).cgroups} == parents
    if goes:
        wait_for(lambda: engine.containers.list() == [])
    else:
        engine.containers.remove(made.id)
    assert not settle(root)


def test_after_a_reboot_nothing_runs(engine: Engine, root: Root) -> None:
    """Run-time files are gone, the store is not."""
    name = start(engine)
    kill_monitor(engine, name)
    paths = engine.store.layout.container(engine.containers.get(name).id)
    pid = engine.containers.get(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for entry in os.listdir(paths.run):
        os.unlink(f"{paths.run}/{entry}")
    os.rmdir(paths.run)
    found = engine.containers.get(name)
    assert (found.state, found.exit_code) == ("exited", None)


@pytest.mark.parametrize("point", START_POINTS)
def test_a_monitor_killed_at(engine: Engine, root: Root, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COWL_FAULT", point)
    made = engine.containers.create(LaunchOptions("starter", ("sh", "-c", "sleep 0.1")))
    try:
        engine.containers.start(made.id)
    except LaunchError:
        assert point.startswith("start.")
    monkeypatch.delenv("COWL_FAULT")
    wait_for(lambda: engine.containers.get(made.id).state in ("created", "exited"))
    found = engine.containers.get(made.id)
    if found.state == "exited" and found.exit_code is None:
        assert found.error == state.UNKNOWN_END
    engine.containers.start(made.id)
    assert engine.containers.wait(made.id) == 0
    engine.containers.remove(made.id)
    assert not settle(root)


@pytest.mark.parametrize("point", START_POINTS)
def test_rm_after_a_monitor_killed_at(
    engine: Engine, root: Root, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COWL_FAULT", point)
    made = engine.containers.create(LaunchOptions("starter", ("sleep", "0.1")))
    try:
        engine.containers.start(made.id)
    except LaunchError:
        assert point.startswith("start.")
    monkeypatch.delenv("COWL_FAULT")
    time.sleep(0.15)
    engine.containers.remove(made.id, force=True)
    assert not settle(root)
    assert os.listdir(root.layout.containers) == []


@pytest.mark.parametrize("point", REMOVE_POINTS)
def test_a_remover_killed_at(engine: Engine, root: Root, point: str) -> None:
    name = start(engine, "true", name="gone")
    engine.containers.wait(name)
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "rm", "gone"],
        env=roots.environment(root, {"COWL_FAULT": point}),
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL
    with Engine(root.path) as again:
        for container in again.containers.list():
            again.containers.remove(container.id)
        assert again.containers.list() == []
        assert os.listdir(root.layout.containers) == []
        assert run(again, "true").code == 0
    with Engine(root.path):
        assert os.listdir(root.layout.trash) == []
    assert not settle(root)


def test_a_container_outlives_its_launcher(engine: Engine) -> None:
    with Engine(engine.root, launcher=True) as other:
        name = start(other, "sh", "-c", "sleep 0.3; echo late; exit 8")
        launcher = other.containers._pad._launcher
        assert launcher is not None
        os.kill(launcher._pid, signal.SIGKILL)
        wait_for(lambda: process.start_time(launcher._pid) is None)
        assert run(other, "true").code == 0  # another launcher is started
    assert engine.containers.wait(name) == 8
    assert [line.text for line in engine.containers.logs(name)] == ["late"]


@pytest.mark.parametrize("removed", [False, True])
def test_a_container_outlives_the_command_that_started_it(engine: Engine, root: Root, removed: bool) -> None:
    options = ["--rm"] if removed else []
    command = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "engine.cli",
            "run",
            *options,
            "--name",
            "x",
            "starter",
            "sh",
            "-c",
            f"echo up; {UNTIL_TOLD}; exit 3",
        ],
        env=roots.environment(root),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == b"up\n"
    command.kill()
    command.wait()
    command.stdout.close()
    assert engine.containers.get("x").state == "running"
    tell(engine, "x")
    if removed:
        wait_for(lambda: not engine.containers.list())
    else:
        assert engine.containers.wait("x") == 3


def test_a_pid_of_somebody_else_is_not_killed(engine: Engine) -> None:
    """state.json names a number that another process has by now: it is left alone (runc#1934)."""
    name = start(engine)
    kill_monitor(engine, name)
    paths = engine.store.layout.container(engine.containers.get(name).id)
    document = state.read_document(paths.state)
    assert document is not None
    bystander = subprocess.Popen(["sleep", "100"])
    try:
        engine.containers.kill(name)
        state.write_document(paths.state, {**document, "pid": bystander.pid})
        assert engine.containers.get(name).state == "exited"
        engine.containers.remove(name, force=True)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_cgroup_left_behind_is_collected_by_the_next_start(engine: Engine, root: Root) -> None:
    made = engine.containers.create(LaunchOptions("starter", ("true",)))
    cgroup.create(engine.containers.inspect(made.id)["config"]["linux"]["cgroupsPath"])
    assert find(root).cgroups
    engine.containers.start(made.id)
    assert engine.containers.wait(made.id) == 0
