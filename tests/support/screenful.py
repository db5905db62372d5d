"""A program on a pseudo-terminal, watched byte by byte: for measuring when it answers, not what it shows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Screenful(NamedTuple):
    """One program and the other end of its terminal."""

    process: subprocess.Popen[bytes]
    terminal: int

    def read(self, seconds: float) -> bytes:
        """What it writes within *seconds*, at once when something comes; empty when it is silent."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return b""
        return os.read(self.terminal, 1 << 16)

    def drain(self, quiet_seconds: float) -> None:
        """Read until nothing has come for *quiet_seconds*."""
        while self.read(quiet_seconds):
            pass

    def wait_for(self, text: bytes, seconds: float) -> float:
        """Read until *text* has been written; the seconds that took. Raises TimeoutError."""
        started = time.perf_counter()
        seen = b""
        while text not in seen:
            left = seconds - (time.perf_counter() - started)
            if left <= 0:
                raise TimeoutError(f"no {text!r} within {seconds} s")
            seen = seen[-len(text) :] + self.read(left)
        return time.perf_counter() - started

    def answer(self, key: bytes, seconds: float) -> float:
        """Press *key*; the seconds until something is drawn. Raises TimeoutError."""
        started = time.perf_counter()
        os.write(self.terminal, key)
        if not self.read(seconds):
            raise TimeoutError(f"no answer to {key!r} within {seconds} s")
        return time.perf_counter() - started

    def cpu(self, seconds: float) -> float:
        """The share of one core, in percent, that it and its children take while *seconds* pass."""
        before = self._ticks()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)
        return 100 * (self._ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds

    def _ticks(self) -> int:
        own = self.process.pid
        with open(f"/proc/{own}/task/{own}/children", encoding="ascii") as file:
            pids = [own, *map(int, file.read().split())]
        total = 0
        for pid in pids:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                total += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
        return total


@contextlib.contextmanager
def screenful(
    command: list[str], env: Mapping[str, str], *, columns: int = 120, lines: int = 40
) -> Iterator[Screenful]:
    """*command* on a terminal of that size, killed afterwards if it has not ended."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Screenful(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
