"""The calls of ``cowl-runtime`` as others make them: flags, output, what they print and log."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from engine.errors import UsageError
from engine.launch.steps import OPTIONS
from engine.runtime import killing, words
from tests.conformance.bundles import Bundle, eventually, whole

pytestmark = pytest.mark.kernel

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_words() -> None:
    kinds = {"pid-file": words.VALUE, "detach|d": words.FLAG, "env|e": words.VALUES}
    found = words.parse(["--pid-file", "a", "-d", "-e", "A=b", "c", "--env=C=d"], kinds)
    assert (found.one("pid-file"), found.on("detach"), found.all("env")) == ("a", True, ["A=b", "C=d"])
    assert found.rest == ["c"]
    found = words.parse(["-d", "c", "sh", "-c", "x"], kinds, interspersed=False)
    assert found.rest == ["c", "sh", "-c", "x"]
    assert words.parse(["--", "-d"], kinds).rest == ["-d"]
    for wrong in (["--nosuch"], ["--pid-file"]):
        with pytest.raises(UsageError):
            words.parse(wrong, kinds)


@pytest.mark.parametrize(
    ("text", "number"), [("KILL", 9), ("sigterm", 15), ("10", 10), ("SIGRTMIN+1", 35), ("RTMAX-2", 62)]
)
def test_names_of_signals(text: str, number: int) -> None:
    assert killing.signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIGNOPE", "-9"])
def test_names_of_no_signals(text: str) -> None:
    with pytest.raises(UsageError):
        killing.signal_number(text)


def test_an_error_is_one_object_in_the_log(bundle: Bundle, tmp_path: object) -> None:
    log = f"{tmp_path}/log"
    done = bundle.call("--log", log, "--log-format", "json", "state", "nobody")
    assert done.code == 1
    with open(log, encoding="utf-8") as file:
        entry = json.loads(file.read())
    assert entry["level"] == "error"
    assert "does not exist" in entry["msg"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["time"])
    assert "does not exist" in done.err


@pytest.mark.parametrize("flag", ["--systemd-cgroup", "--rootless=true", "--log-format=xml", "--nosuch"])
def test_global_flags_that_are_refused(bundle: Bundle, flag: str) -> None:
    assert bundle.call(flag, "list").code == 1


@pytest.mark.parametrize("command", ["checkpoint", "restore", "nosuch"])
def test_commands_that_are_refused(bundle: Bundle, command: str) -> None:
    assert bundle.call(command, "c").code == 1


def test_run_as_a_process_of_its_own(bundle: Bundle) -> None:
    bundle.script("cat; echo err >&2; exit 42")
    bundle.write()
    done = whole("--root", bundle.run_root, "run", "--bundle", bundle.path, "c", input="from outside\n")
    assert (done.returncode, done.stdout, done.stderr) == (42, "from outside\n", "err\n")
    bundle.nothing_left()


def test_run_passes_signals_on(bundle: Bundle) -> None:
    bundle.script("trap 'exit 33' TERM; echo ready; while :; do sleep 0.05; done")
    bundle.write()
    code = "import sys; from engine.runtime.main import main; main()"
    arguments = ["--root", bundle.run_root, "run", "--bundle", bundle.path, "c"]
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 33
    child.stdout.close()
    bundle.nothing_left()


def test_run_shows_a_terminal(bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    bundle.script("tty; read x; echo got $x; exit 5")
    bundle.write()
    pid, master = pty.fork()
    if pid == 0:
        code = "import sys; from engine.runtime.main import main; main()"
        arguments = ["--root", bundle.run_root, "run", "--bundle", bundle.path, "c"]
        os.execv(sys.executable, [sys.executable, "-c", code, *arguments])
    text = b""
    while b"/dev/pts/0" not in text:
        text += os.read(master, 1000)
    os.write(master, b"typed\r")
    while b"got typed" not in text:
        text += os.read(master, 1000)
    _, status = os.waitpid(pid, 0)
    os.close(master)
    assert os.waitstatus_to_exitcode(status) == 5


def test_list_ps_and_a_pid_file(bundle: Bundle, tmp_path: object) -> None:
    bundle.process["args"] = ["/bin/sleep", "100"]
    path = f"{tmp_path}/pid"
    bundle.create("one", "--pid-file", path).check()
    pid = bundle.state("one")["pid"]
    with open(path, encoding="ascii") as file:
        assert file.read() == str(pid)
    assert bundle.call("list", "--quiet").out == "one\n"
    assert [entry["id"] for entry in json.loads(bundle.call("list", "--format", "json").out)] == ["one"]
    assert bundle.call("list").out.splitlines()[1].split()[:3] == ["one", str(pid), "created"]
    assert json.loads(bundle.call("ps", "--format", "json", "one").out) == [pid]
    if subprocess.run(["ps", "-ef"], capture_output=True, check=False).returncode == 0:
        assert str(pid) in bundle.call("ps", "one").out
    else:
        assert "ps cannot list" in bundle.call("ps", "one").err
    assert json.loads(bundle.call("events", "--stats", "one").out)["data"]["pids"]["current"] >= 1


def test_exec(bundle: Bundle) -> None:
    bundle.process["args"] = ["/bin/sleep", "100"]
    bundle.create().check()
    bundle.call("start", "c").check()
    script = "id -u; id -g; pwd; echo $A; cat; exit 9"
    flags = ["--user", "12:34", "--cwd", "/tmp", "--env", "A=b"]
    done = bundle.call("exec", *flags, "c", "/bin/sh", "-c", script, stdin="typed\n")
    assert (done.code, done.out) == (9, "12\n34\n/tmp\nb\ntyped\n"), done.err
    missing = bundle.call("exec", "c", "nosuch")
    assert missing.code == 1
    assert "executable file not found" in missing.err


def test_exec_detached_of_a_process_object(bundle: Bundle, tmp_path: object) -> None:
    bundle.process["args"] = ["/bin/sleep", "100"]
    bundle.create().check()
    bundle.call("start", "c").check()
    document = {**bundle.process, "args": ["/bin/sh", "-c", "echo $$ > /pid; sleep 100"]}
    with open(f"{tmp_path}/process.json", "w", encoding="utf-8") as file:
        json.dump(document, file)
    pid_file = f"{tmp_path}/pid"
    flags = ["--process", f"{tmp_path}/process.json", "--detach", "--pid-file", pid_file]
    bundle.call("exec", *flags, "c").check()
    with open(pid_file, encoding="ascii") as file:
        pid = int(file.read())
    eventually(lambda: os.path.exists(f"{bundle.rootfs}/pid") and bundle.file("pid").endswith("\n"))
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        numbers = next(line for line in file if line.startswith("NSpid:")).split()
    assert numbers[1:] == [str(pid), bundle.file("pid").strip()]


def test_exec_in_what_does_not_run(bundle: Bundle) -> None:
    bundle.create().check()
    bundle.call("start", "c").check()
    bundle.wait("stopped")
    assert "it is stopped" in bundle.call("exec", "c", "/bin/true").err


def test_descriptors_can_be_passed(bundle: Bundle) -> None:
    bundle.script("cat <&3; [ -e /proc/self/fd/4 ] || echo no more")
    bundle.write()
    reader, writer = os.pipe()
    os.write(writer, b"through three\n")
    os.close(writer)
    code = (
        f"import os, sys; os.dup2({reader}, 3); os.dup2({reader}, 4);"
        "from engine.runtime.main import main; main()"
    )
    arguments = ["--root", bundle.run_root, "run", "--preserve-fds", "1", "--bundle", bundle.path, "c"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        pass_fds=[reader],
        check=False,
    )
    os.close(reader)
    assert done.stdout == "through three\nno more\n", done.stderr


def test_descriptors_that_are_not_open_are_refused(bundle: Bundle) -> None:
    assert "is not open" in bundle.create("c", "--preserve-fds", "40").err


def test_without_pivot_root(bundle: Bundle) -> None:
    bundle.script("ls /proc/self/root/bin/sh; cat /proc/self/mounts | head -1")
    bundle.write()
    done = bundle.call("run", "--no-pivot", "--bundle", bundle.path, "c").check()
    assert done.out.startswith("/proc/self/root/bin/sh\n")
    assert "CAP_SYS_CHROOT" in done.err


def test_everybody_is_killed(bundle: Bundle) -> None:
    bundle.script("sleep 100 & sleep 100 & echo ready > /ready; wait")
    bundle.create().check()
    bundle.call("start", "c").check()
    eventually(lambda: os.path.exists(f"{bundle.rootfs}/ready"))
    assert len(json.loads(bundle.call("ps", "-f", "json", "c").out)) == 3
    bundle.call("kill", "--all", "c", "KILL").check()
    bundle.wait("stopped")


def test_a_paused_container_can_be_killed(bundle: Bundle) -> None:
    bundle.process["args"] = ["/bin/sleep", "100"]
    bundle.create().check()
    bundle.call("start", "c").check()
    bundle.call("pause", "c").check()
    assert "it is paused" in bundle.call("exec", "c", "/bin/true").err
    bundle.call("kill", "c", "KILL").check()
    bundle.wait("stopped")


def test_features(bundle: Bundle) -> None:
    found = json.loads(bundle.call("features").check().out)
    assert found["ociVersionMax"] == "1.2.0"
    assert found["mountOptions"] == list(OPTIONS)
    assert {"pid", "user", "mount"} <= set(found["linux"]["namespaces"])


def test_the_example_runs(bundle: Bundle) -> None:
    bundle.call("spec", "--bundle", bundle.path).check()
    assert "exists" in bundle.call("spec", "--bundle", bundle.path).err
    with open(f"{bundle.path}/config.json", encoding="utf-8") as file:
        bundle.config = json.load(file)
    bundle.process["terminal"] = False
    bundle.linux["cgroupsPath"] = f"{bundle.cgroup_parent}/c"
    assert bundle.run("hostname").check().out == "cowl\n"


def test_a_creation_that_is_killed_can_be_deleted(bundle: Bundle) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"]}]}
    bundle.write()
    code = "import sys; from engine.runtime.main import main; main()"
    arguments = ["--root", bundle.run_root, "create", "--bundle", bundle.path, "c"]
    env = {**os.environ, "COWL_CGROUP_PARENT": bundle.cgroup_parent}
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], env=env)
    eventually(lambda: os.path.exists(f"{bundle.run_root}/c/state.json"))
    time.sleep(0.1)
    child.kill()
    child.wait()
    assert bundle.state()["status"] in ("creating", "stopped")
    bundle.call("delete", "--force", "c").check()
    bundle.nothing_left()


ALLOWED = {
    *("os", "sys", "errno", "stat", "signal", "time", "select", "fcntl", "struct", "json", "typing", "gc"),
    *(
        "collections",
        "contextlib",
        "ctypes",
        "functools",
        "itertools",
        "enum",
        "re",
        "math",
        "pwd",
        "termios",
    ),
    *(
        "abc",
        "codecs",
        "copyreg",
        "encodings",
        "genericpath",
        "io",
        "keyword",
        "operator",
        "posixpath",
        "tty",
    ),
    *("reprlib", "site", "types", "warnings", "zipimport", "marshal", "builtins", "posix", "runpy"),
}
"""What may be loaded for a container of somebody else's: each module more is a part of its start-up."""


def test_little_is_loaded(bundle: Bundle, tmp_path: object) -> None:
    bundle.write()
    probe = (
        "import json, sys; from engine.runtime.main import command; code = command(sys.argv[2:]);"
        "json.dump(sorted(sys.modules), open(sys.argv[1], 'w')); sys.exit(code)"
    )
    path = f"{tmp_path}/modules"
    for arguments in (
        ["create", "--bundle", bundle.path, "c"],
        ["start", "c"],
        ["state", "c"],
        ["delete", "-f", "c"],
    ):
        call = [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {CHECKOUT!r}); {probe}", path]
        env = {"COWL_CGROUP_PARENT": bundle.cgroup_parent}
        nothing = subprocess.DEVNULL  # a pipe would be the container's too, and be read to its end
        done = [*call, "--root", bundle.run_root, *arguments]
        subprocess.run(done, env=env, check=True, stdout=nothing, stderr=nothing)
        with open(path, encoding="utf-8") as file:
            found = {name.partition(".")[0] for name in json.load(file)}
        strangers = {name for name in found - ALLOWED - {"engine"} if not name.startswith("_")}
        assert strangers == set(), arguments
        if arguments[0] != "create":
            with open(path, encoding="utf-8") as file:
                assert "engine.launch.rootfs" not in json.load(file), arguments


@pytest.mark.parametrize(
    "words",
    [
        ["update", "--memory", "abc", "c"],
        ["update", "--resources", "/nowhere", "c"],
        ["update", "--resources", "-", "c"],
        ["update", "--cpuset-cpus", "x", "c"],
        ["exec", "--additional-gids", "abc", "c", "true"],
        ["exec", "--additional-gids", "-5", "c", "true"],
        ["exec", "--user", "²", "c", "true"],
        ["exec", "--preserve-fds", "²", "c", "true"],
        ["exec", "--cwd", "relative", "c", "true"],
        ["exec", "--env", "novalue", "c", "true"],
        ["exec", "--process", "/etc/passwd", "c"],
        ["ps", "--format", "xml", "c"],
        ["list", "--format", "xml"],
        ["kill", "c", "0"],
        ["kill", "c", "SIG_DFL"],
        ["kill", "c", "²"],
    ],
)
def test_what_is_wrong_in_a_call_is_said_in_one_line(bundle: Bundle, words: list[str]) -> None:
    bundle.process["args"] = ["sleep", "100"]
    bundle.create().check()
    bundle.call("start", "c").check()
    done = bundle.call(*words)
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert done.err.startswith("cowl-runtime: ")
    assert bundle.state()["status"] == "running"


def test_a_log_that_cannot_be_written_is_said_on_standard_error(bundle: Bundle) -> None:
    done = bundle.call("--log", "/nowhere/log", "state", "c")
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert "container c does not exist" in done.err
    assert "/nowhere/log" in done.err


def test_what_is_no_container_is_not_listed(bundle: Bundle) -> None:
    with open(f"{bundle.run_root}/file", "wb"):
        pass
    os.mkdir(f"{bundle.run_root}/empty")
    assert json.loads(bundle.call("list", "--format", "json").check().out) == []
    assert bundle.call("state", "file").code == 1
