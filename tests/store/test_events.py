"""Events: in order, whole, kept to a size, whoever writes them and however many do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.model import LaunchOptions
from engine.store import events
from engine.store.layout import Layout
from tests.support.captures import start, wait_for


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path), str(tmp_path / "run"))


def write(layout: Layout, writer: int, many: int) -> None:
    for number in range(many):
        events.record(layout, "container", "start", f"{writer}", "x" * 300, number=str(number))


def test_they_come_back_as_they_went(layout: Layout) -> None:
    events.record(layout, "container", "die", "abc", "tiny", exit_code="3")
    events.record(layout, "image", "tag", "sha256:1", "a:1")
    found = list(events.read(layout))
    assert [event[1:] for event in found] == [
        ("container", "die", "abc", "tiny", {"exit_code": "3"}),
        ("image", "tag", "sha256:1", "a:1", {}),
    ]
    assert list(events.read(layout, since=found[1].time)) == found[1:]
    assert list(events.read(layout, until=found[0].time)) == found[:1]


def test_a_torn_line_is_passed_over(layout: Layout) -> None:
    Path(layout.events).write_bytes(b'{"time": "2')
    with open(layout.events, "ab") as file:
        file.write(b'\n[1]\n{"time": 1}\n')
    events.record(layout, "image", "pull", "", "a:1")
    assert [event.action for event in events.read(layout)] == ["pull"]


def test_nobody_hears_of_a_full_disk() -> None:
    events.record(Layout("/proc/self/nowhere", "/proc/self/nowhere"), "image", "pull", "", "a:1")


def test_writers_and_renaming_lose_nothing(layout: Layout) -> None:
    """Four processes write more than all files hold, while a reader follows."""
    found: list[events.Event] = []
    done = threading.Event()
    reader = threading.Thread(
        target=lambda: found.extend(events.read(layout, follow=True, active=lambda: not done.is_set()))
    )
    reader.start()
    children = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                write(layout, writer, 2500)
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    done.set()
    reader.join()
    for writer in range(4):
        numbers = [int(event.attributes["number"]) for event in found if event.id == str(writer)]
        assert numbers == list(range(2500))
    kept = sorted(each.name for each in Path(layout.root).glob("events*"))
    assert kept == ["events", "events.1", "events.2", "events.3"]
    assert all(each.stat().st_size <= events.MAX_SIZE for each in Path(layout.root).glob("events*"))


def test_what_comes_before_the_last_rename_is_kept(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes finds the file whose turn is over, and waits; there is never none that it would make."""
    others: list[subprocess.Popen[bytes]] = []
    rename = os.rename
    code = (
        "import sys; from engine.store import events; from engine.store.layout import Layout;"
        "events.record(Layout(*sys.argv[1:]), 'image', 'pull', '', 'second')"
    )

    def meanwhile(source: str, target: str) -> None:
        if target == layout.events:
            other = subprocess.Popen([sys.executable, "-c", code, *layout])
            others.append(other)
            wait_for(lambda: other.poll() is not None or waits_for_a_lock(other.pid))
        rename(source, target)

    events.record(layout, "image", "pull", "", "full")
    monkeypatch.setattr(events, "MAX_SIZE", os.stat(layout.events).st_size + 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", meanwhile)
        events.record(layout, "image", "pull", "", "first")
    assert [other.wait(60) for other in others] == [0]
    assert {event.name for event in events.read(layout)} == {"full", "first", "second"}


def test_a_line_that_is_longer_than_a_file_is_written(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_SIZE", 10)
    events.record(layout, "image", "pull", "", "long")
    assert [event.name for event in events.read(layout)] == ["long"]


def waits_for_a_lock(pid: int) -> bool:
    """Whether *pid* waits for another's flock(2) (proc_locks(5))."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in line and f" {pid} " in line for line in lines)


@pytest.mark.kernel
def test_the_life_of_a_container(engine: Engine) -> None:
    begun = [event.time for event in engine.events()]
    created = engine.containers.create(LaunchOptions("starter", ("sh", "-c", "exit 3"), name="tiny"))
    engine.containers.start("tiny")
    engine.containers.wait("tiny")
    engine.containers.rename("tiny", "other")
    engine.containers.remove("other")
    found = list(engine.events())[len(begun) :]
    assert [(event.type, event.action, event.name) for event in found] == [
        ("container", "create", "tiny"),
        ("container", "start", "tiny"),
        ("container", "die", "tiny"),
        ("container", "rename", "other"),
        ("container", "destroy", "other"),
    ]
    assert {event.id for event in found} == {created.id}
    assert found[2].attributes == {"exit_code": "3"}


@pytest.mark.kernel
def test_ends_by_others_and_images(engine: Engine) -> None:
    name = start(engine, "sleep", "100")
    engine.containers.pause(name)
    engine.containers.unpause(name)
    engine.containers.exec(name, ["true"])
    engine.changes.commit(name, "mine:1")
    engine.images.tag("mine:1", "mine:2")
    engine.containers.stop(name, 0)
    engine.images.remove(["mine:2", "mine:1"])
    wait_for(lambda: [event for event in engine.events() if event.action == "die"])
    actions = [(event.type, event.action) for event in engine.events() if event.name != "starter:latest"]
    assert [action for kind, action in actions if kind == "container"] == [
        *("create", "start", "pause", "unpause", "exec_start", "commit", "kill", "die", "stop"),
    ]
    assert [action for kind, action in actions if kind == "image"][-5:] == [
        *("tag", "tag", "untag", "untag", "delete"),
    ]
