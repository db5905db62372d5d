"""What goes wrong in processes that nobody hears is kept, shown, and loses no container's end."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers import attach, monitor, state
from engine.engine import Engine
from engine.errors import LaunchError
from engine.launch import request
from engine.model import Health, LaunchOptions
from engine.store import failures
from engine.store.layout import ContainerPaths
from tests.containers.test_crashes import kill_monitor, monitor_of
from tests.containers.test_keeping import command_name, kept
from tests.support import roots
from tests.support.captures import UNTIL_TOLD, kill_first, start, tell, wait_for
from tests.support.roots import Run
from tests.support.traces import Root, find

HERE = Path(__file__).parents[2]


@pytest.fixture
def paths(tmp_path: Path) -> ContainerPaths:
    for name in ("home", "run"):
        (tmp_path / name).mkdir()
    return ContainerPaths(str(tmp_path / "home"), str(tmp_path / "run"))


def fail(paths: ContainerPaths, text: str, process: str = failures.MONITOR) -> None:
    with failures.Enduring(paths, process):
        raise ValueError(text)


def test_what_is_kept_can_be_read(paths: ContainerPaths) -> None:
    assert failures.read(paths) == []
    fail(paths, "one\nline")
    fail(paths, "two", failures.HEALTH)
    first, second = failures.read(paths)
    assert (first.process, first.error, first.pid) == ("monitor", "ValueError: one line", os.getpid())
    assert (second.process, second.error) == ("health", "ValueError: two")
    assert f'File "{__file__}", line ' in first.traceback
    assert first.traceback.endswith("in fail\nValueError: one\nline")
    failures.clear(paths)
    assert failures.read(paths) == []


def test_a_cause_is_told_too(paths: ContainerPaths) -> None:
    with failures.Enduring(paths):
        try:
            raise KeyError("within")
        except KeyError as error:
            raise OSError(28, "No space left on device", "/some/file") from error
    (found,) = failures.read(paths)
    assert found.error == "No space left on device: /some/file"
    assert found.traceback.index("KeyError: 'within'") < found.traceback.index("OSError: [Errno 28]")


def test_it_is_bounded(paths: ContainerPaths) -> None:
    for number in range(200):
        fail(paths, f"{number} " + "x" * 10_000)
    assert os.path.getsize(paths.failures) <= failures.MAX_SIZE
    assert failures.read(paths)[-1].error.startswith("ValueError: 199 x")


def test_where_the_first_place_cannot_be_had_the_other_is(paths: ContainerPaths) -> None:
    os.mkdir(paths.failures)
    fail(paths, "lost?")
    os.rmdir(paths.failures)
    assert [each.error for each in failures.read(paths)] == ["ValueError: lost?"]
    os.rmdir(paths.home)
    for name in os.listdir(paths.run):
        os.unlink(f"{paths.run}/{name}")
    os.rmdir(paths.run)
    fail(paths, "nowhere")  # and nothing is raised


@given(st.binary())
def test_anything_may_be_in_the_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "failures").write_bytes(data)
    paths = ContainerPaths(str(home), str(home / "run"))
    fail(paths, "after")
    assert failures.read(paths)[-1].error == "ValueError: after"


def told(root: Root, case: str) -> list[dict[str, Any]]:
    """See `tests.faults.small`."""
    words = ["unshare", "-m", "--propagation", "private", sys.executable, "-m", "tests.faults.small"]
    done = subprocess.run(
        [*words, root.path, case],
        cwd=HERE,
        env=roots.environment(root),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.kernel
def test_without_room_the_end_is_recorded_and_the_log_is_said_to_lack_something(starter_images: Root) -> None:
    running, ended, again = told(starter_images, "room")
    assert (running["state"], running["error"]) == ("running", "log incomplete: No space left on device")
    assert [each["process"] for each in running["failures"]] == ["log"]
    assert (ended["state"], ended["exit_code"], ended["error"]) == ("exited", 3, "")
    assert ended["failures"] == running["failures"]
    assert (again["state"], again["error"], again["failures"]) == ("running", "", [])


@pytest.mark.kernel
def test_an_end_that_cannot_be_recorded_is_told_as_the_cause(starter_images: Root) -> None:
    for found in told(starter_images, "right"):
        assert (found["state"], found["exit_code"]) == ("exited", None)
        assert found["error"] == (
            "monitor lost: it ended with 3, which cannot be recorded (Read-only file system); "
            "its exit code is unknown"
        )
        assert "in overwrite_document" in found["failures"][-1]["traceback"]


@pytest.fixture
def launching(engine: Engine) -> Iterator[Engine]:
    with Engine(engine.root, cgroup_parent=engine.cgroup_parent, launcher=True) as made:
        yield made


def causes(engine: Engine, name: str) -> list[str]:
    return [f"{each['process']}: {each['error']}" for each in engine.containers.inspect(name)["failures"]]


@pytest.mark.kernel
def test_a_policy_that_nobody_can_read(engine: Engine, root: Root) -> None:
    name = start(engine, "sh", "-c", f"{UNTIL_TOLD}; exit 5")
    Path(root.layout.container(name).policy).write_bytes(b"\xff")
    tell(engine, name)
    assert engine.containers.wait(name) == 5
    wait_for(lambda: causes(engine, name))
    assert causes(engine, name)[0].startswith("monitor: UnicodeDecodeError")
    wait_for(lambda: not state.is_monitored(root.layout.container(name)))
    engine.containers.start(name)
    assert causes(engine, name) == []
    engine.containers.kill(name)


@pytest.mark.kernel
def test_a_further_run_that_cannot_be_planned(launching: Engine, root: Root) -> None:
    name, _ = kept(launching, "sleep", "1000", restart="always")
    paths = root.layout.container(name)
    config = Path(paths.config).read_bytes()
    Path(paths.config).write_bytes(config[: len(config) // 2])
    kill_first(launching, name)
    wait_for(lambda: not state.is_monitored(paths))
    Path(paths.config).write_bytes(config)
    assert launching.containers.get(name).exit_code == 137
    assert state.read_document(paths.exit)["restarting"] is False  # type: ignore[index]
    assert causes(launching, name)[0].startswith("monitor: JSONDecodeError")


def unread(pid: int) -> int:
    """Bytes in the pipe that is the output of *pid* (FIONREAD, pipe(7))."""
    descriptor = os.open(f"/proc/{pid}/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]
    finally:
        os.close(descriptor)


@pytest.mark.kernel
def test_a_keeper_without_memory_sees_the_end(launching: Engine, root: Root, cowl: Run) -> None:
    """It can carry no more what the container says, and neither blocks nor ends it by that."""
    wait = "until test -e {}; do sleep 0.05; done"
    script = f"{wait.format('/go')}; seq 1 20000; >/said; {wait.format('/end')}; seq 1 1000; exit 7"
    name, keeper = kept(launching, "sh", "-c", script)
    first = launching.containers.get(name).pid
    assert first
    with attach.connect(root.layout.container(name), name) as channel:
        channel.recv(request.MAX_PACKET)
        resource.prlimit(keeper, resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))
        assert launching.containers.exec(name, ["touch", "/go"]) == 0
        wait_for(lambda: causes(launching, name))
        assert causes(launching, name) == ["monitor: MemoryError"]
        wait_for(lambda: Path(root.layout.container(name).upper, "said").exists() and not unread(first))
        os.kill(keeper, signal.SIGSTOP)  # it will meet the end and what was said last at once
        assert launching.containers.exec(name, ["touch", "/end"]) == 0
        wait_for(lambda: Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        os.kill(keeper, signal.SIGCONT)
        kinds = []
        while (packet := channel.recv(request.MAX_PACKET)) and packet[:1] != request.EXITED:
            kinds.append(packet[:1])
        assert (kinds, json.loads(packet[1:])["exit_code"]) == ([request.STDERR], 7)
    assert launching.containers.wait(name) == 7


@pytest.mark.kernel
def test_a_keeper_that_has_no_room_for_what_it_is_handed_leaves_it(launching: Engine, root: Root) -> None:
    options = LaunchOptions(
        "starter", ("sh", "-c", "read line; exit 6"), interactive=True, restart="on-failure:1"
    )
    name = launching.containers.run(options).id
    keeper = monitor_of(launching, name)
    wait_for(lambda: command_name(keeper) == "cowl-monitor")  # then it has let go of what it began with
    limit = len(os.listdir(f"/proc/{keeper}/fd")) + 2
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (limit, limit))
    for run in range(2):
        time.sleep(monitor.SETTLED_S + 0.3)  # then it would be handed over
        wait_for(lambda: causes(launching, name))
        found = launching.containers.get(name)
        assert (found.state, found.monitored) == ("running", True)
        with attach.connect(root.layout.container(name), name) as channel:
            channel.recv(request.MAX_PACKET)
            channel.send(request.STDIN + b"end\n")
            channel.send(request.QUIET)
            while packet := channel.receive(request.MAX_PACKET):  # until it has heard of the end
                if packet[:1] == request.EXITED:
                    break
        wait_for(lambda run=run: run or launching.containers.get(name).pid)
    found = launching.containers.get(name)
    assert (found.state, found.exit_code, found.restarts) == ("exited", 6, 1)
    assert [each.partition(" (")[0] for each in causes(launching, name)] == [
        "handover: its keeper did not take it"
    ]


@pytest.mark.kernel
def test_a_keeper_that_can_open_nothing_more(launching: Engine, root: Root) -> None:
    """It has no room for the channel to a process that would go on for it."""
    name, keeper = kept(launching, "sleep", "1000", restart="always")
    limit = len(os.listdir(f"/proc/{keeper}/fd")) - 1  # the container's two outputs will have gone
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (limit, limit))
    kill_first(launching, name)
    wait_for(lambda: not state.is_monitored(root.layout.container(name)))
    found = launching.containers.get(name)
    assert (found.state, found.restarts) == ("exited", 1)
    assert "Too many open files" in found.error
    assert causes(launching, name)[0] == "monitor: Too many open files"
    assert not find(root).cgroups


@pytest.mark.kernel
@pytest.mark.parametrize("launcher", [False, True])
def test_a_start_that_meets_a_defect_says_so(engine: Engine, root: Root, launcher: bool) -> None:
    with Engine(engine.root, cgroup_parent=engine.cgroup_parent, launcher=launcher) as other:
        name = other.containers.create(LaunchOptions("starter", ("true",))).id
        config = Path(root.layout.container(name).config)
        whole = config.read_bytes()
        config.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(LaunchError, match=r"a defect in cowl: JSONDecodeError: .*, in \w+\.py:\d+"):
            other.containers.start(name)
        config.write_bytes(whole)
        assert causes(other, name)[0].startswith("monitor: JSONDecodeError")
        left = find(root)
        assert not (left.cgroups or left.mounts)


@pytest.mark.kernel
def test_an_exec_that_meets_a_defect_says_so(engine: Engine, root: Root) -> None:
    name = start(engine)
    _edit(root.layout.container(name), lambda spec: spec["process"].update(rlimits=5))
    with pytest.raises(LaunchError, match=r"a defect in cowl: TypeError: .*, in \w+\.py:\d+"):
        engine.containers.exec(name, ["true"])


def _edit(paths: ContainerPaths, change: Any) -> None:
    spec = json.loads(Path(paths.config).read_bytes())
    change(spec)
    Path(paths.config).write_text(json.dumps(spec))


@pytest.mark.kernel
def test_health_checks_that_end(engine: Engine, root: Root) -> None:
    health = Health(("true",), interval_s=0.1, timeout_s=5, retries=2)
    name = start(engine, "sleep", "1000", health=health)
    paths = root.layout.container(name)
    record = Path(paths.state).read_bytes()
    Path(paths.state).write_bytes(b"{")
    wait_for(lambda: failures.read(paths))
    Path(paths.state).write_bytes(record)
    assert engine.containers.get(name).error.startswith("health check failed: JSONDecodeError")
    engine.containers.stop(name, 0)
    assert engine.containers.get(name).exit_code == 137


@pytest.mark.kernel
def test_ps_says_why_there_is_no_monitor(engine: Engine, root: Root, cowl: Run) -> None:
    name = start(engine)
    kill_monitor(engine, name)
    assert "(monitor lost: it was killed)" in cowl("ps", check=True).stdout
    fail(root.layout.container(name), "what it met")
    assert "(monitor lost: ValueError: what it met)" in cowl("ps", check=True).stdout
    assert engine.containers.inspect(name)["error"] == "monitor lost: ValueError: what it met"


@pytest.mark.kernel
def test_a_keeper_that_has_no_room_for_a_client_lets_it_in_later(launching: Engine, root: Root) -> None:
    name, keeper = kept(launching, "sleep", "1000")
    limit = len(os.listdir(f"/proc/{keeper}/fd"))
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (limit, 1024))
    with attach.connect(root.layout.container(name), name) as channel:
        before = worked(keeper)
        time.sleep(2)
        assert worked(keeper) - before < 30  # of two seconds: it does not try without end
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, (1024, 1024))
        assert channel.recv(request.MAX_PACKET)[:1] == request.STARTED


def worked(pid: int) -> int:
    """Hundredths of a second of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
