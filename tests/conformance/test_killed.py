"""A runtime that is killed at any step, or called twice at once: ``delete --force`` leaves nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

from engine.kernel import cgroup, cgroup2
from engine.launch import birth
from engine.runtime import containers
from tests.conformance.bundles import Bundle, Done, eventually
from tests.support.traces import Root, cgroups

pytestmark = pytest.mark.kernel
requirement = pytest.mark.requirement

KILLED = 128 + signal.SIGKILL
STRIDE = int(os.environ.get("COWL_STRIDE", "12"))
"""Every how manieth step is one to be killed at."""
STEPS = ("open", "os.", "socket.", "fcntl.", "shutil.", "ctypes.", "signal.", "pwd.")
"""What a process does to the outside (sys.addaudithook)."""


def killed_at(step: int) -> Callable[[], None]:
    """Have this process, and no fork of it, kill itself at the step of that number."""

    def prepare() -> None:
        own = os.getpid()
        left = [step]

        def look(event: str, _: object) -> None:
            if event.startswith(STEPS) and os.getpid() == own:
                left[0] -= 1
                if not left[0]:
                    os.kill(own, signal.SIGKILL)

        sys.addaudithook(look)

    return prepare


def cleared(bundle: Bundle, root: Root) -> None:
    """Fail unless ``delete --force`` takes all away, and the ID can be used again."""
    done = bundle.call("delete", "--force", "c")
    assert (done.code, done.err) == (0, "")
    bundle.nothing_left()
    assert list(cgroups(root)) == []


@pytest.mark.parametrize("pid_namespace", [True, False])
@requirement("R16", "R36")
def test_create_is_killed(bundle: Bundle, root: Root, pid_namespace: bool) -> None:
    if not pid_namespace:
        bundle.linux["namespaces"] = [entry for entry in bundle.linux["namespaces"] if entry["type"] != "pid"]
    bundle.process["args"] = ["sleep", "100"]
    bundle.write()
    step = 1
    while True:
        done = bundle.call("create", "--bundle", bundle.path, "c", prepare=killed_at(step))
        cleared(bundle, root)
        if done.code != KILLED:
            break
        step += STRIDE
    assert done.code == 0
    assert step > 20


@requirement("R16", "R36")
def test_start_is_killed(bundle: Bundle, root: Root) -> None:
    bundle.process["args"] = ["sleep", "100"]
    step = 1
    while True:
        bundle.create().check()
        done = bundle.call("start", "c", prepare=killed_at(step))
        assert bundle.state()["status"] in ("created", "running", "stopped")
        cleared(bundle, root)
        if done.code != KILLED:
            break
        step += max(1, STRIDE // 4)
    assert done.code == 0
    assert step > 3


@pytest.mark.parametrize("force", [True, False])
@requirement("R36")
def test_delete_is_killed(bundle: Bundle, root: Root, force: bool) -> None:
    bundle.process["args"] = ["sleep", "100"]
    words = ("delete", "--force", "c") if force else ("delete", "c")
    step = 1
    while True:
        bundle.create().check()
        bundle.call("start", "c").check()
        if not force:
            bundle.call("kill", "c", "KILL").check()
            bundle.wait("stopped")
        done = bundle.call(*words, prepare=killed_at(step))
        cleared(bundle, root)
        if done.code != KILLED:
            break
        step += STRIDE
    assert done.code == 0
    assert step > 5


@requirement("R2", "R22")
def test_one_of_two_creations_comes_about(bundle: Bundle, root: Root) -> None:
    bundle.write()
    for _ in range(5):
        calls = [bundle.begin("create", "--bundle", bundle.path, "c") for _ in range(3)]
        done: list[Done] = [call() for call in calls]
        assert sorted(each.code for each in done) == [0, 1, 1]
        assert all("already exists" in each.err for each in done if each.code)
        assert bundle.state()["status"] == "created"
        cleared(bundle, root)


@requirement("R36")
def test_delete_while_it_is_created(bundle: Bundle, root: Root) -> None:
    bundle.write()
    for number in range(15):
        create = bundle.begin("create", "--bundle", bundle.path, "c")
        time.sleep(number * 0.002)
        delete = bundle.call("delete", "--force", "c")
        assert delete.code == 0, delete.err
        made = create()
        assert made.code in (0, 1)
        assert "Traceback" not in made.err
        cleared(bundle, root)


@requirement("R36")
def test_delete_ends_a_creation_that_waits_for_ever(bundle: Bundle, root: Root) -> None:
    """A hook inside is in the container's cgroup, and goes with it."""
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]}
    bundle.write()
    create = bundle.begin("create", "--bundle", bundle.path, "c")
    eventually(lambda: bundle.call("state", "c").code == 0)
    assert bundle.state()["status"] == "creating"
    bundle.call("delete", "--force", "c").check()
    assert create().code == 1
    cleared(bundle, root)


def seen(path: str) -> None:
    """Wait until somebody has left word at *path*."""
    eventually(lambda: os.path.exists(path))


def leave(path: str) -> None:
    """Leave word at *path*."""
    with open(path, "wb"):
        return


def at_removal_of_the_gate(work: Callable[[], object]) -> Callable[[], None]:
    """Have a call do *work* right before it takes the name of a container's socket away, the first time."""

    def prepare() -> None:
        left = [work]

        def look(event: str, arguments: tuple[object, ...]) -> None:
            if event == "os.remove" and str(arguments[0]).endswith("/start") and left:
                left.pop()()

        sys.addaudithook(look)

    return prepare


@requirement("R36")
def test_delete_ends_a_creation_whose_process_comes_after_the_first_kill(
    bundle: Bundle, root: Root, tmp_path: object
) -> None:
    killed = f"{tmp_path}/killed"
    bear, kill_all = birth.bear, cgroup.kill_all

    def hesitate() -> None:
        def wait(*arguments: object) -> object:
            seen(killed)
            return bear(*arguments)  # type: ignore[arg-type]

        birth.bear = wait  # type: ignore[assignment]

    def tell() -> None:
        def kill(*arguments: object) -> object:
            done = kill_all(*arguments)  # type: ignore[arg-type]
            leave(killed)
            return done

        cgroup.kill_all = kill  # type: ignore[assignment]
        cgroup2.kill = lambda _: False  # some kernels kill who is born after it too

    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]}
    bundle.write()
    create = bundle.begin("create", "--bundle", bundle.path, "c", prepare=hesitate)
    eventually(lambda: bundle.call("state", "c").code == 0)
    bundle.call("delete", "--force", "c", prepare=tell).check()
    assert create().code == 1
    cleared(bundle, root)


@requirement("R36")
def test_delete_of_nothing_leaves_what_comes_meanwhile(bundle: Bundle, tmp_path: object) -> None:
    looked, made = f"{tmp_path}/looked", f"{tmp_path}/made"
    lock = containers.lock

    def look_early() -> None:
        def look(directory: str, seconds: float = 0.0) -> int | None:
            found = lock(directory, seconds)
            leave(looked)
            seen(made)
            return found

        containers.lock = look  # type: ignore[assignment]

    delete = bundle.begin("delete", "--force", "c", prepare=look_early)
    seen(looked)
    bundle.create().check()
    leave(made)
    assert delete().code == 0
    assert bundle.state()["status"] == "created"
    bundle.call("start", "c").check()


@requirement("R36")
def test_delete_while_it_is_started(bundle: Bundle, root: Root) -> None:
    bundle.process["args"] = ["sleep", "100"]
    bundle.create().check()
    start = at_removal_of_the_gate(lambda: os.unlink(f"{bundle.run_root}/c/start"))
    done = bundle.call("delete", "--force", "c", prepare=start)
    assert (done.code, done.err) == (0, "")
    cleared(bundle, root)


@requirement("R28")
def test_one_of_two_starts_at_once_is_heard(bundle: Bundle, tmp_path: object) -> None:
    """Whichever of them takes the name of the socket away."""
    first = f"{tmp_path}/first"

    def overtaken() -> None:
        leave(first)
        eventually(lambda: not os.path.exists(f"{bundle.run_root}/c/start"))

    bundle.script("echo run >> /result; exec sleep 100")
    bundle.create().check()
    one = bundle.begin("start", "c", prepare=at_removal_of_the_gate(overtaken))
    other = bundle.begin("start", "c", prepare=lambda: seen(first))
    done = [one(), other()]
    assert [each.code for each in done] == [0, 1]
    assert "it is running" in done[1].err
    assert bundle.state()["status"] == "running"
    eventually(
        lambda: bundle.file("result") == "run\n" if os.path.exists(f"{bundle.rootfs}/result") else False
    )
