"""What is asked for wrongly ends with one line that says what to do, an exit code, and nothing left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.roots import Run, environment
from tests.support.traces import Root

KERNEL = pytest.mark.kernel


def complaint(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on stderr of a command that failed with *code* and said nothing else."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("cowl: error: ")
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["--bogus"], "No such option '--bogus'"),
        (["run"], "Missing arguments"),
        (["exec", "a"], "Missing arguments"),
        (["run", "--bogus", "x"], "see cowl run --help"),
        (["run", "--name"], "'--name' requires an argument"),
        (["ps", "--bogus"], "see cowl ps --help"),
        (["stop"], "Missing argument"),
        (["logs", "-n", "few", "a"], "write -n 100 or -n all"),
        (["logs", "--since", "yesterday", "a"], "bad time 'yesterday'"),
        (["run", "-m", "64q", "starter"], "write it like 64m"),
        (["run", "-it", "starter"], "standard input is no terminal"),
        (["run", "Starter"], "names are lower case"),
        (["diff", "a", "b", "c"], "two at a time"),
        (["load", "-i"], "requires an argument"),
    ],
)
def test_wrong_usage(cowl: Run, words: list[str], said: str) -> None:
    assert said in complaint(cowl(*words), 2)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "nowhere"], 125, "no image nowhere"),
        (["create", "nowhere"], 1, "no image nowhere"),
        (["run", "-d", "nowhere"], 125, "cowl starter"),
        (["run", "--network", "container:nobody", "x"], 125, "no image x"),
        (["port", "nobody"], 1, "no container nobody"),
        (["exec", "nobody", "true"], 125, "no container nobody"),
        (["start", "-a", "nobody"], 125, "no container nobody"),
        (["start", "nobody"], 1, "no container nobody"),
        (["stop", "nobody"], 1, "no container nobody"),
        (["kill", "nobody"], 1, "no container nobody"),
        (["pause", "nobody"], 1, "no container nobody"),
        (["wait", "nobody"], 1, "no container nobody"),
        (["rm", "nobody"], 1, "no container nobody"),
        (["logs", "nobody"], 1, "no container nobody"),
        (["top", "nobody"], 1, "no container nobody"),
        (["stats", "--no-stream", "nobody"], 1, "no container nobody"),
        (["diff", "nobody"], 1, "nobody"),
        (["commit", "nobody", "x"], 1, "no container nobody"),
        (["history", "nowhere"], 1, "no image nowhere"),
        (["rmi", "nowhere"], 1, "no image nowhere"),
        (["tag", "nowhere", "x"], 1, "no image nowhere"),
        (["save", "-o", "/dev/null", "nowhere"], 1, "no image nowhere"),
        (["load", "-i", "/nowhere/at/all"], 1, "/nowhere/at/all"),
    ],
)
def test_what_is_not_there(cowl: Run, words: list[str], code: int, said: str) -> None:
    assert said in complaint(cowl(*words), code)


def test_inspect_says_what_there_is_besides(cowl: Run) -> None:
    done = cowl("inspect", "nobody")
    assert (done.returncode, done.stdout) == (1, "[]\n")
    assert "no container, no image and no volume nobody" in done.stderr


@KERNEL
def test_commands_that_cannot_run(starter_images: Root, cowl: Run) -> None:
    assert "nothing-like-it" in complaint(cowl("run", "--rm", "starter", "nothing-like-it"), 127)
    assert "/etc/passwd" in complaint(cowl("run", "--rm", "starter", "/etc/passwd"), 126)
    assert "/etc" in complaint(cowl("run", "--rm", "starter", "/etc"), 126)
    cowl("run", "-d", "--name", "a", "starter", "sleep", "600", check=True)
    assert "nothing-like-it" in complaint(cowl("exec", "a", "nothing-like-it"), 127)
    assert "/etc/passwd" in complaint(cowl("exec", "a", "/etc/passwd"), 126)
    cowl("rm", "-f", "a", check=True)
    assert json.loads(cowl("ps", "-a", "--json").stdout) == []


@KERNEL
def test_exit_codes_of_the_process(starter_images: Root, cowl: Run) -> None:
    assert cowl("run", "--rm", "starter", "sh", "-c", "exit 7").returncode == 7
    killed = "sh -c 'kill -KILL $$'; exit $?"
    assert cowl("run", "--rm", "starter", "sh", "-c", killed).returncode == 128 + signal.SIGKILL


@KERNEL
def test_a_name_in_use(starter_images: Root, cowl: Run) -> None:
    cowl("create", "--name", "a", "starter", "true", check=True)
    assert "the name a is in use" in complaint(cowl("run", "--name", "a", "starter", "true"), 125)
    assert "the name a is in use" in complaint(cowl("create", "--name", "a", "starter", "true"), 1)
    assert [each["name"] for each in json.loads(cowl("ps", "-a", "--json").stdout)] == ["a"]


@KERNEL
def test_what_runs_is_not_removed(starter_images: Root, cowl: Run) -> None:
    cowl("run", "-d", "--name", "a", "starter", "sleep", "600", check=True)
    assert "rm -f" in complaint(cowl("rm", "a"), 1)
    assert "a" in complaint(cowl("rmi", "starter"), 1)
    assert cowl("rm", "-f", "a").stdout == "a\n"
    assert "no container a" in complaint(cowl("exec", "a", "true"), 125)


@KERNEL
def test_one_of_several_fails(starter_images: Root, cowl: Run) -> None:
    cowl("create", "--name", "a", "starter", "true", check=True)
    done = cowl("rm", "nobody", "a")
    assert (done.returncode, done.stdout) == (1, "a\n")
    assert "no container nobody" in done.stderr


@KERNEL
@pytest.mark.parametrize(
    ("words", "code"), [(["run", "starter", "true"], 125), (["ps"], 1), (["starter"], 1)]
)
def test_not_root(root: Root, words: list[str], code: int) -> None:
    """In a user namespace that maps nobody: its processes are nobody themselves."""
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-m", "engine.cli", *words],
        env=environment(root),
        capture_output=True,
        text=True,
        check=False,
    )
    line = complaint(done, code)
    assert "needs root" in line
    assert "sudo" in line
    assert not os.path.exists(root.path)


@KERNEL
def test_a_kernel_without_overlay(root: Root, tmp_path: Path) -> None:
    """In a mount namespace whose /proc/filesystems does not list it."""
    listed = Path("/proc/filesystems").read_text(encoding="ascii").replace("nodev\toverlay\n", "")
    (tmp_path / "filesystems").write_text(listed, encoding="ascii")
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c", 'mount --bind "$0" /proc/filesystems && exec "$@"'),
            *(str(tmp_path / "filesystems"), sys.executable, "-m", "engine.cli", "run", "starter", "true"),
        ],
        env=environment(root),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no overlayfs" in complaint(done, 125)
    assert not os.path.exists(root.path)


def test_a_store_of_a_newer_cowl(root: Root, cowl: Run) -> None:
    import sqlite3

    assert cowl("images").returncode == 0
    with sqlite3.connect(root.layout.database) as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    assert "upgrade cowl" in complaint(cowl("images"), 1)
    shutil.rmtree(root.path)


def test_a_damaged_store(root: Root, cowl: Run) -> None:
    os.makedirs(root.path)
    Path(root.layout.database).write_bytes(
        b"this is no database, only a text that is long enough to be one" * 99
    )
    assert "damaged" in complaint(cowl("images"), 1)
    shutil.rmtree(root.path)


def test_a_root_that_cannot_be_made(cowl: Run) -> None:
    assert "choose another with --root" in complaint(cowl("--root", "/proc/nowhere", "images"), 1)


@KERNEL
def test_no_space_left(root: Root, tmp_path: Path) -> None:
    """On a root of 2 MiB."""
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c"),
            'mount -t tmpfs -o size=2m none "$0" && "$@"; c=$?; ls -A "$0"/staging; exit $c',
            *(str(tmp_path), sys.executable, "-m", "engine.cli", "--root", str(tmp_path), "starter"),
        ],
        env=environment(root),
        capture_output=True,
        text=True,
        check=False,
    )
    line = complaint(done, 1)
    assert "no space left" in line
    assert "--root" in line


def test_a_broken_pipe_ends_quietly(root: Root) -> None:
    done = subprocess.run(
        [
            "bash",
            "-c",
            'set -o pipefail; "$0" -m engine.cli images --json | true; echo "${PIPESTATUS[0]}"',
            sys.executable,
        ],
        env=environment(root),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_an_interrupt_ends_with_130(root: Root) -> None:
    """SIGINT while an archive is awaited on standard input."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "load"],
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(root),
    )
    os.close(reader)
    try:
        os.write(writer, b"\0")
        while "pipe" not in wchan(process.pid):
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        os.close(writer)
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (130, "", "")
    assert os.listdir(root.layout.staging) == []


def wchan(pid: int) -> str:
    """Where in the kernel the process waits."""
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def test_debug_shows_the_traceback(cowl: Run) -> None:
    done = cowl("run", "nowhere", env={"COWL_DEBUG": "1"})
    assert done.returncode == 125
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("cowl: error: ")


def test_without_a_command_and_a_terminal(cowl: Run) -> None:
    done = cowl()
    assert done.returncode == 2
    assert "Usage: cowl" in done.stdout
