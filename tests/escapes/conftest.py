"""One store for all attempts to leave its containers; what they leave behind on the machine fails them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from engine.engine import Engine
from tests.support import roots, traces
from tests.support.traces import Root


@pytest.fixture(scope="package")
def jail(tmp_path_factory: pytest.TempPathFactory, starter_root: Root) -> Iterator[Engine]:
    """An engine with the starter images, for all tests here."""
    made = roots.new_root(str(tmp_path_factory.getbasetemp()))
    try:
        subprocess.run(["cp", "-a", starter_root.path, made.path], check=True)
        with Engine(made.path, cgroup_parent=made.cgroup_parent, network="none") as engine:
            yield engine
            for container in engine.containers.list():
                engine.containers.remove(container.id, force=True)
        left = traces.settle(made)
    finally:
        traces.clean(made)
    assert not left, f"left behind:\n{left}"
