"""Terminals: raw mode, sizes, detach keys, console, and what a real terminal sees of the command line."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time

import pytest

from engine.containers.foreground import Keys, Streams
from engine.engine import Engine
from engine.kernel import terminal
from engine.model import LaunchOptions
from tests.support import roots
from tests.support.captures import UNTIL_TOLD, execute, run, start, tell, wait_for
from tests.support.traces import Root

pytestmark = pytest.mark.kernel


class Screen:
    """A `cowl` process on a terminal of its own."""

    def __init__(self, root: Root, *arguments: str, rows: int = 33, columns: int = 101) -> None:
        self.master, slave = pty.openpty()
        terminal.set_size(slave, terminal.Size(rows, columns))
        self.before = termios.tcgetattr(self.master)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", *arguments],
            env=roots.environment(root),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.text = b""

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def expect(self, text: bytes, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, self.text
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.text += os.read(self.master, 65536)
                except OSError:
                    assert text in self.text, self.text

    def end(self) -> int:
        code = self.process.wait(60)
        os.close(self.master)
        return code


def test_size_raw_mode_and_code(starter_images: Root) -> None:
    screen = Screen(starter_images, "run", "-it", "--rm", "starter", "sh")
    screen.expect(b"# ")
    screen.type(b"stty size; tty; echo $TERM; ls -l /dev/console | cut -c1\n")
    screen.expect(b"33 101\r\n")
    screen.expect(b"/dev/pts/0\r\n")
    screen.expect(b"xterm\r\nc\r\n")
    terminal.set_size(screen.master, terminal.Size(40, 90))
    os.kill(screen.process.pid, signal.SIGWINCH)
    screen.type(b"until [ \"$(stty size)\" = '40 90' ]; do sleep 0.02; done; stty size\n")
    screen.expect(b"40 90\r\n")
    screen.type(b"exit 5\n")
    screen.process.wait(60)
    assert termios.tcgetattr(screen.master) == screen.before
    assert screen.end() == 5


def test_ctrl_c_reaches_the_foreground_inside(starter_images: Root) -> None:
    screen = Screen(starter_images, "run", "-it", "--rm", "starter", "sh")
    screen.expect(b"# ")
    screen.type(b"sleep 100; echo code $((1+$?))\n")
    time.sleep(0.3)
    screen.type(b"\x03")
    screen.type(b"echo go$((1+1))on\n")
    screen.expect(b"go2on")
    screen.type(b"\x04")
    screen.end()


def test_detach_and_attach(engine: Engine, root: Root) -> None:
    screen = Screen(root, "run", "-it", "--name", "t", "starter", "sh")
    screen.expect(b"# ")
    screen.type(b"\x10\x11")
    screen.process.wait(60)
    assert termios.tcgetattr(screen.master) == screen.before
    assert screen.end() == 0
    assert engine.containers.get("t").state == "running"
    source, sink = os.pipe()
    shown, out = os.pipe()
    watcher = threading.Thread(
        target=lambda: engine.containers.attach("t", streams=Streams(source, out, out)), daemon=True
    )
    watcher.start()
    os.write(sink, b"echo a$((1+1))b; exit 4\n")
    assert engine.containers.wait("t") == 4
    watcher.join(60)
    assert b"a2b" in os.read(shown, 65536)
    for descriptor in (source, sink, shown, out):
        os.close(descriptor)


def test_interrupt_without_terminal_goes_to_the_container(starter_images: Root) -> None:
    command = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "engine.cli",
            "run",
            "--rm",
            "starter",
            "sh",
            "-c",
            "trap 'echo got; exit 6' INT; echo up; while :; do sleep 0.05; done",
        ],
        env=roots.environment(starter_images),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == b"up\n"
    command.send_signal(signal.SIGINT)
    assert command.stdout.read() == b"got\n"
    assert command.wait(60) == 6
    command.stdout.close()


def test_exec_on_a_terminal(engine: Engine, root: Root) -> None:
    name = start(engine)
    screen = Screen(root, "exec", "-it", name, "sh")
    screen.expect(b"# ")
    screen.type(b"stty size; tty\n")
    screen.expect(b"33 101\r\n/dev/pts/")
    screen.type(b"exit 3\n")
    screen.process.wait(60)
    assert termios.tcgetattr(screen.master) == screen.before
    assert screen.end() == 3


def test_a_terminal_of_ours_never_enters(engine: Engine, root: Root) -> None:
    name = start(engine)
    screen = Screen(
        root, "exec", "-i", name, "sh", "-c", "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; cat"
    )
    screen.expect(b"pipe:")
    assert b"pts" not in screen.text
    screen.type(b"x\n\x04")
    assert screen.end() == 0


def test_the_last_output_of_a_terminal_is_not_lost(engine: Engine) -> None:
    for _ in range(10):
        done = run(engine, "sh", "-c", "head -c 50000 /dev/zero | tr '\\0' y; echo end", tty=True)
        assert done.out == "y" * 50000 + "end\r\n"


def test_exec_is_not_held_by_a_background_child(engine: Engine) -> None:
    name = start(engine)
    done = execute(engine, name, "sh", "-c", "sleep 1000 & echo now; exit 2")
    assert (done.code, done.out) == (2, "now\n")


def test_a_terminal_has_a_size_even_when_nobody_looks(engine: Engine) -> None:
    name = engine.containers.run(LaunchOptions("starter", ("stty", "size"), tty=True)).id
    assert engine.containers.wait(name) == 0
    wait_for(lambda: list(engine.containers.logs(name)))
    assert next(iter(engine.containers.logs(name))).text == "24 80\r"


def test_keys() -> None:
    keys = Keys()
    assert keys.feed(b"ab\x10c") == (b"ab\x10c", False)
    assert keys.feed(b"x\x10") == (b"x", False)
    assert keys.feed(b"\x10") == (b"\x10", False)
    assert keys.feed(b"\x11y") == (b"", True)


LEFT = f"echo ready; read x; echo y; echo y; {UNTIL_TOLD}; yes | head -c 200000; touch /done; sleep 100"
"""More than a terminal holds, once nobody reads it."""


def test_what_was_detached_from_by_keys_of_ones_own_runs_on(starter_images: Root, engine: Engine) -> None:
    made = start(engine, name="x")
    words = ("-it", "--detach-keys", "ctrl-a,d", "x", "sh", "-c", LEFT)
    screen = Screen(starter_images, "exec", *words)
    screen.expect(b"ready")
    screen.type(b"\x10\x11y\n")  # the usual keys are keys like others then
    screen.expect(b"y\r\ny\r\n")
    screen.type(b"\x01d")
    assert screen.end() == 0
    tell(engine, made)
    wait_for(lambda: execute(engine, made, "test", "-e", "/done").code == 0)
    engine.containers.stop(made, 0)  # and with it goes who held its terminal


def test_a_run_is_left_by_keys_of_ones_own(starter_images: Root, engine: Engine) -> None:
    words = ("-it", "--name", "x", "--detach-keys", "q", "starter", "sh", "-c", "echo ready; sleep 100")
    screen = Screen(starter_images, "run", *words)
    screen.expect(b"ready")
    screen.type(b"q")
    assert screen.end() == 0
    assert engine.containers.get("x").state == "running"
