"""Who takes a bridge away that nobody is on any more, among several who could, and after one was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.kernel import process
from engine.network import members, sweeping
from engine.network.members import Member, Members
from tests.network.machines import Machine
from tests.support.captures import wait_for


def is_free(path: str) -> bool:
    """Whether nobody has the lock at *path*."""
    with open(path, "rb") as file, contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def test_a_sweeper_lets_go_of_its_turn_before_others_can_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leaves while somebody has it counts on that one to look again."""
    own = process.identify(os.getpid())
    assert own is not None
    with members.locked(str(tmp_path)) as found:
        found.by_id["a"] = Member("a", "", (), "", own.pid, own.start, "", "10.0.0.2", "", "", ())
        found.save()
    free: list[bool] = []

    @contextlib.contextmanager
    def locked(run: str) -> Iterator[Members]:
        with members.locked(run) as alone:
            yield alone
            free.append(is_free(f"{run}/sweep.lock"))

    monkeypatch.setattr(sweeping, "locked", locked)
    sweeping.sweep_later(str(tmp_path))
    assert free == [True]


@pytest.mark.kernel
@pytest.mark.peers("ip", "nft", "nsenter")
def test_a_bridge_that_was_not_named_yet_goes_with_the_next_container(lone: Machine) -> None:
    """Its maker was killed: nothing but its group says whose it is."""
    run = (sys.executable, "-m", "engine.cli", "run", "-d", "starter", "true")  # which nobody takes away
    lone.run(*run, env={"COWL_FAULT": "network.after-link"})
    assert any(name.startswith("cowl0") for name in lone.left())
    lone.cowl("run", "-d", "--name", "a", "starter", "sleep", "100")
    assert lone.inspect("a")["network"]["bridge"] == "cowl0"


@pytest.mark.kernel
@pytest.mark.peers("ip", "nft", "nsenter")
def test_what_a_monitor_left_that_was_killed_before_it_had_it_swept(lone: Machine) -> None:
    words = ("-m", "engine.cli", "run", "-d", "--name", "a", "-p", "8080:80", "starter", "true")
    lone.run(sys.executable, *words, env={"COWL_FAULT": "network.after-forgetting"})
    wait_for(lambda: not any(name.startswith("cw") for name in lone.left()))  # the kernel takes pairs away
    assert any(name.startswith("cowl0") for name in lone.left())
    lone.cowl("rm", "-f", "a")
    assert lone.settled() == []
