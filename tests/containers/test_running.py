"""Starting, watching and ending containers, for real."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from engine.containers import attach
from engine.containers.foreground import Streams
from engine.engine import Engine
from engine.errors import (
    CommandNotFoundError,
    ConflictError,
    InUseError,
    NotExecutableError,
    NotFoundError,
    UsageError,
)
from engine.kernel.channel import Channel
from engine.model import LaunchOptions, Limits, Volume
from engine.store.layout import ContainerPaths
from tests.support.captures import UNTIL_TOLD, capture, execute, run, start, tell, wait_for
from tests.support.traces import Root, find, settle

pytestmark = pytest.mark.kernel


def test_both_streams_come_apart(engine: Engine) -> None:
    done = run(engine, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert done == (3, "out\n", "err\n")


def test_input_is_passed_and_ends(engine: Engine) -> None:
    assert run(engine, "cat", stdin=b"a\nb" * 100_000).out == "a\nb" * 100_000


def test_without_interactive_input_is_null(engine: Engine) -> None:
    assert run(engine, "sh", "-c", "cat; readlink /proc/self/fd/0").out == "/dev/null\n"


@pytest.mark.parametrize(("signal", "code"), [("KILL", 137), ("TERM", 143), ("SEGV", 139)])
def test_a_signal_that_ended_it_is_told(engine: Engine, signal: str, code: int) -> None:
    # pid 1 ignores what it has no handler for, so a child dies of it.
    assert run(engine, "sh", "-c", f"sh -c 'kill -{signal} $$'; exit $?").code == code


def test_codes_of_what_cannot_run(engine: Engine) -> None:
    with pytest.raises(CommandNotFoundError) as missing:
        run(engine, "no-such-command")
    assert missing.value.exit_code == 127
    with pytest.raises(NotExecutableError) as directory:
        run(engine, "/etc")
    assert directory.value.exit_code == 126
    with pytest.raises(NotExecutableError):
        run(engine, "/etc/passwd")
    assert engine.containers.list() == []


def test_a_node_without_a_tag_has_the_environment_of_an_image_above_it(engine: Engine) -> None:
    first = start(engine)
    lower = engine.changes.commit(first, "lower:1", changes=["ENV COLOUR=red"])
    second = start(engine, image="lower:1")
    engine.changes.commit(second, "upper:1")
    for container in (first, second):
        engine.containers.remove(container, force=True)
    engine.images.remove(["lower:1"])
    [node] = [node for node in engine.images.forest() if node.chain_id == lower.chain_id]
    assert node.tags == ()
    assert run(engine, "sh", "-c", "echo $COLOUR", image=node.chain_id).out == "red\n"


def test_a_failed_start_is_remembered(engine: Engine) -> None:
    with pytest.raises(CommandNotFoundError):
        start(engine, "nope", name="f")
    found = engine.containers.get("f")
    assert (found.state, found.exit_code, found.pid) == ("exited", 127, None)
    assert "nope" in found.error


def test_what_was_to_go_goes_whatever_kept_it_from_starting(engine: Engine) -> None:
    name = start(engine, "true")
    engine.containers.wait(name)
    with pytest.raises(ConflictError, match="not running"):
        start(engine, "true", network=f"container:{name}", auto_remove=True)
    with pytest.raises(ConflictError, match="not running"):
        run(engine, "true", network=f"container:{name}")
    assert [each.id for each in engine.containers.list()] == [name]


def test_life_of_a_container(engine: Engine, root: Root) -> None:
    options = LaunchOptions(
        "starter", ("sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.02; done")
    )
    made = engine.containers.create(options)
    assert made.state == "created"
    engine.containers.start(made.id)
    running = engine.containers.get(made.id)
    assert (running.state, running.monitored) == ("running", True)
    assert running.pid is not None
    with pytest.raises(ConflictError):
        engine.containers.start(made.id)
    with pytest.raises(InUseError):
        engine.containers.remove(made.id)
    wait_for(lambda: list(engine.containers.logs(made.id)))
    engine.containers.stop(made.id)
    ended = engine.containers.get(made.id)
    assert (ended.state, ended.exit_code, ended.error, ended.pid) == ("exited", 9, "", None)
    assert ended.started and ended.finished and ended.started < ended.finished
    assert not find(root).cgroups
    engine.containers.start(made.id)
    assert engine.containers.get(made.id).state == "running"
    engine.containers.remove(made.id, force=True)
    assert engine.containers.list() == []
    assert not settle(root)
    assert os.listdir(root.layout.containers) == []
    assert os.listdir(root.layout.trash) == []


def test_stop_kills_what_does_not_listen(engine: Engine) -> None:
    name = start(engine, "sleep", "1000")
    begun = time.monotonic()
    engine.containers.stop(name, timeout=0.2)
    assert time.monotonic() - begun >= 0.2
    assert engine.containers.get(name).exit_code == 137


def test_the_stop_signal_is_the_one_asked_for(engine: Engine) -> None:
    name = start(
        engine, "sh", "-c", "trap 'exit 5' USR1; echo up; while :; do sleep 0.02; done", stop_signal="USR1"
    )
    wait_for(lambda: list(engine.containers.logs(name)))
    engine.containers.stop(name)
    assert engine.containers.get(name).exit_code == 5


def test_pause_stops_time(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "while :; do i=$((i+1)); echo $i > /count; sleep 0.01; done")
    count = Path(engine.containers.inspect(name)["upper"], "count")
    wait_for(count.exists)
    engine.containers.pause(name)
    assert engine.containers.get(name).state == "paused"
    with pytest.raises(ConflictError):
        engine.containers.exec(name, ["true"])
    before = count.read_text()  # rather than its log, which its monitor may be writing still
    time.sleep(0.1)
    assert count.read_text() == before
    engine.containers.unpause(name)
    wait_for(lambda: count.read_text() not in ("", before))


def test_a_paused_container_can_be_killed(engine: Engine) -> None:
    name = start(engine)
    engine.containers.pause(name)
    engine.containers.kill(name)
    assert engine.containers.get(name).exit_code == 137
    engine.containers.start(name)
    engine.containers.pause(name)
    engine.containers.stop(name, timeout=0.1)
    assert engine.containers.get(name).state == "exited"


def test_wait_tells_every_waiter(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    name = start(engine, "sh", "-c", f"{UNTIL_TOLD}; exit 4", auto_remove=True)
    connect, connected = attach._connect, []

    def counted(paths: ContainerPaths) -> Channel:
        connected.append(connect(paths))
        return connected[-1]

    monkeypatch.setattr(attach, "_connect", counted)
    codes: list[int] = []
    waiters = [threading.Thread(target=lambda: codes.append(engine.containers.wait(name))) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    wait_for(lambda: len(connected) == 3)
    tell(engine, name)
    for waiter in waiters:
        waiter.join(60)
    assert codes == [4, 4, 4]
    wait_for(lambda: not engine.containers.list())


def test_a_name_belongs_to_one(engine: Engine) -> None:
    start(engine, "true", name="one")
    with pytest.raises(ConflictError, match="one"):
        start(engine, "true", name="one")
    assert len(engine.containers.list()) == 1
    engine.containers.rename("one", "two")
    assert engine.containers.get("two").name == "two"
    with pytest.raises(NotFoundError):
        engine.containers.get("one")


def test_an_unknown_image_leaves_nothing(engine: Engine, root: Root) -> None:
    with pytest.raises(NotFoundError):
        start(engine, "true", image="nothing-of-that-name")
    with pytest.raises(UsageError):
        start(engine, "true", name="no/slash")
    assert engine.containers.list() == []
    assert os.listdir(root.layout.containers) == []


def test_starting_from_many_threads(engine: Engine) -> None:
    with Engine(engine.root, launcher=True) as other:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(3):
                    done = other.containers.run(
                        LaunchOptions("starter", ("sh", "-c", f"exit {number}"), auto_remove=True),
                        attach=True,
                        streams=Streams(None, None, None),
                    )
                    assert done == number, turn
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
    assert engine.containers.list() == []


def test_through_the_launcher(engine: Engine) -> None:
    with Engine(engine.root, launcher=True) as other:
        assert run(other, "sh", "-c", "echo hi; exit 2") == (2, "hi\n", "")
        name = start(other)
        assert execute(other, name, "sh", "-c", "cat; exit 6", stdin=b"in") == (6, "in", "")
        with pytest.raises(CommandNotFoundError):
            run(other, "nope")
    assert engine.containers.get(name).state == "running"


def test_files_that_cowl_shows_are_no_changes(engine: Engine) -> None:
    done = start(
        engine, "sh", "-c", "cat /etc/hosts /etc/hostname /etc/resolv.conf; mkdir -p /proc /dev /sys"
    )
    engine.containers.wait(done)
    assert engine.changes.of(done) == []


def test_host_name_and_environment(engine: Engine) -> None:
    done = run(
        engine,
        "sh",
        "-c",
        'hostname; echo "$A,$HOME,$HOSTNAME"; grep -c web /etc/hosts; pwd; echo "${COWL_ROOT-unset}"',
        hostname="web",
        env=("A=1 2",),
        workdir="/usr/share",
    )
    assert done.out == "web\n1 2,/root,web\n1\n/usr/share\nunset\n"


def test_a_working_directory_that_the_image_lacks(engine: Engine) -> None:
    name = start(engine, "pwd", workdir="/not/yet/there")
    assert engine.containers.wait(name) == 0
    assert [line.text for line in engine.containers.logs(name)] == ["/not/yet/there"]
    assert engine.changes.of(name) == []


def test_volumes(engine: Engine, tmp_path: object) -> None:
    shared = f"{tmp_path}/shared"
    os.makedirs(f"{shared}/below")
    volumes = (Volume(shared, "/data"), Volume(f"{shared}/below", "/srv/deep/ro", read_only=True))
    done = run(
        engine, "sh", "-c", "echo x > /data/made; echo y > /srv/deep/ro/no || echo refused", volumes=volumes
    )
    assert "refused" in done.out
    with open(f"{shared}/made", encoding="ascii") as file:
        assert file.read() == "x\n"


def test_a_read_only_root(engine: Engine) -> None:
    done = run(
        engine,
        "sh",
        "-c",
        "touch /x 2>/dev/null || echo ro; touch /tmp/x && echo tmp; touch /dev/shm/x && echo shm",
        read_only=True,
        tmpfs=("/tmp",),
    )
    assert done.out == "ro\ntmp\nshm\n"


def test_limits_reach_the_cgroup_and_change(engine: Engine) -> None:
    name = start(engine, limits=Limits(memory=64 << 20, pids=40, cpus=0.5))
    engine.containers.update(name, Limits(pids=50))
    found = engine.containers.get(name)
    assert (found.limits.memory, found.limits.pids, found.limits.cpus) == (64 << 20, 50, 0.5)
    group = engine.containers.inspect(name)["cgroup"]["directories"]
    place = group.get("pids") or group["unified"]
    with open(f"{place}/pids.max", encoding="ascii") as file:
        assert file.read() == "50\n"


def test_out_of_memory_is_told(engine: Engine) -> None:
    command = "exec python3 -c 'x = bytearray(200 << 20)'"
    name = start(engine, "sh", "-c", command, limits=Limits(memory=32 << 20, memory_swap=32 << 20))
    assert engine.containers.wait(name) == 137
    assert engine.containers.get(name).oom_killed


def test_host_network_shares_the_hosts(engine: Engine) -> None:
    done = run(engine, "readlink", "/proc/self/ns/net", network="host")
    assert done.out.strip() == os.readlink("/proc/self/ns/net")


def test_a_slow_watcher_does_not_hold_the_container(engine: Engine) -> None:
    """An attached client that reads nothing is let go, and the container comes to its end."""
    script = f"{UNTIL_TOLD}; head -c 8000000 /dev/zero | tr '\\0' 'a'; echo end"
    name = start(engine, "sh", "-c", script)
    paths = engine.store.layout.container(engine.containers.get(name).id)
    with attach.connect(paths, name):
        tell(engine, name)
        assert engine.containers.wait(name) == 0
    assert next(iter(engine.containers.logs(name, tail=1))).text.endswith("end")


def test_attach_sees_what_comes_and_feeds(engine: Engine) -> None:
    name = start(engine, "cat", interactive=True)
    with capture(b"typed\n") as (streams, read):
        assert engine.containers.attach(name, streams=streams) == 0
        assert read()[0] == "typed\n"
