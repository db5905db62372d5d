"""Further programs in containers, where the usual way in is closed or somebody looks elsewhere."""

from __future__ import annotations

import os

import pytest

from engine.engine import Engine
from engine.kernel import cgroup
from tests.support.captures import execute, start, wait_for

pytestmark = pytest.mark.kernel

OWN_CGROUPS = (
    "mkdir /sys/fs/cgroup/inner && echo $$ > /sys/fs/cgroup/inner/cgroup.procs"
    " && echo +pids > /sys/fs/cgroup/cgroup.subtree_control && touch /ready; sleep 100"
)
"""What systemd does first: processes in leaves only, controllers for those."""


def test_one_that_has_made_cgroups_of_its_own_is_joined_where_its_first_process_is(engine: Engine) -> None:
    if cgroup.detect().version != 2:
        pytest.skip("version 1 has no rule against processes beside cgroups")
    made = start(engine, "sh", "-c", OWN_CGROUPS, privileged=True)
    wait_for(lambda: os.path.exists(f"{engine.containers.inspect(made)['upper']}/ready"))
    assert execute(engine, made, "cat", "/proc/self/cgroup").out == "0::/inner\n"
    engine.containers.stop(made, 0)
    assert engine.containers.get(made).state == "exited"
