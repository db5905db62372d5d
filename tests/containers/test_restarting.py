"""Restart policies: who comes again, how often, how soon, and that whoever was ended stays so."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers import restarting, state
from engine.engine import Engine
from engine.errors import ConflictError, InUseError, UsageError
from engine.model import LaunchOptions
from tests.containers.test_crashes import monitor_of
from tests.support.captures import UNTIL_TOLD, kill_first, start, tell, wait_for

FOR_EVER = 10_000


@pytest.mark.parametrize(
    ("text", "code", "restarts", "wanted"),
    [
        ("no", 1, 0, False),
        ("always", 0, FOR_EVER, True),
        ("unless-stopped", 1, FOR_EVER, True),
        ("on-failure", 0, 0, False),
        ("on-failure", 3, FOR_EVER, True),
        ("on-failure:2", 3, 1, True),
        ("on-failure:2", 3, 2, False),
        ("on-failure:0", 3, FOR_EVER, True),
    ],
)
def test_policies(text: str, code: int, restarts: int, wanted: bool) -> None:
    assert restarting.policy(text).wants(code, restarts) is wanted


@pytest.mark.parametrize(
    "text", ["", "never", "always:3", "on-failure:", "on-failure:-1", "on-failure:x", "no:1"]
)
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(UsageError, match="restart policy"):
        restarting.policy(text)


@given(st.lists(st.floats(0, 9.9), max_size=20))
def test_delays_grow_to_a_minute_and_begin_anew_after_a_steady_run(runs: list[float]) -> None:
    delay = restarting.Delay()
    found = [delay.after(ran) for ran in runs]
    assert found == [min(0.1 * 2**number, 60.0) for number in range(len(runs))]
    assert delay.after(11) == 0.1


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two runs there is all the time that a test can take."""
    monkeypatch.setattr(restarting, "STEADY_S", 0.0)
    monkeypatch.setattr(restarting, "FIRST_DELAY_S", 600.0)


def said(engine: Engine, name: str) -> list[str]:
    return [line.text for line in engine.containers.logs(name)]


@pytest.mark.kernel
def test_a_failing_one_is_tried_so_many_times(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "echo run; exit 3", restart="on-failure:2")
    assert engine.containers.wait(name) == 3
    assert said(engine, name) == ["run"] * 3
    found = engine.containers.get(name)
    assert (found.state, found.exit_code, found.restarts) == ("exited", 3, 2)
    engine.containers.start(name)
    assert engine.containers.wait(name) == 3
    assert said(engine, name) == ["run"] * 6  # they are counted anew
    assert engine.containers.get(name).restarts == 2


@pytest.mark.kernel
def test_one_that_succeeds_is_not_tried_again(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "test -e /again && exit 0; touch /again; exit 7", restart="on-failure")
    assert engine.containers.wait(name) == 0
    assert engine.containers.get(name).restarts == 1


@pytest.mark.kernel
def test_stop_in_a_run_ends_it_for_good(engine: Engine) -> None:
    name = start(engine, "sleep", "100", restart="always")
    kill_first(engine, name)
    wait_for(lambda: engine.containers.get(name).restarts == 1 and engine.containers.get(name).pid)
    engine.containers.stop(name, 0)
    time.sleep(0.4)
    assert engine.containers.get(name).state == "exited"
    assert engine.containers.start(name).state == "running"


@pytest.mark.kernel
@pytest.mark.parametrize("ending", ["stop", "kill", "remove"])
def test_an_end_between_two_runs(engine: Engine, patient: None, ending: str) -> None:
    name = start(engine, "sh", "-c", "exit 1", restart="always")
    wait_for(lambda: engine.containers.get(name).state == "restarting")
    with pytest.raises(ConflictError, match="restarting"):
        engine.containers.start(name)
    with pytest.raises(InUseError, match="restarting"):
        engine.containers.remove(name)
    if ending == "remove":
        engine.containers.remove(name, force=True)
        assert engine.containers.list() == []
        return
    if ending == "stop":
        engine.containers.stop(name)
    else:
        engine.containers.kill(name)
        with pytest.raises(ConflictError, match="not running"):
            engine.containers.kill(name)
    found = engine.containers.get(name)
    assert (found.state, found.exit_code) == ("exited", 1)
    wait_for(lambda: not state.is_monitored(engine.store.layout.container(name)))  # nobody would start it
    engine.containers.remove(name)


@pytest.mark.kernel
def test_many_ends_at_any_moment(engine: Engine) -> None:
    """Whatever the container does in that moment, an ended one stays ended."""
    for attempt in range(12):
        name = start(engine, "sh", "-c", "sleep 0.02; exit 1", restart="always")
        time.sleep(0.013 * attempt)
        engine.containers.stop(name, 0)
        assert engine.containers.get(name).state == "exited"
        restarts = engine.containers.get(name).restarts
        time.sleep(0.15)
        assert (engine.containers.get(name).state, engine.containers.get(name).restarts) == (
            "exited",
            restarts,
        )
        engine.containers.remove(name)


@pytest.mark.kernel
def test_a_signal_that_does_not_ask_for_the_end_leaves_its_policy(engine: Engine) -> None:
    name = start(
        engine, "sh", "-c", "trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done", restart="always"
    )
    wait_for(lambda: said(engine, name))
    engine.containers.kill(name, "SIGUSR1")
    wait_for(lambda: engine.containers.get(name).restarts == 1 and engine.containers.get(name).pid)
    engine.containers.kill(name)
    assert engine.containers.get(name).state == "exited"


@pytest.mark.kernel
def test_following_the_log_goes_on(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "echo run; exit 1", restart="on-failure:2")
    found: list[str] = []
    reader = threading.Thread(
        target=lambda: found.extend(line.text for line in engine.containers.logs(name, follow=True))
    )
    reader.start()
    reader.join(60)
    assert found == ["run"] * 3


@pytest.mark.kernel
def test_a_killed_monitor_starts_nothing_again(engine: Engine) -> None:
    name = start(engine, "sleep", "100", restart="always")
    os.kill(monitor_of(engine, name), signal.SIGKILL)
    wait_for(lambda: not engine.containers.get(name).monitored)
    engine.containers.stop(name, 0)
    assert engine.containers.get(name).state == "exited"


@pytest.mark.kernel
def test_a_monitor_killed_between_two_runs(engine: Engine, patient: None) -> None:
    name = start(engine, "sh", "-c", f"{UNTIL_TOLD}; exit 4", restart="always")
    run = Path(engine.store.layout.container(engine.containers.get(name).id).run)
    monitor = monitor_of(engine, name)
    tell(engine, name)
    wait_for(lambda: engine.containers.get(name).state == "restarting")
    os.kill(monitor, signal.SIGKILL)
    wait_for(lambda: engine.containers.get(name).state == "exited")
    assert engine.containers.get(name).exit_code == 4
    engine.containers.remove(name)
    assert not run.exists()


@pytest.mark.kernel
def test_nothing_of_a_run_stays_in_the_monitor(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarting, "STEADY_S", 0.0)
    monkeypatch.setattr(restarting, "FIRST_DELAY_S", 1.0)
    script = f"test -e /told || {{ {UNTIL_TOLD}; touch /told; }}; exit 1"
    name = start(engine, "sh", "-c", script, restart="on-failure:4", interactive=True)
    monitor = monitor_of(engine, name)
    tell(engine, name)

    def descriptors(restarts: int) -> int:
        def waits() -> bool:
            found = engine.containers.get(name)
            return (found.state, found.restarts) == ("restarting", restarts)

        wait_for(waits)
        counts = []
        for _ in range(50):  # it is letting go of the run before, and then waits for a second
            counts.append(len(os.listdir(f"/proc/{monitor}/fd")))
            time.sleep(0.01)
        return min(counts)

    assert descriptors(1) == descriptors(3)
    engine.containers.stop(name)


@pytest.mark.kernel
def test_it_cannot_go_and_come_again(engine: Engine) -> None:
    with pytest.raises(UsageError, match="--rm and --restart"):
        engine.containers.create(LaunchOptions("starter", ("true",), auto_remove=True, restart="always"))
