"""Commands on containers, beyond the main story."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from engine.model import JSON
from tests.support.captures import wait_for
from tests.support.roots import Run, environment
from tests.support.traces import Root

pytestmark = pytest.mark.kernel


@pytest.fixture
def ready(starter_images: Root, cowl: Run) -> Run:
    """`cowl` with the starter images."""
    return cowl


def ps(cowl: Run, *words: str) -> list[JSON]:
    found: list[JSON] = json.loads(cowl("ps", *words, "--json", check=True).stdout)
    return found


def test_a_life(ready: Run) -> None:
    [identity] = ready("create", "--name", "a", "starter", "sleep", "600", check=True).stdout.split()
    assert len(identity) == 64
    assert [each["state"] for each in ps(ready, "-a")] == ["created"]
    assert ps(ready) == []
    assert ready("start", "a", check=True).stdout == "a\n"
    assert ready("pause", identity[:6], check=True).stdout == f"{identity[:6]}\n"
    assert [each["state"] for each in ps(ready)] == ["paused"]
    assert ready("unpause", "a", check=True).stdout == "a\n"
    assert ready("ps", "-q").stdout == f"{identity[:12]}\n"
    ready("rename", "a", "b", check=True)
    first = ps(ready)[0]["pid"]
    assert ready("restart", "-t", "0", "b", check=True).stdout == "b\n"
    assert ps(ready)[0]["pid"] != first
    assert ready("kill", "-s", "KILL", "b", check=True).stdout == "b\n"
    assert ready("wait", "b", check=True).stdout == "137\n"
    assert [(each["state"], each["exit_code"]) for each in ps(ready, "-a")] == [("exited", 137)]
    assert ready("rm", "b", check=True).stdout == "b\n"
    assert ps(ready, "-a") == []


def test_wait_is_told_the_end(ready: Run) -> None:
    ready("run", "-d", "--name", "a", "starter", "sh", "-c", "sleep 0.3; exit 5", check=True)
    assert ready("wait", "a", check=True).stdout == "5\n"


def test_start_again_attached(ready: Run) -> None:
    ready("create", "-i", "--name", "a", "starter", "sh", "-c", "cat; echo err >&2; exit 4", check=True)
    done = ready("start", "-a", "-i", "a", input="typed\n")
    assert (done.returncode, done.stdout, done.stderr) == (4, "typed\n", "err\n")
    ready("create", "--name", "b", "starter", "sh", "-c", "cat; echo out", check=True)
    done = ready("start", "-a", "b", input="ignored\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")


def test_logs(ready: Run) -> None:
    script = "for n in 1 2 3; do echo out $n; echo err $n >&2; done; printf last"
    ready("run", "--name", "a", "starter", "sh", "-c", script, check=True)
    done = ready("logs", "a", check=True)
    assert (done.stdout, done.stderr) == ("out 1\nout 2\nout 3\nlast", "err 1\nerr 2\nerr 3\n")
    lines = [
        json.loads(line) for line in ready("logs", "--json", "-n", "2", "a", check=True).stdout.splitlines()
    ]
    assert len(lines) == 2
    assert set(lines[0]) == {"time", "stream", "text", "ended"}
    assert (lines[-1]["text"], lines[-1]["ended"]) == ("last", False)
    stamped = ready("logs", "-t", "a", check=True).stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["out 1", "out 2", "out 3", "last"]
    after = stamped[1].split(" ")[0]
    assert "out 1" not in ready("logs", "--since", after, "a", check=True).stdout
    assert ready("logs", "--since", "1h", "a", check=True).stdout == done.stdout
    assert ready("logs", "--until", "1h", "a", check=True).stdout == ""


def test_logs_are_followed_to_the_end(ready: Run) -> None:
    ready("run", "-d", "--name", "a", "starter", "sh", "-c", "echo one; sleep 0.4; echo two", check=True)
    assert ready("logs", "-f", "a", check=True).stdout == "one\ntwo\n"


def speak_in_turn(root: Root, script: str, *pieces: str) -> None:
    """Run the container `a`, which waits for a line after each of *pieces*; capitals come on stderr."""
    words = [sys.executable, "-m", "engine.cli", "run", "-i", "--name", "a", "starter", "sh", "-c", script]
    with subprocess.Popen(
        words, env=environment(root), bufsize=0, stdin=PIPE, stdout=PIPE, stderr=PIPE
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        for piece in pieces:
            stream = process.stderr if piece.isupper() else process.stdout
            assert stream.read(len(piece)).decode() == piece
            process.stdin.write(b"\n")
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_what_has_no_newline_is_given_none(ready: Run, root: Root) -> None:
    """As docker has it: a line begins when the other stream's has ended, however the pieces came."""
    script = "printf a; read x; echo B >&2; read x; echo c; printf D >&2; printf e"
    speak_in_turn(root, script, "a", "B\n")
    for words in (("logs", "a"), ("logs", "-f", "a")):
        done = ready(*words, check=True)
        assert (done.stdout, done.stderr) == ("ac\ne", "B\nD")
    assert ready("logs", "-n", "1", "a", check=True).stdout == "e"
    lines = [json.loads(line) for line in ready("logs", "--json", "a", check=True).stdout.splitlines()]
    assert [(each["text"], each["ended"]) for each in lines] == [
        *(("B", True), ("ac", True)),
        *(("D", False), ("e", False)),
    ]
    stamps = {each["text"]: each["time"] for each in lines}
    done = ready("logs", "-t", "a", check=True)
    assert done.stdout == f"{stamps['ac']} ac\n{stamps['e']} e"
    assert done.stderr == f"{stamps['B']} B\n{stamps['D']} D"
    ready("start", "-ai", "a", check=True)  # and the log goes on, as docker's does
    assert ready("logs", "a", check=True).stdout == "ac\neac\ne"


def test_both_streams_of_a_log_in_one_file_are_in_order(ready: Run, root: Root) -> None:
    script = "for n in 1 2 3; do echo out $n; read x; echo ERR $n >&2; read x; done; printf last"
    speak_in_turn(root, script, *(f"{word} {n}\n" for n in (1, 2, 3) for word in ("out", "ERR")))
    words = [sys.executable, "-m", "engine.cli", "logs", "a"]
    done = subprocess.run(
        words, env=environment(root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    assert done.stdout == "".join(f"out {n}\nERR {n}\n" for n in (1, 2, 3)) + "last"


def test_a_prompt_is_followed_before_its_newline(ready: Run, root: Root) -> None:
    script = "printf 'Name: '; read name; echo $name"
    ready("run", "-di", "--name", "a", "starter", "sh", "-c", script, check=True)
    words = [sys.executable, "-m", "engine.cli", "logs", "-ft", "a"]
    with subprocess.Popen(words, env=environment(root), stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        found = b""
        while not found.endswith(b"Name: "):
            data = following.stdout.read1()
            assert data
            found += data
        ready("attach", "a", input="somebody\n", check=True)
        rest = following.stdout.read()
    assert re.fullmatch(rb"[0-9-]{10}T[0-9:.]+Z Name: somebody\n", found + rest)


def test_top(ready: Run) -> None:
    ready("run", "-d", "--name", "a", "starter", "sh", "-c", "sleep 600; true", check=True)

    def listed() -> list[JSON]:
        return list(json.loads(ready("top", "--json", "a", check=True).stdout))

    wait_for(lambda: "sleep 600" in [each["command"] for each in listed()])  # a fork, at first, of the shell
    found = listed()
    assert {each["command"] for each in found} == {"sh -c sleep 600; true", "sleep 600"}
    assert {each["uid"] for each in found} == {0}
    assert found[1]["parent"] == found[0]["pid"]
    assert "sleep 600" in ready("top", "a", check=True).stdout


def test_inspect(ready: Run) -> None:
    ready("run", "-d", "--name", "a", "-m", "64m", "-l", "k=v", "starter", "sleep", "600", check=True)
    container, image = json.loads(ready("inspect", "a", "starter", check=True).stdout)
    assert container["labels"].pop("cowl.starter")  # the image's
    assert (container["name"], container["labels"], container["limits"]["memory"]) == (
        "a",
        {"k": "v"},
        64 << 20,
    )
    assert os.path.isdir(container["upper"])
    assert Path(f"/proc/{container['pid']}/comm").read_text(encoding="ascii") == "sleep\n"
    assert container["config"]["process"]["args"] == ["sleep", "600"]
    assert container["chain_id"] == image["chain_id"]
    [only] = json.loads(ready("inspect", "--type", "image", "starter:base", check=True).stdout)
    assert only["chain_id"] != image["chain_id"]


def test_the_environment_of_a_process(ready: Run, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=1\n", encoding="ascii")
    words = (
        "run",
        "--rm",
        "-e",
        "A=b c",
        "-e",
        "HERE",
        "--env-file",
        f"{tmp_path}/env",
        "-w",
        "/etc",
        "starter",
    )
    script = 'echo "$A|$HERE|$FROM_FILE|$PWD"'
    assert ready(*words, "sh", "-c", script, env={"HERE": "yes"}).stdout == "b c|yes|1|/etc\n"


def test_volumes(ready: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host\n", encoding="ascii")
    words = (
        "run",
        "--rm",
        "-v",
        f"{tmp_path}:/data",
        "starter",
        "sh",
        "-c",
        "cat /data/file; echo back > /data/new",
    )
    assert ready(*words, check=True).stdout == "host\n"
    assert (tmp_path / "new").read_text(encoding="ascii") == "back\n"
    read_only = ("run", "--rm", "-v", f"{tmp_path}:/data:ro", "starter", "sh", "-c", "echo x > /data/other")
    assert ready(*read_only).returncode != 0
    assert not (tmp_path / "other").exists()


def test_standard_input_and_output_are_bytes(starter_images: Root) -> None:
    data = bytes(range(256)) * 4096
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "run", "--rm", "-i", "starter", "cat"],
        env=environment(starter_images),
        input=data,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_a_terminal(starter_images: Root) -> None:
    """`cowl run -it` in a terminal of 33 rows: the container's has as many, and its end is ours."""
    child, master = pty.fork()
    if child == 0:
        words = ["run", "--rm", "-it", "starter", "sh", "-c", "stty size; read line; echo got $line; exit 9"]
        os.execve(sys.executable, [sys.executable, "-m", "engine.cli", *words], environment(starter_images))
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        seen = read_until(master, b"33 77")
        os.write(master, b"typed\r")
        seen += read_until(master, b"got typed")
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 9
    finally:
        os.close(master)


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """What a terminal shows, until *wanted* is in it."""
    seen = b""
    deadline = time.monotonic() + 30
    while wanted not in seen:
        assert select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0], seen
        seen += os.read(descriptor, 4096)
    return seen


def test_the_workstation_is_opened_in_a_terminal_alone(root: Root, tmp_path: Path) -> None:
    """`cowl` becomes ``python -m tui``, which a stand-in on the module path proves."""
    for place, text in (("path", "the app"), ("here", "an impostor")):
        package = tmp_path / place / "tui"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        stand_in = f"import os, sys; print({text!r}, 'on', os.environ['COWL_ROOT'], 'engine' in sys.modules)"
        (package / "__main__.py").write_text(stand_in, encoding="utf-8")
    child, master = pty.fork()
    if child == 0:
        os.chdir(tmp_path / "here")
        os.execve(
            sys.executable,
            [sys.executable, "-c", "from engine.cli.main import main; main()", "--root", "store"],
            environment(root, {"PYTHONPATH": f"{tmp_path}/path"}),
        )
    try:
        assert f"the app on {tmp_path}/here/store False" in read_until(master, b"False").decode()
    finally:
        os.waitpid(child, 0)
        os.close(master)


def test_a_stream_of_statistics_ends_with_an_interrupt(ready: Run, root: Root) -> None:
    """Two samples, a second apart, as JSON Lines; SIGINT ends it with 130 and no word."""
    ready("run", "-d", "--name", "a", "starter", "sleep", "600", check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "stats", "--json"],
        env=environment(root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert 0.8e9 < second["monotonic_ns"] - first["monotonic_ns"] < 5e9
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (130, "", "")


def test_a_sample_has_the_keys_that_scripts_read(ready: Run) -> None:
    ready("run", "-d", "--name", "a", "starter", "sleep", "600", check=True)
    sample = json.loads(ready("stats", "--no-stream", "--json", check=True).stdout)
    assert set(sample) >= {
        *("container", "name", "time", "cpu_percent", "cpu_usage_ns", "throttled_periods", "throttled_ns"),
        *(
            "memory_bytes",
            "memory_limit_bytes",
            "memory_peak_bytes",
            "oom_kills",
            "swap_bytes",
            "io_read_bytes",
        ),
        *("io_write_bytes", "net_rx_bytes", "net_tx_bytes", "pids", "pids_limit", "pressure"),
    }
    assert sample["pressure"] is None or set(sample["pressure"]) == {"cpu", "memory", "io"}
    assert "a " in ready("stats", "--no-stream", check=True).stdout


def test_exec_has_what_it_is_given(ready: Run) -> None:
    ready("run", "-d", "--name", "a", "starter", "sleep", "600", check=True)
    done = ready(
        "exec", "-i", "-e", "A=1", "-w", "/etc", "a", "sh", "-c", 'echo "$A $PWD"; cat', input="in\n"
    )
    assert (done.returncode, done.stdout) == (0, "1 /etc\nin\n")
    assert ready("exec", "-u", "65534", "a", "id", "-u").stdout == "65534\n"
    assert ready("exec", "a", "sh", "-c", "echo err >&2; exit 3").returncode == 3
    assert ready("exec", "-d", "a", "sh", "-c", "echo done > /mark", check=True).stdout == ""
    deadline = time.monotonic() + 60
    while ready("exec", "a", "cat", "/mark").stdout != "done\n":
        assert time.monotonic() < deadline


def test_an_attached_run_that_nobody_reads(ready: Run, root: Root) -> None:
    """Its reader gone, the container still ends by itself, with its own code."""
    script = '"$0" -m engine.cli run --name a starter sh -c "sleep 0.2; seq 100000; exit 6" | head -n 1'
    done = subprocess.run(
        ["bash", "-c", f'{script}; echo "${{PIPESTATUS[0]}}"', sys.executable],
        env=environment(root),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1\n6\n", "")
    assert ready("logs", "-n", "1", "a", check=True).stdout == "100000\n"
