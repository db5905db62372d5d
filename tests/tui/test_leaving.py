"""What was begun is waited for at the end, until somebody presses Ctrl-C."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import asyncio, io, os, signal, sys, threading
from tui import __main__ as entry

class Busy:
    unfinished = ["stopping box"]

    async def run_async(self):
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 30)

class Hasty(io.StringIO):
    "Presses Ctrl-C as soon as it is told."

    def flush(self):
        sys.stdout.write(self.getvalue())
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.stderr = Hasty()
asyncio.run(entry._run(Busy()))
"""


def test_ctrl_c_is_heard_as_soon_as_it_is_offered() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True)
    assert "stopping box … (ctrl-c" in ended.stdout
    assert ended.returncode == 130
