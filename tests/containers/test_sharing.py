"""Memory that containers share (`--ipc`), and other namespaces that are not a container's own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.containers import joined
from engine.engine import Engine
from engine.errors import ConflictError, NotFoundError, UnsupportedError
from engine.kernel.identity import identify
from tests.support.captures import run, start, wait_for
from tests.support.roots import Run

pytestmark = pytest.mark.kernel

QUEUE = "import ctypes; print(ctypes.CDLL(None).msgget(4711, {}))"


def ipc_of(engine: Engine, name: str) -> int:
    return os.stat(f"/proc/{engine.containers.get(name).pid}/ns/ipc").st_ino


def test_memory_of_another_container(engine: Engine, cowl: Run) -> None:
    start(engine, "sleep", "1000", name="donor", ipc="shareable", shm_size=1 << 20)
    cowl("exec", "donor", "sh", "-c", "echo hers > /dev/shm/x", check=True)
    made = cowl("exec", "donor", "python3", "-c", QUEUE.format("0o1600"), check=True).stdout
    start(engine, "sleep", "1000", name="guest", ipc="container:donor")
    assert ipc_of(engine, "guest") == ipc_of(engine, "donor")
    assert cowl("exec", "guest", "python3", "-c", QUEUE.format("0"), check=True).stdout == made
    size = "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; cat /dev/shm/x; echo his > /dev/shm/y"
    assert cowl("exec", "guest", "sh", "-c", size, check=True).stdout.split() == ["1024", "hers"]
    assert cowl("exec", "donor", "cat", "/dev/shm/y", check=True).stdout == "his\n"
    # A guest's guest is the same one's; and what a guest does with the mount is the guest's alone.
    start(engine, "sleep", "1000", name="second", ipc="container:guest", privileged=True)
    code = "import ctypes; print(ctypes.CDLL(None).umount2(b'/dev/shm', 2))"
    assert cowl("exec", "--privileged", "second", "python3", "-c", code, check=True).stdout == "0\n"
    assert cowl("exec", "donor", "cat", "/dev/shm/x", check=True).stdout == "hers\n"
    engine.containers.kill("donor")
    assert cowl("exec", "guest", "cat", "/dev/shm/x", check=True).stdout == "hers\n"


def test_it_is_looked_up_at_each_start(engine: Engine, cowl: Run) -> None:
    start(engine, "sleep", "1000", name="donor", ipc="shareable")
    start(engine, "sleep", "1000", name="guest", ipc="container:donor")
    for name in ("donor", "guest"):
        engine.containers.stop(name, 0)
    with pytest.raises(ConflictError, match="it is not running"):
        engine.containers.start("guest")
    engine.containers.start("donor")
    cowl("exec", "donor", "touch", "/dev/shm/new", check=True)
    engine.containers.start("guest")
    assert cowl("exec", "guest", "ls", "/dev/shm", check=True).stdout == "new\n"


def test_memory_that_is_not_shared(engine: Engine, cowl: Run) -> None:
    start(engine, "sleep", "1000", name="alone")
    start(engine, "sleep", "1000", name="none", ipc="none")
    for name, how in (("alone", "private"), ("none", "none")):
        with pytest.raises(ConflictError, match=f"made with --ipc {how}.*--ipc shareable"):
            run(engine, "true", ipc=f"container:{name}")
    with pytest.raises(NotFoundError):
        run(engine, "true", ipc="container:nobody")
    assert " /dev/shm " not in cowl("exec", "none", "cat", "/proc/mounts", check=True).stdout
    assert ipc_of(engine, "none") != ipc_of(engine, "alone")


def test_memory_of_the_host(engine: Engine, cowl: Run) -> None:
    start(engine, "sleep", "1000", name="x", ipc="host")
    assert ipc_of(engine, "x") == os.stat("/proc/self/ns/ipc").st_ino
    start(engine, "sleep", "1000", name="guest", ipc="container:x")
    assert ipc_of(engine, "guest") == os.stat("/proc/self/ns/ipc").st_ino
    seen = cowl("exec", "guest", "ls", "/dev/shm", check=True).stdout.split()
    assert os.path.basename(engine.root) in seen


def test_a_sysctl_of_memory_that_is_another_s(engine: Engine) -> None:
    start(engine, "sleep", "1000", name="donor", ipc="shareable", sysctls=("kernel.shmmax=1000000",))
    with pytest.raises(Exception, match="container's own namespaces"):
        run(engine, "true", ipc="container:donor", sysctls=("kernel.shmmax=1",))


def test_words_for_namespaces(cowl: Run) -> None:
    for words, choice in (
        (("--ipc", "mine"), "choose private, host, none, shareable, container:NAME"),
        (("--pid", "shareable"), "choose private, host, container:NAME"),
        (("--uts", "container:x"), "choose private, host"),
        (("--cgroupns", "container:x"), "choose private, host"),
        (("--userns", "keep-id"), "-u runs it as another user"),
        (("--ipc", "container:"), "choose private"),
    ):
        done = cowl("create", *words, "starter", "true")
        assert (done.returncode, choice in done.stderr) == (1, True), done.stderr


def test_what_cannot_be_another_s_is_an_error_of_a_type(engine: Engine) -> None:
    from engine.cli.launchwords import namespace

    with pytest.raises(UnsupportedError, match="uts namespaces are not another container's"):
        namespace("container:x", "--uts")


def test_names_and_annotations(engine: Engine, cowl: Run) -> None:
    words = ("--domainname", "example", "-h", "box", "--annotation", "org.a=b=c", "--annotation", "empty")
    script = "cat /proc/sys/kernel/domainname; uname -n"
    cowl("run", "--name", "x", *words, "starter", "sh", "-c", script, check=True)
    found = engine.containers.inspect("x")
    assert cowl("logs", "x", check=True).stdout == "example\nbox\n"
    assert found["config"]["annotations"].items() >= {"org.a": "b=c", "empty": ""}.items()
    assert cowl("create", "--annotation", "=x", "starter", "true").returncode == 2
    assert cowl("create", "--annotation", "cowl.user=x", "starter", "true").returncode == 2
    for flag in ("--domainname", "--hostname"):
        refused = cowl("create", "--uts", "host", flag, "x", "starter", "true")
        assert (refused.returncode, f"{flag} would rename the host" in refused.stderr) == (2, True)


@pytest.mark.parametrize("kind", ["network", "ipc"])
def test_a_policy_s_further_run_looks_it_up_too(engine: Engine, kind: str) -> None:
    """The number of the other's process is another's by then: of the host, perhaps."""
    options: dict[str, Any] = {kind: "container:donor", "restart": "always"}
    start(engine, "sleep", "1000", name="donor", ipc="shareable")
    start(engine, "sleep", "1000", name="guest", **options)

    def shared(name: str) -> int:
        file = {"network": "net"}.get(kind, kind)
        return os.stat(f"/proc/{engine.containers.get(name).pid}/ns/{file}").st_ino

    def program(name: str) -> str:
        return Path(f"/proc/{engine.containers.get(name).pid}/comm").read_text(encoding="utf-8")

    def kill() -> int:
        pid = engine.containers.get("guest").pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        return pid

    donor = engine.containers.get("donor").pid
    assert donor
    with open(engine.store.layout.container(engine.containers.get("guest").id).config, "rb") as file:
        assert b"/proc/%d/" % donor not in file.read()
    engine.containers.stop("donor", 0)
    engine.containers.start("donor")
    before = kill()
    wait_for(lambda: engine.containers.get("guest").pid not in (None, before))
    wait_for(lambda: shared("guest") == shared("donor"))
    wait_for(lambda: program("guest") == "sleep\n")
    engine.containers.stop("donor", 0)
    kill()
    wait_for(lambda: "cannot join" in engine.containers.get("guest").error)
    assert engine.containers.get("guest").state == "exited"


def test_whoever_ended_while_it_was_joined_is_not_trusted() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    who = identify(pid)
    assert who is not None
    joined.confirm([who])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(ConflictError, match="just ended"):
        joined.confirm([who])
