"""Events: in order, whole, kept to a size, whoever writes them and however many do."""

from __future__ import annotations

import os
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
    reader.join(30)
    for writer in range(4):
        numbers = [int(event.attributes["number"]) for event in found if event.id == str(writer)]
        assert numbers == list(range(2500))
    kept = sorted(each.name for each in Path(layout.root).glob("events*"))
    assert kept == ["events", "events.1", "events.2", "events.3"]
    assert all(each.stat().st_size <= events.MAX_SIZE for each in Path(layout.root).glob("events*"))


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
