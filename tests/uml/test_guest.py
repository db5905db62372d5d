"""The second kernel is what the tests take it for. Only `make test-uml` runs these."""

from __future__ import annotations

import os
import platform

import pytest

from tests.support import roots, traces

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif("COWL_UML" not in os.environ, reason="describes the second kernel: make test-uml"),
]


def test_the_kernel_is_another_one() -> None:
    assert platform.release() != os.environ["COWL_UML"]


def test_cgroup_is_version_2_alone_with_the_controllers_that_limit_containers() -> None:
    assert traces.cgroup_mounts() == ["/sys/fs/cgroup"]
    with open("/sys/fs/cgroup/cgroup.controllers", encoding="ascii") as file:
        assert {"cpu", "io", "memory", "pids"} <= set(file.read().split())


def test_roots_lie_on_memory_and_the_host_is_read_only(tmp_path: object) -> None:
    assert roots.place(str(tmp_path)) == "/dev/shm"
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir("/etc/cowl-was-here")
