"""What two do in one moment: nobody hears what is not so, nothing is lost, nothing stays behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.containers import attach, finishing, logs, pump, removal, restarting, state
from engine.containers.logfile import LogFile
from engine.containers.pump import Pump
from engine.engine import Engine
from engine.errors import ConflictError, NotFoundError
from engine.kernel.channel import pair
from engine.launch import request
from engine.model import LaunchOptions
from tests.support import roots
from tests.support.captures import Outcome, capture, kill_first, start, wait_for
from tests.support.traces import Root, settle


class Held:
    """Monitors stop at a point of `finishing` until they are let go on; those that are forked from now on."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._there, self._on = place / "there", place / "on"

        def hold(point: str) -> None:
            if point == name:
                self._there.touch()
                wait_for(self._on.exists)

        monkeypatch.setattr(finishing, "point", hold)

    def wait(self) -> None:
        wait_for(self._there.exists)

    def let_go(self) -> None:
        self._on.touch()


@contextlib.contextmanager
def meanwhile(work: object) -> Iterator[threading.Thread]:
    """*work* in a thread of its own, which is waited for at the end."""
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    try:
        yield thread
    finally:
        thread.join(60)
        assert not thread.is_alive()


def users_of(path: str) -> int:
    """How many wait for the lock *path* or hold it, by their open files."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{descriptor}") == path
        except FileNotFoundError:
            continue
    return found


@pytest.mark.kernel
@pytest.mark.parametrize("word", ["stop", "kill"])
def test_one_whose_further_run_was_decided_on_has_ended_when_it_was_ended(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    held = Held(tmp_path, monkeypatch, "end.before-record")
    pause, called_off = restarting.pause, tmp_path / "pausing"

    def slow_pause(*arguments: object) -> bool:
        wait_for(called_off.exists)
        return pause(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(restarting, "pause", slow_pause)
    name = start(engine, restart="always")
    paths = engine.store.layout.container(name)
    kill_first(engine, name)
    held.wait()
    with meanwhile(lambda: getattr(engine.containers, word)(name)) as ending:
        wait_for(lambda: restarting.is_called_off(paths))
        held.let_go()
        wait_for(lambda: not os.path.exists(paths.state))
        assert engine.containers.get(name).state == "restarting"
        ending.join(0.3)
        assert ending.is_alive()
        called_off.touch()
    assert engine.containers.get(name).state == "exited"


@pytest.mark.kernel
def test_whoever_comes_when_it_ends_hears_how(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(tmp_path, monkeypatch, "end.after-record")
    name = start(engine, "sh", "-c", "read line; exit 5", interactive=True)
    paths = engine.store.layout.container(name)
    with attach.connect(paths, name) as first:
        first.send(request.STDIN + b"\n")
        held.wait()
        with attach.connect(paths, name) as second:
            held.let_go()
            kinds = []
            while packet := second.receive(request.MAX_PACKET):
                kinds.append(packet[:1])
    assert kinds == [request.STARTED, request.EXITED, request.CLEAN]


@pytest.mark.kernel
def test_the_end_is_heard_by_whoever_types_into_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells first that what was typed has not been read."""
    name = start(engine, "sh", "-c", "read line; exit 5", interactive=True)
    done: list[Outcome] = []

    def typed() -> None:
        # More than is read at once: the rest waits in the socket when it ends.
        with capture(b"\n" + b"x" * 400_000) as (streams, read):
            code = engine.containers.attach(name, streams=streams)
            done.append(Outcome(-1 if code is None else code, *read()))

    with meanwhile(typed):
        pass
    assert [each.code for each in done] == [5]


def test_a_packet_ahead_of_a_reset_is_received() -> None:
    ours, theirs = pair()
    with ours:
        ours.send(b"unread")
        theirs.send(b"the last")
        theirs.close()
        assert [ours.receive(100) for _ in range(3)] == [b"the last", b"", b""]


@pytest.mark.kernel
def test_waiting_for_one_that_has_gone_by_itself(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look into the records and the call at its monitor it ends and is removed."""
    name = start(engine, "sh", "-c", "until test -e /go; do sleep 0.02; done", auto_remove=True)
    wait = attach.wait

    def late(paths: object) -> int | None:
        if engine.containers.list():
            engine.containers.exec(name, ["touch", "/go"])
        wait_for(lambda: not engine.containers.list())
        return wait(paths)  # type: ignore[arg-type]

    monkeypatch.setattr(attach, "wait", late)
    with pytest.raises(NotFoundError):
        engine.containers.wait(name)


def test_the_last_output_is_read_by_whoever_comes_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "DRAIN_SECONDS", 0.0)
    reading, writing = os.pipe()
    kept, other = os.pipe()
    made = Pump(-1, LogFile(f"{tmp_path}/log"), None)
    for descriptor in (reading, kept):
        made.add_output(descriptor, b"stdout", request.STDOUT)
    os.write(writing, b"line\n" * 10_000)  # and whoever has the other end open writes no more
    made.drain()
    made.close_log()
    assert [line.text for line in logs.read(f"{tmp_path}/log")] == ["line"] * 10_000
    made.close()
    for descriptor in (writing, other):
        os.close(descriptor)


def test_one_who_writes_without_end_does_not_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "DRAIN_SECONDS", 0.0)
    made = Pump(-1, LogFile(f"{tmp_path}/log"), None)
    made.add_output(os.open("/dev/zero", os.O_RDONLY), b"stdout", request.STDOUT)
    made.drain()
    made.close_log()
    made.close()


@pytest.mark.kernel
def test_what_is_written_while_it_is_removed_goes_too(engine: Engine, root: Root) -> None:
    """As by a health check that hears just then of its end."""
    for _ in range(5):
        name = engine.containers.create(LaunchOptions("starter", ("true",))).id
        engine.containers.start(name)
        engine.containers.wait(name)
        paths = engine.store.layout.container(name)

        done = threading.Event()

        def write(path: str = paths.health, done: threading.Event = done) -> None:
            while not done.is_set():
                with contextlib.suppress(FileNotFoundError):
                    state.write_document(path, {})

        with meanwhile(write):
            wait_for(lambda path=paths.health: os.path.exists(path))
            try:
                engine.containers.remove(name, force=True)
            finally:
                done.set()
        assert not os.path.exists(paths.run)


@pytest.mark.kernel
def test_one_that_is_removed_first_is_not_started(engine: Engine, root: Root) -> None:
    name = engine.containers.create(LaunchOptions("starter", ("true",))).id
    paths = engine.store.layout.container(name)
    errors: list[BaseException] = []

    def begin() -> None:
        try:
            engine.containers.start(name)
        except NotFoundError as error:
            errors.append(error)

    with open(paths.lock, "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with meanwhile(begin):
            wait_for(lambda: users_of(paths.lock) == 2)
            removal.erase(engine.store.layout, engine.store.freeing(), name)
            fcntl.flock(lock, fcntl.LOCK_UN)
    assert "just been removed" in str(errors)
    assert not settle(root)


STARTS = """
import sys
from pathlib import Path
from engine.containers import starting
from engine.engine import Engine
from tests.support.captures import wait_for
there, on = map(Path, sys.argv[2:])
def hold(point):
    if point == "start.after-cgroup":
        there.touch()
        wait_for(on.exists)
starting.point = hold
with Engine() as engine:
    engine.containers.start(sys.argv[1])
"""


@pytest.mark.kernel
@pytest.mark.parametrize("word", ["remove", "start"])
def test_one_that_is_being_started_though_whoever_wanted_that_was_killed(
    engine: Engine, root: Root, tmp_path: Path, word: str
) -> None:
    name = engine.containers.create(LaunchOptions("starter", ("sleep", "1000"))).id
    there, on = tmp_path / "there", tmp_path / "on"
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, name, str(there), str(on)], env=roots.environment(root)
    ) as caller:
        wait_for(there.exists)
        caller.kill()
    refused: list[BaseException] = []

    def work() -> None:
        try:
            engine.containers.remove(name, force=True) if word == "remove" else engine.containers.start(name)
        except ConflictError as error:
            refused.append(error)

    with meanwhile(work) as thread:
        thread.join(0.3)
        assert thread.is_alive()
        on.touch()
    if word == "remove":
        assert (engine.containers.list(), refused) == ([], [])
        assert not settle(root)
    else:
        assert "running already" in str(refused)


@pytest.mark.kernel
def test_one_that_is_removed_twice_is_gone(engine: Engine, root: Root) -> None:
    name = start(engine)
    paths = engine.store.layout.container(name)
    with open(paths.lock, "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine.containers.kill(name)
        with meanwhile(lambda: engine.containers.remove(name, force=True)):
            wait_for(lambda: users_of(paths.lock) == 2)
            removal.erase(engine.store.layout, engine.store.freeing(), name)
            fcntl.flock(lock, fcntl.LOCK_UN)
    assert not settle(root)
