"""What could not clean up after itself goes at the next opening, and nothing else does."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from engine.containers import remains, state
from engine.engine import Engine
from engine.model import LaunchOptions, Volume
from engine.store import clock
from engine.store.layout import Layout
from tests.containers.test_crashes import kill_monitor
from tests.support import traces
from tests.support.captures import wait_for
from tests.support.roots import Run
from tests.support.traces import Root


def names(root: Root) -> list[str]:
    with Engine(root.path, cgroup_parent=root.cgroup_parent) as engine:
        return sorted(each.name for each in engine.containers.list())


def power_cut(root: Root, container_id: str) -> None:
    """The end of a monitor that sees no other."""
    running = state.read_document(root.layout.container(container_id).state)
    assert running is not None
    os.kill(running["monitor"], signal.SIGKILL)


@pytest.mark.kernel
def test_containers_that_were_to_go_by_themselves_are_gone_after_a_reboot(starter_images: Root) -> None:
    with Engine(starter_images.path, cgroup_parent=starter_images.cgroup_parent) as engine:
        for name, goes, volumes in (("goes", True, (Volume("", "/data"),)), ("stays", False, ())):
            options = LaunchOptions("starter", ("sleep", "100"), name=name, auto_remove=goes, volumes=volumes)
            engine.containers.run(options)
        engine.containers.create(LaunchOptions("starter", ("true",), name="new", auto_remove=True))
    volumes = starter_images.layout.volumes
    assert len(os.listdir(volumes)) == 1
    traces.turn_off(starter_images)
    assert names(starter_images) == ["new", "stays"]
    assert len(os.listdir(starter_images.layout.containers)) == 2
    assert os.listdir(volumes) == []
    with Engine(starter_images.path) as engine:
        gone = [each for each in engine.events() if (each.type, each.action) == ("container", "destroy")]
    assert [(each.name, each.attributes["reason"]) for each in gone] == [("goes", remains.UNATTENDED)]


@pytest.mark.kernel
def test_one_that_somebody_works_on_goes_at_the_opening_after_that(starter_images: Root) -> None:
    with Engine(starter_images.path, cgroup_parent=starter_images.cgroup_parent) as engine:
        options = LaunchOptions("starter", ("sleep", "100"), name="goes", auto_remove=True)
        home = starter_images.layout.container(engine.containers.run(options).id)
        power_cut(starter_images, os.path.basename(home.home))
    traces.turn_off(starter_images)
    with open(home.lock, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert names(starter_images) == ["goes"]
    assert names(starter_images) == []


@pytest.mark.kernel
def test_one_that_runs_stays_whatever_becomes_of_the_note(engine: Engine, cowl: Run, root: Root) -> None:
    engine.containers.run(LaunchOptions("starter", ("sleep", "100"), name="goes", auto_remove=True))
    os.unlink(root.layout.origin)
    assert cowl("ps", "-q", check=True).stdout.count("\n") == 1
    assert Path(root.layout.origin).read_text() == root.path


def end(engine: Engine, name: str) -> None:
    """Have the first process end by itself, whose monitor does not live."""
    pid = engine.containers.get(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: engine.containers.get(name).pid is None)


@pytest.mark.kernel
def test_one_whose_monitor_alone_was_killed_goes_when_somebody_looks(
    engine: Engine, cowl: Run, root: Root
) -> None:
    volume = (Volume("", "/data"),)
    for name, goes in (("goes", True), ("stays", False)):
        options = LaunchOptions("starter", ("sleep", "1000"), name=name, auto_remove=goes, volumes=volume)
        kill_monitor(engine, engine.containers.run(options).id)
    assert "monitor lost" in cowl("ps", check=True).stdout  # it runs on
    assert sorted(each.name for each in engine.containers.list()) == ["goes", "stays"]
    for name in ("goes", "stays"):
        end(engine, name)
    assert engine.containers.get("goes").state == "exited"
    assert cowl("ps", "-aq", check=True).stdout.count("\n") == 1
    assert [each.name for each in engine.containers.list()] == ["stays"]
    assert (len(os.listdir(root.layout.containers)), len(os.listdir(root.layout.volumes))) == (1, 1)
    engine.containers.remove("stays", volumes=True)
    assert not traces.settle(root)
    gone = [each for each in engine.events() if (each.type, each.action) == ("container", "destroy")]
    assert [(each.name, each.attributes.get("reason")) for each in gone] == [
        ("goes", remains.UNATTENDED),
        ("stays", None),
    ]


@pytest.mark.kernel
@pytest.mark.parametrize("word", ["stop", "kill"])
def test_one_without_a_monitor_goes_when_it_is_ended(engine: Engine, root: Root, word: str) -> None:
    options = LaunchOptions("starter", ("sleep", "1000"), name="goes", auto_remove=True, stop_timeout=0.1)
    kill_monitor(engine, engine.containers.run(options).id)
    getattr(engine.containers, word)("goes")
    assert os.listdir(root.layout.containers) == []
    assert not traces.settle(root)


@pytest.mark.kernel
def test_one_that_somebody_works_on_goes_when_somebody_looks_after_that(engine: Engine, root: Root) -> None:
    options = LaunchOptions("starter", ("sleep", "1000"), name="goes", auto_remove=True)
    kill_monitor(engine, engine.containers.run(options).id)
    end(engine, "goes")
    with open(root.layout.container(engine.containers.get("goes").id).lock, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert [each.state for each in engine.containers.list()] == ["exited"]
    assert engine.containers.list() == []


@pytest.mark.kernel
def test_one_whose_end_was_seen_is_left_for_a_while_to_whoever_saw_it(
    engine: Engine, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COWL_FAULT", "end.after-record")
    options = LaunchOptions("starter", ("true",), name="goes", auto_remove=True)
    paths = root.layout.container(engine.containers.run(options).id)
    wait_for(lambda: not state.is_monitored(paths))
    assert [each.exit_code for each in engine.containers.list()] == [0]
    ended = state.read_document(paths.exit)
    assert ended is not None
    state.write_document(paths.exit, ended | {"finished": clock.rfc3339(time.time_ns() - 11 * 10**9)})
    assert engine.containers.list() == []
    assert not traces.settle(root)


def runtime(root: str, base: str | None = None) -> str:
    """A run-time directory as an opening leaves it, of a root that is not there.

    It is beside others only without *base*: whoever opens a root just now may be first to find it there.
    """
    run = Layout.of(root).run
    if base is not None:
        run = os.path.join(base, os.path.basename(run))
    os.makedirs(f"{run}/id", 0o700)
    for name, text in (("root", root), ("revision", ""), ("id/monitor.lock", "")):
        Path(f"{run}/{name}").write_text(text)
    return run


def test_a_directory_whose_root_is_gone_goes(tmp_path: Path) -> None:
    run = runtime(str(tmp_path / "gone"), str(tmp_path / "base"))
    assert remains.sweep(*_divided(run)) == [run]
    assert not os.path.exists(run)


def test_one_whose_root_is_there_or_that_is_locked_stays(tmp_path: Path) -> None:
    run = runtime(str(tmp_path / "root"), str(tmp_path / "base"))
    (tmp_path / "root").mkdir()
    assert remains.sweep(*_divided(run)) == []
    (tmp_path / "root").rmdir()
    with open(f"{run}/id/monitor.lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remains.sweep(*_divided(run)) == []
    os.unlink(f"{run}/root")
    assert remains.sweep(*_divided(run)) == []
    assert os.path.exists(f"{run}/id/monitor.lock")


@pytest.mark.kernel
def test_one_with_a_container_without_a_monitor_stays(engine: Engine, root: Root, tmp_path: Path) -> None:
    started = engine.containers.run(LaunchOptions("starter", ("sleep", "100")))
    run = runtime(str(tmp_path / "gone"), str(tmp_path / "base"))
    shutil.copy(root.layout.container(started.id).state, f"{run}/id/state.json")
    assert remains.sweep(*_divided(run)) == []
    engine.containers.kill(started.id)
    assert remains.sweep(*_divided(run)) == [run]


def test_a_bounded_number_is_looked_at(tmp_path: Path) -> None:
    runs = [
        runtime(str(tmp_path / f"{number}"), str(tmp_path / "base")) for number in range(remains.MOST + 4)
    ]
    base, all_names = os.path.dirname(runs[0]), [os.path.basename(run) for run in runs]
    assert len(remains.sweep(base, all_names)) == remains.MOST
    while left := [name for name in all_names if os.path.exists(f"{base}/{name}")]:
        remains.sweep(base, left)


@pytest.mark.kernel
def test_whoever_opens_any_root_sweeps(cowl: Run, tmp_path: Path) -> None:
    run = runtime(str(tmp_path / "gone"))
    for _ in range(200):  # others may have more directories than are looked at at once
        cowl("ps", check=True)
        if not os.path.exists(run):
            return
    pytest.fail(f"{run} is still there")


def _divided(run: str) -> tuple[str, list[str]]:
    base, name = os.path.split(run)
    return base, [name]
