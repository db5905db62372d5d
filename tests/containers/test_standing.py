"""Launchers that stand by: found, used by those alike, gone when they are stale, dismissed, or not needed."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.containers import standing
from engine.engine import Engine
from engine.launch import rehearsal
from tests.containers.test_crashes import monitor_of
from tests.support.captures import kill_first, wait_for
from tests.support.roots import Run

pytestmark = pytest.mark.kernel


@pytest.fixture
def standing_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine with launchers as users have them, all dismissed at the end."""
    monkeypatch.delenv("COWL_LAUNCHER")
    os.makedirs(engine.store.layout.run, 0o700, exist_ok=True)
    yield engine
    standing.dismiss(engine.store.layout)


@pytest.fixture
def standing_cowl(standing_engine: Engine, cowl: Run) -> Run:
    """The command line with launchers as users have them."""
    return functools.partial(cowl, env={"COWL_LAUNCHER": "yes"})


def launchers(engine: Engine) -> list[str]:
    return sorted(path.name for path in Path(engine.store.layout.run).glob("launcher-*.sock"))


STANDING = 5
"""Launcher, server, nursery, and a monitor that stands by, in its two halves."""


def processes(engine: Engine) -> list[int]:
    """Launchers of the root, and what stands by with them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"stand('{engine.store.layout.run}".encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def pid_of(engine: Engine) -> int:
    """The process that listens; 0 if none does, or one takes another's place just now."""
    found = launchers(engine)
    if len(found) != 1:
        return 0
    [name] = found
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        if client.connect_ex(f"{engine.store.layout.run}/{name}"):
            return 0
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], "little")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def launcher_of(monitor: int) -> int:
    """Whose nursery has forked it."""
    return parent_of(parent_of(monitor))


def answers(engine: Engine) -> bool:
    """Whether a launcher takes this process's call."""
    called = standing.call(engine.store.layout)
    if called is not None:
        called.close()
    return called is not None


def begun(engine: Engine, cowl: Run) -> int:
    cowl("run", "--rm", "starter", "true")
    wait_for(lambda: pid_of(engine))  # it has a name before it listens
    return pid_of(engine)


def test_a_launch_begins_one_and_the_next_ones_use_it(standing_engine: Engine, standing_cowl: Run) -> None:
    pid = begun(standing_engine, standing_cowl)
    found = standing_cowl("run", "-d", "starter", "sleep", "100").stdout.strip()
    monitor = monitor_of(standing_engine, found)
    assert Path(f"/proc/{monitor}/comm").read_text() == "cowl-monitor\n"
    assert launcher_of(monitor) == pid
    assert standing_cowl("exec", found, "sh", "-c", "exit 5", check=False).returncode == 5
    done = standing_cowl("run", "--rm", "-i", "starter", "sh", "-c", "cat; exit 6", input="in", check=False)
    assert (done.returncode, done.stdout) == (6, "in")
    assert standing_cowl("stop", "-t", "0", found).stdout
    assert standing_cowl("start", found).stdout.strip() == found
    assert launcher_of(monitor_of(standing_engine, found)) == pid


def test_containers_outlive_it(standing_engine: Engine, standing_cowl: Run) -> None:
    pid = begun(standing_engine, standing_cowl)
    found = standing_cowl("run", "-d", "--restart", "always", "starter", "sleep", "100").stdout.strip()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
    assert standing_cowl("exec", found, "echo", "hi").stdout == "hi\n"  # by another
    kill_first(standing_engine, found)
    wait_for(lambda: standing_engine.containers.get(found).restarts == 1)
    wait_for(lambda: pid_of(standing_engine) not in (0, pid))


def test_who_stands_by_is_replaced(standing_engine: Engine, standing_cowl: Run) -> None:
    begun(standing_engine, standing_cowl)
    wait_for(lambda: len(processes(standing_engine)) == STANDING)
    for pid in processes(standing_engine):
        if Path(f"/proc/{pid}/comm").read_text() == "cowl-monitor\n":
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(processes(standing_engine)) == STANDING - 2)
    standing_cowl("run", "-d", "starter", "sleep", "100", check=True)
    wait_for(lambda: len(processes(standing_engine)) == STANDING + 1)  # with whoever looks after that one


@pytest.mark.parametrize("how", ["ulimit -n 512", "nice -n 5", "unshare -n", "unshare -m", "taskset 1"])
def test_it_stands_by_for_those_alike_alone(standing_engine: Engine, standing_cowl: Run, how: str) -> None:
    if how.startswith("taskset") and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("there is one processor")
    pid = begun(standing_engine, standing_cowl)
    assert os.environ.get("COWL_LAUNCHER") is None
    joint = "&&" if how.startswith("ulimit") else ""
    done = subprocess.run(
        ["sh", "-c", f"{how} {joint} {sys.executable} -m engine.cli run -d starter sleep 100"],
        env={**os.environ, "COWL_ROOT": standing_engine.root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert launcher_of(monitor_of(standing_engine, done.stdout.strip())) != pid
    # That one is dismissed: the root has one for those who came last.
    wait_for(lambda: pid_of(standing_engine) not in (0, pid))


def test_one_that_is_stale_starts_nothing(standing_engine: Engine, tmp_path: Path) -> None:
    layout = standing_engine.store.layout
    post = standing.Post(layout.run, "stale")
    assert post.take()
    module = tmp_path / "module.py"
    module.touch()
    post._sources.times[str(module)] = 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(f"{layout.run}/launcher-stale.sock")
        assert post.accept() == []
        assert client.recv(1) == b""
    assert post.listener is None
    assert launchers(standing_engine) == []


def test_there_is_one_at_a_time(standing_engine: Engine) -> None:
    run = standing_engine.store.layout.run
    first, second = standing.Post(run, "one"), standing.Post(run, "one")
    assert first.take()
    assert not second.take()
    first.leave()
    third = standing.Post(run, "one")
    assert third.take()
    third.leave()


def test_it_ends_when_nobody_comes(standing_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.containers import launcher

    post = standing.Post(standing_engine.store.layout.run, "idle")
    assert post.take()
    monkeypatch.setattr(post, "idle_ms", 50)
    pid = os.fork()
    if pid == 0:
        try:
            launcher._Desk(launcher.Nursery(rehearsal.sample()), [], post).serve()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert launchers(standing_engine) == []


def test_one_that_hangs_is_not_waited_for(standing_engine: Engine, standing_cowl: Run) -> None:
    pid = begun(standing_engine, standing_cowl)
    wait_for(lambda: len(processes(standing_engine)) == STANDING)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert standing_cowl("run", "--rm", "starter", "echo", "hi").stdout == "hi\n"
        # A second one finds the place taken.
        wait_for(lambda: len(processes(standing_engine)) == STANDING)
    finally:
        os.kill(pid, signal.SIGCONT)
    # It goes on: it might only have been slow.
    wait_for(lambda: answers(standing_engine))
    assert pid_of(standing_engine) == pid


def test_it_holds_nothing_of_the_one_that_began_it(standing_engine: Engine) -> None:
    """Not its pipes, for whose end somebody waits; not its other files, which may be locks."""
    done = subprocess.run(
        ["sh", "-c", f"exec 9>/dev/null; {sys.executable} -m engine.cli run --rm starter echo hi | cat"],
        env={**os.environ, "COWL_ROOT": standing_engine.root},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "hi\n"
    wait_for(lambda: pid_of(standing_engine))
    held = Path(f"/proc/{pid_of(standing_engine)}/fd")
    assert [os.readlink(held / str(number)) for number in range(3)] == ["/dev/null"] * 3
    assert not (held / "9").is_symlink() or not os.readlink(held / "9").startswith("/dev/null")


def test_none_is_begun_where_that_is_not_wanted(standing_engine: Engine, cowl: Run) -> None:
    cowl("run", "--rm", "starter", "true", env={"COWL_LAUNCHER": "no"})
    time.sleep(0.3)
    assert launchers(standing_engine) == []


def test_dismissing(standing_engine: Engine, standing_cowl: Run) -> None:
    pid = begun(standing_engine, standing_cowl)
    standing.dismiss(standing_engine.store.layout)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
    assert launchers(standing_engine) == []
