"""What follows the selection: nothing twice, nothing forgotten, and no container that talks more than all."""

from __future__ import annotations

import os
import signal

import pytest
from textual.message import Message

from engine import Engine
from engine.model import LaunchOptions, LogLine
from tests.containers.test_crashes import kill_monitor
from tests.support.captures import start, wait_for
from tui.forest_rows import container_key
from tui.messages import ChangesRead, LogsRead, StoreRead
from tui.watch import LEFT_OUT, LONGEST, TAIL, StoreWatch, Subject, SubjectWatch, shown

pytestmark = pytest.mark.kernel


class Looking:
    """A watch whose turns the test takes, and what it has told."""

    def __init__(self, engine: Engine) -> None:
        self.told: list[Message] = []
        self.watch = SubjectWatch(engine, self.told.append)

    def at(self, identity: str) -> None:
        self.watch.turn_to(Subject("container", identity, container_key(identity)))

    def turn(self) -> list[Message]:
        """What one turn tells."""
        self.told.clear()
        self.watch._turn()
        return list(self.told)

    def read(self) -> list[LogsRead]:
        return [each for each in self.turn() if isinstance(each, LogsRead)]


@pytest.fixture
def looking(engine: Engine) -> Looking:
    return Looking(engine)


def identity(engine: Engine, *command: str) -> str:
    return engine.containers.run(LaunchOptions("starter", command)).id


def said(engine: Engine, container: str) -> list[str]:
    return [line.text for line in engine.containers.logs(container)]


def test_lines_that_are_alike_are_told_once(engine: Engine, looking: Looking) -> None:
    container = identity(engine, "sh", "-c", r"printf 'a\na\na\n'; sleep 1000")
    wait_for(lambda: len(said(engine, container)) == 3)
    looking.at(container)
    (read,) = looking.read()
    assert [line.text for line in read.lines] == ["a", "a", "a"]
    assert read.anew
    assert looking.read() == []
    assert looking.read() == []


def test_a_line_that_has_no_end_yet_is_told_until_it_has(engine: Engine, looking: Looking) -> None:
    container = identity(engine, "sh", "-c", "printf 'password: '; sleep 1000")
    wait_for(lambda: said(engine, container))
    looking.at(container)
    (read,) = looking.read()
    assert (read.lines, [line.text for line in read.begun]) == ([], ["password: "])
    assert looking.read() == []
    engine.containers.kill(container)
    (read,) = looking.read()
    assert ([line.text for line in read.lines], read.begun, read.anew) == (["password: "], [], False)


def test_there_and_back_is_read_anew(engine: Engine, looking: Looking) -> None:
    one, two = (identity(engine, "sh", "-c", f"echo {name}; sleep 1000") for name in ("one", "two"))
    wait_for(lambda: said(engine, one))
    looking.at(one)
    looking.turn()
    looking.at(two)
    looking.at(one)
    changes, log = looking.turn()
    assert isinstance(changes, ChangesRead)
    assert isinstance(log, LogsRead)
    assert changes.fresh
    assert (log.anew, [line.text for line in log.lines]) == (True, ["one"])
    looking.at(one)
    assert looking.turn() == []


def test_whoever_talks_more_than_can_be_read_holds_nothing_up(engine: Engine, looking: Looking) -> None:
    container = identity(engine, "yes", "on and on")
    wait_for(lambda: len(said(engine, container)) > 2 * TAIL)
    looking.at(container)
    (first,) = looking.read()
    assert len(first.lines) > 0
    found: list[LogsRead] = []
    while not any(read.lines and read.lines[0].text == LEFT_OUT for read in found):
        found += looking.read()
    assert not any(read.anew for read in found), "whoever reads further up is left there"
    quiet = start(engine, "sh", "-c", "echo quiet; sleep 1000")
    looking.at(engine.containers.get(quiet).id)
    wait_for(lambda: said(engine, quiet))
    (read,) = looking.read()
    assert [line.text for line in read.lines] == ["quiet"]


def test_an_end_that_nobody_tells_is_seen(engine: Engine) -> None:
    told: list[Message] = []
    watch = StoreWatch(engine, told.append)
    container = identity(engine, "sleep", "1000")

    def states() -> list[str]:
        watch._due = 0.0
        watch._turn()
        return [each.containers[0].state for each in told if isinstance(each, StoreRead)]

    assert states() == ["running"]
    assert states() == ["running"], "nothing has changed"
    pid = engine.containers.get(container).pid
    assert pid is not None
    kill_monitor(engine, container)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: states()[-1] == "exited")
    assert states() == states()


def test_a_monitor_that_is_lost_is_seen_while_its_container_runs_on(engine: Engine) -> None:
    told: list[Message] = []
    watch = StoreWatch(engine, told.append)
    container = identity(engine, "sleep", "1000")

    def errors() -> list[str]:
        watch._untold_due = 0.0
        watch._turn()
        return [each.containers[0].error for each in told if isinstance(each, StoreRead)]

    assert errors() == [""]
    assert errors() == [""], "nothing has changed"
    kill_monitor(engine, container)
    assert errors() == ["", "monitor lost: it was killed"]
    assert len(errors()) == 2


def test_of_a_long_line_the_beginning_is_shown() -> None:
    line = LogLine("2026-01-01T12:00:00Z", "stdout", "x" * (LONGEST + 1234))
    assert shown(line).text == "x" * LONGEST + " … 1,234 more characters"
    assert shown(line._replace(text="short")).text == "short"
