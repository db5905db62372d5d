"""The search for what a test leaves behind finds it, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import roots, traces
from tests.support.traces import Root


@pytest.fixture
def unused(tmp_path: object) -> Root:
    return roots.new_root(str(tmp_path))


def _sleeper(**options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], **options)  # type: ignore[call-overload, no-any-return]


def test_nothing_is_found_of_a_root_that_was_never_used(unused: Root) -> None:
    assert not traces.find(unused)


@pytest.mark.parametrize("how", ["environment", "argument", "open file"])
def test_a_process_is_found_and_ended(unused: Root, how: str) -> None:
    os.makedirs(unused.path)
    if how == "environment":
        child = _sleeper(env=roots.environment(unused))
    elif how == "argument":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", unused.path])
    else:
        with open(f"{unused.path}/file", "w", encoding="ascii") as file:
            child = _sleeper(stdout=file)
    other = _sleeper()
    try:
        assert list(traces.processes(unused)) == [child.pid]
        traces.clean(unused)
        assert child.wait(60) == -9
        assert other.poll() is None
        assert not os.path.exists(unused.path)
    finally:
        for process in (child, other):
            process.kill()
            process.wait()


@pytest.mark.kernel
def test_a_cgroup_is_found_with_its_processes_and_removed(unused: Root) -> None:
    point = traces.cgroup_mounts()[0]
    inner = f"{point}/{unused.cgroup_parent}/one"
    os.makedirs(inner)
    child = _sleeper()
    try:
        with open(f"{inner}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(child.pid))
        found = traces.find(unused)
        assert found.cgroups == (f"{point}/{unused.cgroup_parent}", inner)
        assert found.processes == (f"{child.pid} sleep 60",)
        traces.clean(unused)
        assert child.wait(60) == -9
        assert not traces.find(unused)
    finally:
        child.kill()
        child.wait()
        traces.clean(unused)


def test_a_running_container_s_directory_is_found(unused: Root) -> None:
    os.makedirs(f"{unused.layout.run}/0123")
    try:
        assert traces.find(unused).runtime == (f"{unused.layout.run}/0123",)
    finally:
        traces.clean(unused)
    assert not os.path.exists(unused.layout.run)
