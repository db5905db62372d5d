"""Whoever reads or tags does not wait for a process that unpacks."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import signal
import tarfile
from collections.abc import Iterator
from sqlite3 import Connection

import pytest

from engine.engine import Engine
from engine.store import database
from tests.faults import world as worlds
from tests.faults.world import World
from tests.support import images
from tests.support.steps import counting

pytestmark = [pytest.mark.kernel, pytest.mark.peers("docker-registry", "skopeo")]

FILES = 6000
MOMENTS = (1, 3000)
"""How many files of the layer are there when its process is stopped."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(str(tmp_path_factory.getbasetemp())) as made:
        images.archive(f"{made.files}/large.tar", {"large:1": [images.layer(_large)]})
        yield made


def _large(tar: tarfile.TarFile) -> None:
    for number in range(FILES):
        info = tarfile.TarInfo(f"d/{number}")
        info.size = 4096
        tar.addfile(info, io.BytesIO(bytes(4096)))


def unpacked(world: World) -> int:
    """How many files of the layer are there."""
    found = glob.glob(f"{world.root.layout.staging}/**/diff/d", recursive=True)
    return sum(len(os.listdir(path)) for path in found)


@pytest.mark.parametrize("moment", MOMENTS)
def test_nobody_waits_for_a_process_that_was_stopped_while_it_unpacks(world: World, moment: int) -> None:
    """A lock that it held would be held for ever, and so would this test."""
    world.restore()
    with world.start(("load", "-q", "-i", f"{world.files}/large.tar")) as process:
        try:
            while unpacked(world) < moment:
                assert process.poll() is None
            os.killpg(process.pid, signal.SIGSTOP)
            assert unpacked(world) < FILES
            with Engine(world.root.path, cgroup_parent=world.root.cgroup_parent) as engine:
                images = engine.images
                images.list()
                images.tag("tiny:1", "another:1")
                engine.containers.list()
                images.tag("tiny:1", "gone:1")
                images.remove(["gone:1"])
            Engine(world.root.path).close()
        finally:
            os.killpg(process.pid, signal.SIGCONT)
        assert process.wait(worlds.PATIENCE_S) == 0
    assert worlds.problems(world) == []


def test_what_writes_the_records_does_little_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes has the others wait from BEGIN to COMMIT: no longer for a large layer."""
    held: list[int] = []
    begin = database.transaction

    @contextlib.contextmanager
    def measured(connection: Connection) -> Iterator[Connection]:
        with begin(connection) as made:
            statements: list[str] = []
            made.set_trace_callback(statements.append)
            with counting() as lines:
                yield made
            made.set_trace_callback(None)
            held.append(lines[0] + len(statements))

    world.restore()
    monkeypatch.setattr(database, "transaction", measured)
    with Engine(world.root.path, cgroup_parent=world.root.cgroup_parent) as engine:
        engine.images.load(f"{world.files}/large.tar")
        engine.images.remove(["large:1"])
    assert held
    assert max(held) < FILES / 4
