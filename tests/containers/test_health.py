"""Health checks: what they come to, that they end with the container, and that nothing waits for one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers import checking, health, state
from engine.containers.health import FAILED, Check, Findings
from engine.engine import Engine
from engine.errors import UsageError
from engine.model import Container, Health, LaunchOptions
from engine.oci.runtime import health_of
from tests.containers.test_crashes import kill_monitor, monitor_of
from tests.support.captures import kill_first, start, wait_for
from tests.support.traces import Root, settle

QUICK = Health((), interval_s=0.1, timeout_s=5, retries=2)


def shell(text: str, **others: float) -> Health:
    return QUICK._replace(argv=("sh", "-c", text), **others)


def check(code: int) -> Check:
    return Check("", "", code, "")


@given(st.lists(st.integers(-1, 2), max_size=20), st.integers(1, 4))
def test_so_many_failures_in_a_row(codes: list[int], retries: int) -> None:
    found = Findings()
    for code in codes:
        found = health.after(found, check(code), QUICK._replace(retries=retries), 100)
    streak = 0
    for code in reversed(codes):
        if code == 0:
            break
        streak += 1
    assert found.failing_streak == streak
    assert len(found.checks) == min(len(codes), 5)
    if streak >= retries:
        assert found.status == "unhealthy"
    elif codes and codes[-1] == 0:
        assert found.status == "healthy"


def test_failures_at_the_start_do_not_count_until_the_first_success() -> None:
    patient = QUICK._replace(retries=1, start_period_s=10)
    found = health.after(Findings(), check(1), patient, 5)
    assert (found.status, found.failing_streak) == ("starting", 0)
    assert checking.pause_s(found.status, patient, 5) == patient.start_interval_s
    assert health.after(found, check(1), patient, 11).status == "unhealthy"
    well = health.after(found, check(0), patient, 6)
    assert well.status == "healthy"
    assert checking.pause_s(well.status, patient, 7) == patient.interval_s
    assert health.after(well, check(1), patient, 8).status == "unhealthy"


def test_what_images_say() -> None:
    said = {"Test": ["CMD-SHELL", "curl x"], "Interval": 5_000_000_000, "Retries": 7}
    options = LaunchOptions("x")
    found = health_of(options, {"config": {"Healthcheck": said}})
    assert found == Health(("/bin/sh", "-c", "curl x"), interval_s=5, retries=7)
    assert health_of(options, {"config": {"Healthcheck": {"Test": ["CMD", "a", "b"]}}}) == Health(("a", "b"))
    image = {"config": {"Healthcheck": {"Test": ["CMD", "a"], "Interval": 5_000_000_000, "Retries": 7}}}
    times = options._replace(health=Health((), 0.0, 2.0, 0, 0.0, 0.0))
    assert health_of(times, image) == Health(("a",), interval_s=5, timeout_s=2, retries=7)
    other = options._replace(health=Health(("b",), 0.0, 0.0, 2, 0.0, 0.0))
    assert health_of(other, image) == Health(("b",), interval_s=5, retries=2)
    with pytest.raises(UsageError, match="neither the call nor the image"):
        health_of(times, {})
    with pytest.raises(UsageError, match="neither the call nor the image"):
        health_of(times, {"config": {"Healthcheck": {"Test": ["NONE"]}}})
    assert health_of(options, {"config": {"Healthcheck": {"Test": ["NONE"]}}}) is None
    assert health_of(options, {}) is None
    assert health_of(options._replace(no_health=True), {"config": {"Healthcheck": said}}) is None
    checks = shell("true")
    assert health_of(options._replace(health=checks), {"config": {"Healthcheck": said}}) == checks


def checked(engine: Engine, name: str) -> Container:
    return engine.containers.get(name)


@pytest.mark.kernel
def test_from_starting_to_unhealthy_and_back(engine: Engine) -> None:
    script = "until test -e /look; do sleep 0.02; done; echo looked; test -e /well"
    name = start(engine, "sleep", "100", health=shell(script, timeout_s=60))
    assert checked(engine, name).health == "starting"
    engine.containers.exec(name, ["touch", "/look"])
    wait_for(lambda: checked(engine, name).health == "unhealthy")
    engine.containers.exec(name, ["touch", "/well"])
    wait_for(lambda: checked(engine, name).health == "healthy")
    found = engine.containers.inspect(name)["health"]
    assert found["failing_streak"] == 0
    assert found["checks"][-1]["exit_code"] == 0
    assert found["checks"][-1]["output"] == "looked\n"
    engine.containers.stop(name, 0)
    assert checked(engine, name).health is None
    said = [event.attributes["health_status"] for event in engine.events() if event.action == "health_status"]
    assert said == ["unhealthy", "healthy"]


@pytest.mark.kernel
def test_a_check_that_hangs_is_killed(engine: Engine) -> None:
    name = start(engine, "sleep", "100", health=shell("echo begun; exec sleep 77", timeout_s=0.3, retries=1))
    wait_for(lambda: checked(engine, name).health == "unhealthy")

    def hung() -> bool:  # one may take all of its time to begin
        found = engine.containers.inspect(name)["health"]["checks"]
        assert {each["exit_code"] for each in found} == {FAILED}
        return "begun\n" in [each["output"] for each in found]

    wait_for(hung)
    wait_for(lambda: b"77" not in b"".join(lines(engine, name)))


def lines(engine: Engine, name: str) -> list[bytes]:
    """The command lines of all processes inside."""
    pid = engine.containers.get(name).pid
    space = os.readlink(f"/proc/{pid}/ns/pid")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") == space:
                    found.append(Path(f"/proc/{entry}/cmdline").read_bytes())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found


@pytest.mark.kernel
def test_one_that_cannot_be_started(engine: Engine) -> None:
    name = start(engine, "sleep", "100", health=QUICK._replace(argv=("/nowhere",)))
    wait_for(lambda: checked(engine, name).health == "unhealthy")
    found = engine.containers.inspect(name)["health"]["checks"][-1]
    assert found["exit_code"] in (FAILED, 127)
    assert "/nowhere" in found["output"]


@pytest.mark.kernel
def test_much_output_is_cut_and_does_not_stop_it(engine: Engine) -> None:
    name = start(engine, "sleep", "100", health=shell("seq 1 100000"))
    wait_for(lambda: checked(engine, name).health == "healthy")
    assert len(engine.containers.inspect(name)["health"]["checks"][0]["output"]) == health.MAX_OUTPUT


@pytest.mark.kernel
def test_nothing_is_asked_of_one_that_is_paused(engine: Engine) -> None:
    name = start(engine, "sleep", "100", health=shell("true"))
    wait_for(lambda: checked(engine, name).health == "healthy")
    engine.containers.pause(name)
    before = engine.containers.inspect(name)["health"]

    def rests() -> bool:  # from when the last one, which had begun before, has ended
        nonlocal before
        last, before = before, engine.containers.inspect(name)["health"]
        time.sleep(0.5)
        return bool(before == last == engine.containers.inspect(name)["health"])

    wait_for(rests)
    engine.containers.unpause(name)
    wait_for(lambda: engine.containers.inspect(name)["health"] != before)


@pytest.mark.kernel
def test_it_ends_with_the_container_even_in_a_check(engine: Engine) -> None:
    name = start(engine, "sleep", "100", health=shell("sleep 1000", timeout_s=1000))
    monitor = monitor_of(engine, name)
    children = Path(f"/proc/{monitor}/task/{monitor}/children")
    wait_for(lambda: len(lines(engine, name)) > 1)
    workers = [int(word) for word in children.read_text().split()]
    engine.containers.stop(name, 0)
    wait_for(lambda: not any(os.path.exists(f"/proc/{worker}") for worker in workers))


@pytest.mark.kernel
def test_a_killed_monitor_counts_as_killed(engine: Engine) -> None:
    """The process that checks holds no lock of the monitor's."""
    name = start(engine, "sleep", "100", health=shell("true"))
    wait_for(lambda: checked(engine, name).health == "healthy")
    os.kill(monitor_of(engine, name), signal.SIGKILL)
    wait_for(lambda: not checked(engine, name).monitored)
    paths = engine.store.layout.container(engine.containers.get(name).id)
    before = state.read_document(paths.health)
    wait_for(lambda: state.read_document(paths.health) != before)
    engine.containers.stop(name, 0)


@pytest.mark.kernel
def test_each_run_begins_anew(engine: Engine) -> None:
    name = start(engine, "sleep", "100", health=shell("true"), restart="always")
    wait_for(lambda: checked(engine, name).health == "healthy")
    kill_first(engine, name)
    wait_for(lambda: checked(engine, name).restarts == 1 and checked(engine, name).health == "healthy")
    engine.containers.stop(name, 0)


@pytest.mark.kernel
@pytest.mark.parametrize("lost", [False, True], ids=["watched", "without its monitor"])
def test_a_check_that_ends_with_the_container_says_nothing_of_it(
    engine: Engine, root: Root, lost: bool
) -> None:
    for _ in range(4):
        name = start(engine, "sleep", "100", health=shell("sleep 1000", timeout_s=1000, retries=1))
        wait_for(lambda name=name: len(lines(engine, name)) > 1)
        if lost:
            kill_monitor(engine, name)
        engine.containers.kill(name)
        engine.containers.remove(name)
    assert not settle(root)  # nobody is left who would say more
    assert [event for event in engine.events() if event.action == "health_status"] == []
