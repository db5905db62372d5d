"""`--init`: the first process is no program of the image, reaps what it inherits, and passes signals on."""

from __future__ import annotations

import os

import pytest

from engine.containers import inits
from engine.engine import Engine
from engine.errors import UnsupportedError
from engine.model import LaunchOptions
from tests.support.captures import start, wait_for


def test_none_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(inits, "_PLACES", ())
    with pytest.raises(UnsupportedError, match="install catatonit"):
        inits.find()


@pytest.mark.kernel
@pytest.mark.peers("catatonit")
def test_orphans_are_reaped(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "sh -c 'sleep 0.1 & exec true'; sleep 100", init=True)
    pid = engine.containers.get(name).pid
    assert os.readlink(f"/proc/{pid}/exe").endswith(inits.INSIDE)
    wait_for(
        lambda: engine.containers.exec(name, ["sh", "-c", "! grep -q '^State:.Z' /proc/[0-9]*/status"]) == 0
    )
    for path in (inits.INSIDE, "/proc/1/exe"):
        assert (
            engine.containers.exec(name, ["sh", "-c", f"if (: > {path}); then exit 0; else exit 9; fi"]) == 9
        )


@pytest.mark.kernel
@pytest.mark.peers("catatonit")
def test_signals_and_codes_go_through(engine: Engine) -> None:
    # Without one, the first process ignores what it has no handler for, and this takes stop_timeout.
    name = start(engine, "sleep", "100", init=True)
    wait_for(lambda: [each for each in engine.stats.sample() if each.container == name and each.pids == 2])
    engine.containers.stop(name, 60)
    assert engine.containers.get(name).exit_code == 143
    code = engine.containers.run(LaunchOptions("starter", ("sh", "-c", "exit 7"), init=True), attach=True)
    assert code == 7


@pytest.mark.kernel
@pytest.mark.peers("catatonit")
def test_nothing_of_it_is_a_change(engine: Engine) -> None:
    name = start(engine, "true", init=True)
    engine.containers.wait(name)
    assert list(engine.changes.of(name)) == []
