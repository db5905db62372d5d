"""A program in a real terminal: tmux on a socket of its own, keys in, screens out."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

WAIT_SECONDS = 60.0
PACE_SECONDS = 0.25
"""Between keys, as of a quick hand: a key that moves the focus must have done so before the next one."""


class Terminal:
    """One program in a terminal of fixed size."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def tmux(self, *arguments: str) -> str:
        """Run one tmux command on this terminal's server; its output. Raises CalledProcessError."""
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def press(self, *keys: str) -> None:
        """Press keys one after the other, by tmux's names: "n", "Enter", "C-p", "Escape"."""
        for key in keys:
            self.tmux("send-keys", "-t", "0", key)
            time.sleep(PACE_SECONDS)

    def write(self, text: str) -> None:
        """Type *text* as it is."""
        self.tmux("send-keys", "-t", "0", "-l", text)

    def screen(self) -> str:
        """What is on the screen now, lines without their trailing blanks."""
        return self.tmux("capture-pane", "-t", "0", "-p")

    def expect(self, pattern: str, seconds: float = WAIT_SECONDS) -> str:
        """Wait until the screen matches *pattern*; the screen. Raises AssertionError."""
        return self._until(lambda screen: re.search(pattern, screen) is not None, f"no {pattern!r}", seconds)

    def expect_gone(self, pattern: str, seconds: float = WAIT_SECONDS) -> str:
        """Wait until the screen no longer matches *pattern*; the screen. Raises AssertionError."""
        return self._until(lambda screen: re.search(pattern, screen) is None, f"still {pattern!r}", seconds)

    def wait_for_exit(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait until the program has ended; its exit code. Raises AssertionError."""
        self._until(lambda screen: self._exit_code() != "", "still running", seconds)
        return int(self._exit_code())

    def _exit_code(self) -> str:
        if not os.path.exists(_code_file(self._socket)):
            return ""
        with open(_code_file(self._socket), encoding="ascii") as file:
            return file.read().strip()

    def _until(self, done: Callable[[str], bool], otherwise: str, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while not done(screen := self.screen()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{otherwise} after {seconds:.0f} s on\n{screen}")
            time.sleep(0.05)
        return screen


def _code_file(socket: str) -> str:
    return f"{socket}.code"


@contextlib.contextmanager
def terminal(
    command: list[str], socket: str, env: Mapping[str, str], *, columns: int = 120, lines: int = 40
) -> Iterator[Terminal]:
    """*command* in a terminal of that size, ended with its server afterwards."""
    made = Terminal(socket)
    keep = ("set", "-g", "remain-on-exit", "on", ";", "set", "-g", "default-terminal", "tmux-256color")
    size = ("-x", str(columns), "-y", str(lines))
    environment = [f"{name}={value}" for name, value in env.items()]
    # A shell keeps the exit code: tmux now and then misses the end of what it runs, and leaves a zombie.
    kept = ["sh", "-c", '"$@"; echo $? > "$0"', _code_file(socket), *command]
    # An empty environment but for *env*: what runs must not depend on how the tests were started.
    whole = ["env", "-i", "TERM=tmux-256color", "LANG=C.UTF-8", *environment, *kept]
    made.tmux(*keep, ";", "new-session", "-d", *size, *whole)
    try:
        yield made
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            made.tmux("kill-server")
