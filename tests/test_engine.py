"""The façade: one root, its rooms, and a revision that moves when anything does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

import engine as public
from engine.engine import Engine
from engine.errors import NotFoundError
from engine.model import LaunchOptions
from tests.support.roots import Run
from tests.support.traces import Root

KERNEL = pytest.mark.kernel


def opened(root: Root, *, launcher: bool = False) -> Engine:
    return Engine(root.path, cgroup_parent=root.cgroup_parent, launcher=launcher)


def test_every_public_name_can_be_imported() -> None:
    assert set(public.__all__) <= set(dir(public))
    for name in public.__all__:
        assert getattr(public, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = public.nothing


def test_importing_the_package_imports_nothing_of_it() -> None:
    script = "import engine, sys; print(sorted(name for name in sys.modules if name.startswith('engine.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_root_comes_from_the_environment(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COWL_ROOT", root.path)
    monkeypatch.setenv("COWL_CGROUP_PARENT", root.cgroup_parent)
    with Engine() as engine:
        assert engine.root == root.path
        assert engine.cgroup_parent == root.cgroup_parent


def test_rooms_are_made_once(root: Root) -> None:
    with opened(root) as engine:
        assert engine.images is engine.images
        assert engine.containers is engine.containers
        assert engine.changes is engine.changes
        assert engine.stats is engine.stats


def test_an_engine_can_be_closed_twice_and_used_again(root: Root) -> None:
    engine = opened(root)
    assert engine.images.forest() == []
    engine.close()
    engine.close()
    assert engine.images.forest() == []
    engine.close()


@KERNEL
def test_the_revision_moves_with_records_and_states_and_not_without(starter_images: Root, cowl: Run) -> None:
    with opened(starter_images) as engine:
        seen = [engine.revision()]
        assert engine.revision() == seen[0]
        for words in (
            ("tag", "starter", "other:1"),
            ("run", "-d", "--name", "a", "starter", "sleep", "60"),
            ("pause", "a"),
            ("unpause", "a"),
            ("stop", "-t", "0", "a"),
            ("rm", "a"),
        ):
            cowl(*words, check=True)
            seen.append(engine.revision())
            assert engine.revision() == seen[-1]
        assert len(set(seen)) == len(seen)


@KERNEL
def test_the_revision_moves_when_a_container_ends_by_itself(starter_images: Root, cowl: Run) -> None:
    with opened(starter_images) as engine:
        cowl("run", "-d", "--name", "a", "starter", "sleep", "0.5", check=True)
        before = engine.revision()
        deadline = time.monotonic() + 60
        while engine.revision() == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert engine.containers.wait("a") == 0
        assert engine.containers.get("a").state == "exited"


def test_the_revision_sees_what_this_engine_wrote(starter_images: Root) -> None:
    with opened(starter_images) as engine:
        before = engine.revision()
        engine.images.tag("starter", "mine")
        assert engine.revision() != before


@KERNEL
def test_any_thread_may_call(starter_images: Root) -> None:
    """Eight threads of one engine, with its launcher, each launch, look and remove."""
    troubles: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_ in range(3):
                name = f"c{number}-{round_}"
                made = engine.containers.run(LaunchOptions("starter", ("sleep", "60"), name=name))
                assert engine.containers.get(name).id == made.id
                engine.revision()
                assert engine.images.resolve("starter").tags
                engine.containers.remove(name, force=True)
                with pytest.raises(NotFoundError):
                    engine.containers.get(name)
        except BaseException as error:  # noqa: BLE001 - it belongs to the main thread
            troubles.append(error)

    with opened(starter_images, launcher=True) as engine:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert troubles == []
        assert engine.containers.list() == []
