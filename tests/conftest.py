"""Fixtures that every room's tests share.

`root` is a store of one's own, with a cgroup parent of its own, on memory. A test ends with nothing of it
left on the machine: what is still there after `rm -f` of every container fails the test and is taken away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from engine import errors
from tests.support import peers, roots, traces
from tests.support.roots import Run
from tests.support.traces import Root

if TYPE_CHECKING:
    from engine.engine import Engine

settings.register_profile("cowl", deadline=None)
# The second kernel runs every system call through ptrace: fewer examples there, and no writable checkout.
settings.register_profile("uml", deadline=None, max_examples=10, database=None)
settings.load_profile("uml" if "COWL_UML" in os.environ else "cowl")

KERNEL_REASON = "makes mounts, namespaces or cgroups: needs root"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this user or machine cannot run, saying why."""
    if item.get_closest_marker("kernel") and os.geteuid() != 0:
        pytest.skip(KERNEL_REASON)
    for mark in item.iter_markers("peers"):
        if reason := peers.missing(mark.args or peers.USUAL):
            pytest.skip(reason)
    if item.get_closest_marker("session") and (reason := peers.missing(("tmux",))):
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def usual_signals() -> None:
    """What a shell starts in the background ignores these (POSIX), and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def no_forwarding() -> Iterator[None]:
    """No root turns this machine's forwarding on, also where it serves a whole module."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("COWL_FORWARDING", "no")
        yield


@pytest.fixture(scope="session")
def own_paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """How the paths of all roots begin that the tests of this process make."""
    return os.path.realpath(tmp_path_factory.getbasetemp()), f"{roots.MEMORY}/{roots.PREFIX}{os.getpid()}-"


@pytest.fixture(autouse=True)
def no_runtime_directory(own_paths: tuple[str, ...]) -> Iterator[None]:
    """A test that leaves the run-time directory of a root of its own fails; others' are not looked at."""
    before = traces.runtime_directories(own_paths)
    yield
    now = traces.runtime_directories(own_paths)
    # A fixture of a whole module or session still has its own, and takes it away itself.
    _take_away([run for run in now if run not in before and not roots.is_in_use(now[run])])


@pytest.fixture(scope="session", autouse=True)
def no_runtime_directory_at_last(own_paths: tuple[str, ...]) -> Iterator[None]:
    """So does the last one where a fixture of a module or of the session leaves one."""
    yield
    _take_away(traces.runtime_directories(own_paths))


def _take_away(directories: Collection[str]) -> None:
    for path in directories:
        shutil.rmtree(path)
    if directories:
        pytest.fail(f"left behind by this test: {', '.join(sorted(directories))}", pytrace=False)


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Root]:
    """An empty root that the test owns; it fails when it leaves a mount, cgroup or process behind."""
    made = roots.new_root(str(tmp_path_factory.getbasetemp()))
    for name in [name for name in os.environ if name.startswith("COWL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COWL_CGROUP_PARENT", made.cgroup_parent)
    monkeypatch.setenv("COWL_LAUNCHER", "no")  # tests/containers/test_standing.py is about those
    monkeypatch.setenv("COWL_NETWORK", "none")  # tests/network has machines of its own for the others
    monkeypatch.setenv("COWL_FORWARDING", "no")
    try:
        yield made
        trouble = _remove_containers(made)
        left = traces.settle(made)
    finally:
        traces.clean(made)
    stuck = traces.find(made)
    if trouble:
        pytest.fail(f"the containers of {made.path} cannot be removed: {trouble}", pytrace=False)
    if left or stuck:
        pytest.fail(f"left behind by this test:\n{left or stuck}", pytrace=False)


def _remove_containers(root: Root) -> str:
    """`rm -f` of every container, by the engine itself; what went wrong, if anything did."""
    if not os.path.exists(root.layout.database):
        return ""
    from engine.containers import standing
    from engine.engine import Engine

    try:
        standing.dismiss(root.layout)
        with Engine(root.path, cgroup_parent=root.cgroup_parent) as engine:
            for container in engine.containers.list():
                with contextlib.suppress(errors.NotFoundError):  # it was going by itself
                    engine.containers.remove(container.id, force=True)
    except (errors.CowlError, OSError) as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def starter_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """The store that `starter_images` copies: `starter:base` and `starter:latest`, no container ever."""
    from engine.engine import Engine

    made = roots.new_root(str(tmp_path_factory.getbasetemp()))
    try:
        with Engine(made.path, cgroup_parent=made.cgroup_parent) as engine:
            engine.images.starter()
        yield made
    finally:
        traces.clean(made)


@pytest.fixture
def starter_images(root: Root, starter_root: Root) -> Root:
    """`root` with the starter images in it, copied from one store of the session."""
    subprocess.run(["cp", "-a", starter_root.path, root.path], check=True)
    return root


@pytest.fixture
def engine(starter_images: Root) -> Iterator[Engine]:
    """An `Engine` on `root`, with the starter images."""
    from engine.engine import Engine

    with Engine(starter_images.path, cgroup_parent=starter_images.cgroup_parent) as made:
        yield made


@pytest.fixture
def cowl(root: Root) -> Run:
    """Run the command line on `root` as a whole process: ``cowl("ps", "--json").stdout``."""
    return roots.command_line(root)
