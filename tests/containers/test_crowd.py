"""Many containers at once: all start, are seen, end and go, and nothing of any is left.

``COWL_CROWD=300`` makes more of them than the suite has time for.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.model import LaunchOptions

pytestmark = pytest.mark.kernel

CROWD = int(os.environ.get("COWL_CROWD", "40"))
AT_ONCE = 16


def test_nothing_of_any_is_left(engine: Engine) -> None:
    options = LaunchOptions("starter", ("sleep", "1000"))
    with Engine(engine.root, cgroup_parent=engine.cgroup_parent, launcher=True) as crowd:
        crowd.containers.remove(crowd.containers.run(options).id, force=True)  # whatever is opened once
        crowd.stats.sample()
        before = len(os.listdir("/proc/self/fd"))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            started = [each.id for each in pool.map(lambda _: crowd.containers.run(options), range(CROWD))]
            assert {each.state for each in crowd.containers.list()} == {"running"}
            assert {sample.container for sample in crowd.stats.sample()} == set(started)
            list(pool.map(lambda name: crowd.containers.stop(name, 0), started))
            assert {each.state for each in crowd.containers.list()} == {"exited"}
            list(pool.map(crowd.containers.remove, started))
        crowd.stats.sample()
        assert crowd.containers.list() == []
        # One connection to the records for each thread that asked; none for each container.
        assert len(os.listdir("/proc/self/fd")) <= before + 3 * AT_ONCE
    layout = engine.store.layout
    for directory in (layout.containers, layout.staging, layout.trash):
        assert os.listdir(directory) == []
    assert [path.name for path in Path(layout.run).iterdir() if path.is_dir()] == []
