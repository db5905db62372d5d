"""What was begun is waited for at the end, until somebody presses Ctrl-C or ends the process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, io, os, signal, sys, threading
from tui import __main__ as entry

class Busy:
    unfinished = ["stopping box"]

    def exit(self):
        "It has."

    async def run_async(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.exit)
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 30)

class Hasty(io.StringIO):
    "Presses Ctrl-C, or the like, as soon as it is told."

    def flush(self):
        sys.stdout.write(self.getvalue())
        sys.stdout.flush()
        os.kill(os.getpid(), int(sys.argv[1]))

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.stderr = Hasty()
asyncio.run(entry._run(Busy()))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_heard_as_soon_as_that_is_offered(number: signal.Signals) -> None:
    words = [sys.executable, "-c", SCRIPT, str(int(number))]
    ended = subprocess.run(words, check=False, capture_output=True, text=True)
    assert "stopping box … (ctrl-c" in ended.stdout
    assert ended.returncode == 128 + number
