"""Command lines that the server beside a launcher carries out, as most of a user's are."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from subprocess import CompletedProcess
from typing import Any

import pytest

from engine.cli import calling
from engine.cli.launch import SERVER
from engine.containers import standing
from tests.support import roots
from tests.support.captures import wait_for
from tests.support.roots import Run
from tests.support.traces import Root

LAUNCHER = {"COWL_LAUNCHER": "yes"}
ASKING = (
    sys.executable,
    "-c",
    "import sys; from engine.cli import calling; sys.exit(calling.call(['exec']) != 2)",
)
"""Ends with 0 if a server has said that `cowl exec` lacks arguments."""

SILENT: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def server_of(root: Root) -> int:
    """The process that serves callers like this one; 0 if there is none."""
    path = f"{root.layout.run}/{calling.socket_name(standing.kind())}"
    with contextlib.suppress(OSError), calling.Channel(calling.AF_UNIX, calling.SOCK_SEQPACKET) as found:
        found.connect(path)
        credentials = found.getsockopt(calling.SOL_SOCKET, 17, 12)  # SO_PEERCRED
        return int.from_bytes(credentials[:4], "little")
    return 0


@contextlib.contextmanager
def line(root: Root) -> Iterator[Run]:
    """The command line of *root*, with a server that is ready and stays until the end."""
    alone = roots.command_line(root)
    alone("ps", check=True)  # makes the store's directories
    env = roots.environment(root, LAUNCHER)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        standing.begin(root.layout, SERVER)

    def run(*words: str, env: Mapping[str, str] | None = None, **options: Any) -> CompletedProcess[str]:
        return alone(*words, env={**LAUNCHER, **(env or {})}, **options)

    try:
        wait_for(lambda: server_of(root))
        server = server_of(root)
        wait_for(lambda: subprocess.run(ASKING, env=env, check=False, **SILENT).returncode == 0)
        yield run
        assert server_of(root) == server or not os.path.exists(root.layout.run), "the server has gone"
    finally:
        standing.dismiss(root.layout)
