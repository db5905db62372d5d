"""`update`: limits of what runs and of what does not, raised, lowered, lifted; and restart policies."""

from __future__ import annotations

import time

import pytest

from engine.containers import state
from engine.engine import Engine
from engine.errors import ConflictError, LaunchError, UnsupportedError, UsageError
from engine.kernel import cgroup, cgroupfs
from engine.model import LaunchOptions, Limits, Sample
from tests.support.captures import UNTIL_TOLD, start, tell, wait_for

MIB = 1 << 20


def sample(engine: Engine, name: str) -> Sample:
    return next(each for each in engine.stats.sample() if name in (each.container, each.name))


@pytest.mark.kernel
def test_a_running_one_takes_new_limits_at_once(engine: Engine) -> None:
    name = start(engine, "sleep", "100", limits=Limits(pids=50))
    engine.containers.update(name, Limits(memory=64 * MIB, cpus=0.5))
    found = sample(engine, name)
    assert (found.memory_limit_bytes, found.cpu_limit, found.pids_limit) == (64 * MIB, 0.5, 50)
    assert engine.containers.get(name).limits == Limits(memory=64 * MIB, cpus=0.5, pids=50)


@pytest.mark.kernel
def test_limits_are_lifted(engine: Engine) -> None:
    name = start(engine, "sleep", "100", limits=Limits(pids=50, memory=64 * MIB, cpus=0.5, cpu_shares=2048))
    engine.containers.update(name, Limits(), lift=("pids", "memory", "cpus", "cpu_shares"))
    found = sample(engine, name)
    assert (found.memory_limit_bytes, found.cpu_limit, found.pids_limit) == (None, None, None)
    assert engine.containers.get(name).limits == Limits()
    engine.containers.stop(name, 0)
    engine.containers.start(name)
    found = sample(engine, name)
    assert (found.memory_limit_bytes, found.cpu_limit, found.pids_limit) == (None, None, None)


@pytest.mark.kernel
def test_raising_memory_above_the_limit_of_both(engine: Engine) -> None:
    name = start(engine, "sleep", "100", limits=Limits(memory=32 * MIB, memory_swap=64 * MIB))
    engine.containers.update(name, Limits(memory=48 * MIB))
    wait_for(lambda: sample(engine, name).memory_limit_bytes == 48 * MIB)
    engine.containers.update(name, Limits(memory=128 * MIB, memory_swap=256 * MIB))
    # Limits are read anew every few samples only.
    wait_for(lambda: sample(engine, name).memory_limit_bytes == 128 * MIB)


@pytest.mark.kernel
def test_a_limit_below_what_is_in_use_changes_nothing(engine: Engine) -> None:
    name = start(
        engine,
        *(
            "python3",
            "-c",
            "import time; held = bytearray(64 << 20); print('ready', flush=True); time.sleep(100)",
        ),
    )
    wait_for(lambda: list(engine.containers.logs(name)))
    with pytest.raises(ConflictError, match="too low"):
        engine.containers.update(name, Limits(memory=16 * MIB))
    assert engine.containers.get(name).limits == Limits()
    assert engine.containers.get(name).state == "running"
    assert sample(engine, name).memory_limit_bytes is None


@pytest.mark.kernel
def test_one_that_does_not_run_has_them_at_its_next_start(engine: Engine) -> None:
    name = engine.containers.create(LaunchOptions("starter", ("sleep", "100"))).name
    engine.containers.update(name, Limits(pids=20))
    engine.containers.start(name)
    assert sample(engine, name).pids_limit == 20


@pytest.mark.kernel
def test_processors_are_given_and_stay(engine: Engine) -> None:
    name = engine.containers.create(LaunchOptions("starter", ("sleep", "100"))).name
    engine.containers.update(name, Limits(cpuset_cpus="0"))
    try:
        engine.containers.start(name)
    except LaunchError as error:
        pytest.skip(str(error))  # the second kernel has no cpuset
    facts = state.derive(engine.store.layout.container(engine.containers.get(name).id))
    group = cgroup.Cgroup.from_json(facts.cgroup)
    directory = group.directories.get("cpuset") or group.directories[cgroupfs.UNIFIED]
    assert cgroupfs.read(f"{directory}/cpuset.cpus").strip() == b"0"
    with pytest.raises(UnsupportedError, match="cpuset_cpus cannot be lifted"):
        engine.containers.update(name, Limits(), lift=("cpuset_cpus",))


@pytest.mark.kernel
def test_a_device_rule_stays(engine: Engine) -> None:
    created = engine.containers.create(LaunchOptions("starter", ("true",)))
    before = engine.containers.inspect(created.name)["config"]["linux"]["resources"]["devices"]
    engine.containers.update(created.name, Limits(pids=20))
    found = engine.containers.inspect(created.name)["config"]["linux"]["resources"]
    assert found == {"devices": before, "pids": {"limit": 20}}


@pytest.mark.kernel
def test_a_policy_that_comes_late(engine: Engine) -> None:
    name = start(engine, "sh", "-c", f"{UNTIL_TOLD}; exit 3")
    engine.containers.update(name, Limits(), restart="on-failure:1")
    tell(engine, name)
    wait_for(lambda: engine.containers.get(name).restarts == 1 and engine.containers.get(name).pid)
    tell(engine, name)
    assert engine.containers.wait(name) == 3
    assert engine.containers.get(name).restarts == 1
    engine.containers.start(name)
    engine.containers.update(name, Limits(), restart="no")
    tell(engine, name)
    assert engine.containers.wait(name) == 3
    time.sleep(0.2)
    assert (engine.containers.get(name).state, engine.containers.get(name).restarts) == ("exited", 0)


@pytest.mark.kernel
def test_a_policy_for_what_goes(engine: Engine) -> None:
    name = start(engine, "sleep", "100", auto_remove=True)
    with pytest.raises(UsageError, match="go and come"):
        engine.containers.update(name, Limits(), restart="always")
    engine.containers.remove(name, force=True)
