"""A process that stands by for one launch; what else a launch may begin with."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.containers.standby import Standby
from engine.engine import Engine
from engine.errors import CommandNotFoundError, LaunchError, NotFoundError
from engine.model import LaunchOptions
from tests.support.captures import execute, run, start
from tests.support.traces import Root

pytestmark = pytest.mark.kernel


@contextmanager
def reaped(standby: Standby) -> Iterator[Standby]:
    """The process is gone at the end, which fails a test in which it is not."""
    try:
        yield standby
    finally:
        standby.close()
        os.waitpid(standby._pid, 0)


def test_it_starts_one_container(engine: Engine) -> None:
    with reaped(Standby("start")) as standby, Engine(engine.root, launcher=standby) as other:
        assert run(other, "sh", "-c", "echo hi; exit 2") == (2, "hi\n", "")
    assert engine.containers.list() == []


def test_it_runs_one_command(engine: Engine) -> None:
    name = start(engine)
    with reaped(Standby("exec")) as standby, Engine(engine.root, launcher=standby) as other:
        assert execute(other, name, "sh", "-c", "cat; exit 6", stdin=b"in") == (6, "in", "")


def test_a_long_request_goes_as_a_file(engine: Engine) -> None:
    name = start(engine)
    with reaped(Standby("exec")) as standby, Engine(engine.root, launcher=standby) as other:
        assert execute(other, name, "sh", "-c", "echo ${#0}", "x" * 100_000).out == "100000\n"


def test_it_ends_when_there_is_nothing_to_start(engine: Engine) -> None:
    with (
        reaped(Standby("start")) as standby,
        Engine(engine.root, launcher=standby) as other,
        pytest.raises(NotFoundError),
    ):
        run(other, "true", image="nothing-of-that-name")


def test_what_cannot_start_is_told(engine: Engine) -> None:
    with (
        reaped(Standby("start")) as standby,
        Engine(engine.root, launcher=standby) as other,
        pytest.raises(CommandNotFoundError),
    ):
        run(other, "no-such-command")
    assert engine.containers.list() == []


def test_that_it_was_killed_is_told(engine: Engine) -> None:
    with reaped(Standby("start")) as standby, Engine(engine.root, launcher=standby) as other:
        os.kill(standby._pid, signal.SIGKILL)
        os.waitid(os.P_PID, standby._pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(LaunchError):
            run(other, "true")
    assert engine.containers.list() == []


def test_a_node_that_no_image_names_has_the_environment_of_those_on_top(engine: Engine) -> None:
    lower = start(engine, "touch", "/a")
    engine.containers.wait(lower)
    node = engine.changes.commit(lower, "one:1", changes=("ENV COLOUR=red", "CMD false"))
    upper = start(engine, "touch", "/b", image="one:1")
    engine.containers.wait(upper)
    engine.changes.commit(upper, "two:1")
    engine.containers.remove(upper)
    engine.images.remove(["one:1"])
    assert engine.images.resolve(node.chain_id).tags == ()
    assert run(engine, "sh", "-c", "echo $COLOUR", image=node.chain_id).out == "red\n"


def test_a_root_with_odd_characters_in_its_path(root: Root) -> None:
    path = f"{root.path}/co:lon, and back\\slash\\\\es"
    with Engine(path, cgroup_parent=root.cgroup_parent) as engine:
        engine.images.starter()
        name = start(engine, "sh", "-c", "echo hi > /new")
        assert engine.containers.wait(name) == 0
        assert [change.path for change in engine.changes.of(name)] == ["/new"]
        engine.containers.remove(name)
        options = LaunchOptions("starter", ("true",), auto_remove=True)
        assert engine.containers.run(options, attach=True) == 0
        shutil.rmtree(engine.store.layout.run)
