"""The power goes while containers run: processes, cgroups and run-time files are gone, the store is not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from engine.containers.state import UNKNOWN_END
from engine.engine import Engine
from engine.model import Container
from tests.faults import world as worlds
from tests.faults.world import World
from tests.support import traces

pytestmark = [pytest.mark.kernel, pytest.mark.peers("docker-registry", "skopeo")]

RUN = ("run", "-d", "--network", "none")
SLEEP = ("two:1", "sleep", "1000")


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(str(tmp_path_factory.getbasetemp())) as made:
        made.restore()
        yield made


def succeed(world: World, *words: str) -> None:
    code, said = world.cowl(*words)
    assert code == 0, said


def containers(world: World) -> dict[str, Container]:
    with Engine(world.root.path, cgroup_parent=world.root.cgroup_parent) as engine:
        return {each.name: each for each in engine.containers.list()}


def test_after_a_reboot(world: World) -> None:
    succeed(world, *RUN, "--name", "plain", "two:1", "sh", "-c", "echo before >> /said; sleep 1000")
    succeed(world, *RUN, "--name", "always", "--restart", "always", *SLEEP)
    succeed(world, *RUN, "--name", "fleeting", "--rm", *SLEEP)
    succeed(world, *RUN, "--name", "stopped", *SLEEP)
    succeed(world, "stop", "-t", "0", "stopped")
    succeed(world, "pause", "plain")
    with world.start(("exec", "always", "sleep", "1000")), world.start(("run", "--rm", "tiny:1", "cat")):
        assert world.cowl("load", "-i", f"{world.files}/more.tar", fault="load.before-commit")[0] == -9
        traces.turn_off(world.root)
    assert not traces.find(world.root).processes
    found = containers(world)
    assert {each.state for each in found.values()} <= {"exited", "created"}
    # Nobody can tell one that was to be started at once from one of `create --rm`.
    assert not any(each.auto_remove and each.state == "exited" for each in found.values())
    assert "fleeting" not in found
    for name in ("plain", "always"):
        assert (found[name].pid, found[name].exit_code, found[name].error) == (None, None, UNKNOWN_END)
    assert found["stopped"].exit_code == 137
    assert worlds.problems(world) == []
    for name in ("plain", "always", "stopped"):
        succeed(world, "start", name)
        succeed(world, "exec", name, "true")
    assert {containers(world)[name].state for name in ("plain", "always", "stopped")} == {"running"}
    succeed(world, *RUN, "--name", "fleeting", *SLEEP)
    said = world.root.layout.container(found["plain"].id).upper + "/said"
    with open(said, encoding="ascii") as file:
        assert set(file.read().split()) == {"before"}
    assert worlds.problems(world) == []
    assert worlds.settle(world) == []
    assert os.listdir(world.root.layout.staging) == os.listdir(world.root.layout.trash) == []
