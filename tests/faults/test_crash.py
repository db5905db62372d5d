"""Commands killed at each of their steps, and at random times; `make crash RUNS=500` does it at length."""

from __future__ import annotations

import ast
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
from tests.faults import crash
from tests.faults import world as worlds
from tests.faults.world import World

pytestmark = [pytest.mark.kernel, pytest.mark.peers("docker-registry", "skopeo")]

ELSEWHERE = {
    "check.after-retire": "tests/images/test_check.py",
    "open.before-migrated": "tests/store/test_shapes.py",
    "trail.after-rename": "tests/store/test_trail.py",
    "sweep.after-rename": "below",
    "network.after-bridge": "tests/network",
    "network.after-fence": "tests/network",
    "network.after-forgetting": "tests/network",
    "network.after-link": "tests/network",
    "network.after-pair": "tests/network",
    "network.after-ports": "tests/network",
    "network.after-record": "tests/network",
    "network.after-switching-off": "tests/network",
    "network.after-switching-on": "tests/network",
    "network.before-forgetting": "tests/network",
    "handover.before": "tests/containers/test_keeping.py",
    "handover.after-sending": "tests/containers/test_keeping.py",
    "end.after-record": "tests/containers/test_crashes.py",
    "end.after-cgroup": "tests/containers/test_crashes.py",
}
"""Points that no command of `crash.COMMANDS` alone comes to, and where they are tested, if they are."""
RUNS = 6


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(str(tmp_path_factory.getbasetemp())) as made:
        yield made


def written_points() -> set[str]:
    """The names of all fault points in the code; what varies in one is a star."""
    found = set()
    for path in Path(engine.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "point":
                found.add(_text(node.args[0]))
    return found


def _text(argument: ast.expr) -> str:
    if isinstance(argument, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in argument.values)
    assert isinstance(argument, ast.Constant)
    return str(argument.value)


def test_every_fault_point_is_tested() -> None:
    tested = {point for command in crash.COMMANDS.values() for point in command.points} | ELSEWHERE.keys()
    endings = {point.partition(".")[2] for point in tested}
    for point in written_points():
        known = point[2:] in endings if point.startswith("*.") else point in tested
        assert known, f"no test comes to {point}"


@pytest.mark.parametrize(
    ("name", "point"),
    [
        *[("load", point) for point in ("staging.after-make", "load.worker", "load.before-commit")],
        *[("pull", point) for point in ("pull.after-download", "pull.after-rename")],
        *[("commit", "commit.after-rename"), ("import", "import.before-commit")],
        *[("rmi", "remove.after-commit"), ("prune", "prune.after-commit"), ("rm", "remove.after-record")],
        *[("run", point) for point in ("create.after-rename", "start.after-cgroup", "start.after-fork")],
        *[("start", "start.after-record"), ("rm -f", "remove.before-record")],
        ("exec", "exec.after-fork"),
    ],
)
def test_a_command_killed_at(world: World, name: str, point: str) -> None:
    """The crash run comes to all points of all commands."""
    crash.kill_at(world, name, point)


def test_commands_killed_at_random_times(world: World) -> None:
    killed = crash.random_runs(world, RUNS, random.Random(os.getpid()).randrange(1 << 30))
    assert killed.total()


def test_a_sweep_that_is_killed_is_done_by_the_next(world: World) -> None:
    world.restore()
    code, _ = world.cowl("load", "-i", f"{world.files}/more.tar", fault="load.before-commit")
    assert code == -9
    assert world.cowl("images", fault="sweep.after-rename")[0] == -9
    assert worlds.problems(world) == []
