"""Words of `run`, `create`, `exec` and `attach` that say how a launch is watched, noted and named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.attaching import detach_keys
from engine.engine import Engine
from engine.errors import UsageError
from engine.model import LaunchOptions
from tests.support.captures import start, wait_for
from tests.support.roots import Run, environment
from tests.support.traces import Root


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (None, b"\x10\x11"),
        ("", b"\x10\x11"),
        ("ctrl-a,d", b"\x01d"),
        ("ctrl-P,ctrl-@", b"\x10\x00"),
        ("ctrl-[,ctrl-_,-", b"\x1b\x1f-"),
    ],
)
def test_keys_are_written_as_docker_has_them(text: str | None, keys: bytes) -> None:
    assert detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-é", "ab", "ctrl-a,", "ctrl-1", "é"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        detach_keys(text)


@pytest.mark.kernel
def test_the_id_is_noted(starter_images: Root, cowl: Run, tmp_path: Path) -> None:
    for number, words in enumerate((["create"], ["run", "-d"], ["run"])):
        path = tmp_path / str(number)
        done = cowl(*words, "--cidfile", str(path), "starter", "echo", "-n", check=True)
        assert len(path.read_text()) == 64
        if words != ["run"]:
            assert done.stdout.strip() == path.read_text()
    again = cowl("run", "--cidfile", str(path), "starter", "true")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    assert cowl("run", "--cidfile", str(tmp_path / "x"), "no-such-image", "true").returncode == 125
    assert not (tmp_path / "x").exists()


@pytest.mark.kernel
def test_labels_come_from_files_and_then_from_words(starter_images: Root, cowl: Run, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("# no label\n\na=1\nb=two words\n  c\n")
    words = ("--label-file", str(tmp_path / "labels"), "-l", "a=3", "--name", "labelled", "starter", "true")
    cowl("create", *words, check=True)
    with Engine(starter_images.path) as engine:
        labels = engine.containers.get("labelled").labels
        of_image = engine.images.get("starter").config["config"]["Labels"]
    assert of_image and labels == {**of_image, "a": "3", "b": "two words", "c": ""}
    name = next(iter(of_image))
    cowl("create", "--name", "other", "-l", f"{name}=mine", "starter", "true", check=True)
    listed = cowl("ps", "-aq", "-f", f"label={name}=mine", "--format", "{{.Names}}", check=True).stdout
    assert len(listed.split()) == 1


@pytest.mark.kernel
def test_streams_that_are_attached(starter_images: Root, cowl: Run) -> None:
    both = ("starter", "sh", "-c", "echo out; echo err >&2; cat")
    for words, streams in (
        (("-a", "stdout"), ("out\n", "")),
        (("-a", "STDERR"), ("", "err\n")),
        (("-a", "stdout", "-a", "stderr"), ("out\n", "err\n")),
        (("-i", "-a", "stdin", "-a", "stdout"), ("out\nin", "")),
    ):
        done = cowl("run", "--rm", *words, *both, input="in", check=True)
        assert (done.stdout, done.stderr) == streams, words
    assert cowl("run", "-a", "stdouts", *both).returncode == 2
    assert cowl("run", "-d", "-a", "stdout", *both).returncode == 2


@pytest.mark.kernel
@pytest.mark.parametrize(("proxy", "code"), [("true", 7), ("false", 130)])
def test_signals_are_passed_on_unless_that_is_not_wanted(
    starter_images: Root, engine: Engine, proxy: str, code: int
) -> None:
    script = "trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done"
    command = [sys.executable, "-m", "engine.cli", "run", f"--sig-proxy={proxy}", "--name", "x"]
    child = subprocess.Popen(
        [*command, "starter", "sh", "-c", script], stdout=subprocess.PIPE, env=environment(starter_images)
    )
    with child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(60) in (code, -signal.SIGINT if code == 130 else code)
    assert (engine.containers.get("x").state == "running") == (proxy == "false")


@pytest.mark.kernel
def test_processes_of_another_container(engine: Engine, cowl: Run) -> None:
    other = start(engine, "sh", "-c", "exec sleep 1000", name="other")
    cowl("run", "-d", "--name", "beside", "--pid", "container:other", "starter", "sleep", "2000", check=True)
    seen = cowl("exec", "beside", "sh", "-c", "cat /proc/[0-9]*/cmdline", check=True).stdout
    assert "sleep\x001000" in seen and "sleep\x002000" in seen
    engine.containers.stop("beside", 0)
    assert engine.containers.get(other).state == "running"
    engine.containers.start("beside")
    engine.containers.kill("other")
    wait_for(lambda: engine.containers.get("beside").state == "exited")
    again = cowl("start", "beside")
    assert (again.returncode, "it is not running" in again.stderr) == (1, True)
    assert cowl("run", "--pid", "container:nobody", "starter", "true").returncode == 125


@pytest.mark.kernel
def test_limits_in_dockers_older_words(engine: Engine, cowl: Run) -> None:
    words = ("--cpu-period", "50000", "--cpu-quota", "25000", "--memory-reservation", "64m", "-m", "128m")
    cowl("create", "--name", "limited", *words, "starter", "true", check=True)
    limits = engine.containers.get("limited").limits
    assert (limits.cpus, limits.memory_reservation, limits.memory) == (0.5, 64 << 20, 128 << 20)
    engine.containers.start("limited")
    cowl("update", "--cpu-quota", "75000", "--memory-reservation", "32m", "limited", check=True)
    limits = engine.containers.get("limited").limits
    assert (limits.cpus, limits.memory_reservation, limits.memory) == (1.5, 32 << 20, 128 << 20)
    assert cowl("create", "--cpus", "1", "--cpu-quota", "5000", "starter", "true").returncode == 2
    assert "add --memory" in cowl("create", "--memory-swap", "64m", "starter", "true").stderr
    cowl("create", "--name", "free", "starter", "true", check=True)
    assert "add --memory" in cowl("update", "--memory-swap", "64m", "free").stderr
    cowl("update", "--memory-swap", "64m", "-m", "32m", "free", check=True)


@pytest.mark.kernel
def test_the_image_of_another_machine_is_no_substitute(starter_images: Root, cowl: Run) -> None:
    done = cowl("run", "--rm", "--platform", "linux/s390x", "starter", "true")
    assert (done.returncode, "linux/s390x" in done.stderr) == (125, True)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    for name in (os.uname().machine, f"linux/{machine}"):
        assert cowl("run", "--rm", "--platform", name, "starter", "echo", "hi", check=True).stdout == "hi\n"


@pytest.mark.kernel
def test_no_other_driver_keeps_a_log(starter_images: Root, cowl: Run) -> None:
    cowl("run", "--rm", "--log-driver", "json-file", "starter", "true", check=True)
    done = cowl("run", "--rm", "--log-driver", "syslog", "starter", "true")
    assert (done.returncode, "log driver syslog" in done.stderr) == (125, True)


def test_options_are_recorded_with_what_is_new() -> None:
    assert LaunchOptions("x").pid == "private"


@pytest.mark.kernel
def test_volumes_of_another_container(engine: Engine, cowl: Run, tmp_path: Path) -> None:
    words = ("-v", "/data", "-v", "kept:/kept", "-v", f"{tmp_path}:/here", "--name", "db")
    cowl(
        "run",
        *words,
        "starter",
        "sh",
        "-c",
        "echo 1 > /data/a; echo 2 > /kept/b; echo 3 > /here/c",
        check=True,
    )
    every = "cat /data/a /kept/b /here/c"
    done = cowl("run", "--rm", "--volumes-from", "db", "starter", "sh", "-c", every, check=True)
    assert done.stdout == "1\n2\n3\n"
    again = cowl(
        "run", "--rm", "--volumes-from", "db:ro", "starter", "sh", "-c", f"{every}; echo 4 > /data/a"
    )
    assert (again.returncode, again.stdout) == (2, "1\n2\n3\n")
    other = cowl(
        "run", "--rm", "-v", "/data", "--volumes-from", "db", "starter", "ls", "/data", "/kept", check=True
    )
    assert other.stdout.split() == ["/data:", "/kept:", "b"]
    assert cowl("run", "--volumes-from", "nobody", "starter", "true").returncode == 125
    assert cowl("run", "--volumes-from", "db:x", "starter", "true").returncode == 2
    assert engine.containers.get("db").options.volumes[0].anonymous


def test_what_docker_has_and_cowl_has_not_is_explained(cowl: Run) -> None:
    for words in (("--gpus", "all"), ("--link", "db"), ("--runtime=runc",), ("--pod", "x"), ("--ip6=::1",)):
        done = cowl("run", *words, "starter", "true")
        assert done.returncode == 2
        assert f"no such option {words[0].partition('=')[0]} (" in done.stderr, done.stderr
    assert "user namespace" in cowl("run", "--userns", "keep-id", "starter", "true").stderr


@pytest.mark.kernel
def test_the_signal_that_stops_can_be_named(engine: Engine, cowl: Run) -> None:
    script = "trap 'exit 5' USR1; trap 'exit 6' TERM; while :; do sleep 0.05; done"
    cowl("run", "-d", "--name", "x", "starter", "sh", "-c", script, check=True)
    wait_for(lambda: "sleep" in cowl("top", "x", check=True).stdout)
    cowl("stop", "-s", "USR1", "x", check=True)
    assert engine.containers.get("x").exit_code == 5
    cowl("start", "x", check=True)
    wait_for(lambda: "sleep" in cowl("top", "x", check=True).stdout)
    cowl("restart", "--signal", "SIGUSR1", "-t", "5", "x", check=True)
    assert cowl("stop", "-s", "nothing", "x").returncode == 2


@pytest.mark.kernel
def test_processes_as_ps_has_them(engine: Engine, cowl: Run) -> None:
    started = start(engine, "sh", "-c", "sleep 1234; true", name="x")
    wait_for(lambda: cowl("top", "x", "-o", "pid,args", check=True).stdout.count(" sleep 1234\n") == 1)
    lines = cowl("top", "x", "-o", "pid,args", check=True).stdout.splitlines()
    assert lines[0].split() == ["PID", "COMMAND"]
    assert [line.split(None, 1)[1] for line in lines[1:]] == ["sh -c sleep 1234; true", "sleep 1234"]
    assert str(engine.containers.get(started).pid) in lines[1]
    assert "sleep 1234" in cowl("top", "x", "aux", check=True).stdout
    assert cowl("top", "x", "-o", "args").returncode == 2
    assert cowl("top", "x", "--nonsense").returncode == 2


@pytest.mark.kernel
def test_what_is_gone_already_may_be_removed_by_force(starter_images: Root, cowl: Run) -> None:
    cowl("create", "--name", "x", "starter", "true", check=True)
    done = cowl("rm", "-f", "nobody", "x")
    assert (done.returncode, done.stdout, "nobody" in done.stderr) == (0, "x\n", True)
    assert cowl("ps", "-aq", check=True).stdout == ""
    assert cowl("rm", "nobody").returncode == 1
