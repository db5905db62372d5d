"""Containers whose own files are on a file system that fills, or that nobody may write to any more.

Runs in a mount namespace of its own: `python -m tests.faults.small ROOT room`, or `right`, with a root that
has the starter images. What people are told of the container is JSON on standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from engine.containers import attach, state
from engine.engine import Engine
from engine.launch import request
from engine.model import LaunchOptions

SIZE_MB = 8
PATIENCE_S = 60.0
SAYS = "echo begun; read line; seq 1 20000; echo said; read line; exit 3"


def wait_for(condition: Callable[[], object]) -> None:
    """AssertionError when *condition* does not come true in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def wait_for_line(engine: Engine, name: str, text: str) -> None:
    """Until that is the last line of its log."""
    wait_for(lambda: [line.text for line in engine.containers.logs(name, tail=1)] == [text])


def fill(directory: str) -> str:
    """Leave no page free in *directory*; the file that does it."""
    path = f"{directory}/filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return path


def facts(engine: Engine, name: str) -> dict[str, Any]:
    """What people are told of it."""
    found = engine.containers.inspect(name)
    return {key: found[key] for key in ("state", "exit_code", "error", "failures")}


def without_room(engine: Engine) -> list[dict[str, Any]]:
    """A container that says much, and ends, while its directory is full; then it is started again."""
    made = engine.containers.create(LaunchOptions("starter", ("sh", "-c", SAYS), interactive=True))
    home = engine.store.layout.container(made.id).home
    subprocess.run(["cp", "-a", home, f"{home}-was"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "small", home], check=True)
    subprocess.run(["cp", "-a", f"{home}-was/.", home], check=True)
    subprocess.run(["rm", "-r", f"{home}-was"], check=True)
    engine.containers.start(made.id)
    told = []
    with feed(engine, made.id) as say:
        filler = fill(home)
        say()
        wait_for(lambda: facts(engine, made.id)["error"])
        told.append(facts(engine, made.id))
        say()
        engine.containers.wait(made.id)
    told.append(facts(engine, made.id))
    os.unlink(filler)
    engine.containers.start(made.id)
    told.append(facts(engine, made.id))
    engine.containers.kill(made.id)
    subprocess.run(["umount", "-l", home], check=True)
    return told


def without_a_right(engine: Engine) -> list[dict[str, Any]]:
    """A container that ends when nothing can be written beside it."""
    made = engine.containers.run(LaunchOptions("starter", ("sh", "-c", SAYS), interactive=True))
    paths = engine.store.layout.container(made.id)
    subprocess.run(["mount", "--bind", paths.home, paths.home], check=True)
    with feed(engine, made.id) as say:
        say()
        wait_for_line(engine, made.id, "said")
        subprocess.run(["mount", "-o", "remount,bind,ro", paths.home], check=True)
        say()
        engine.containers.wait(made.id)
    wait_for(lambda: not state.is_monitored(paths))
    told = [facts(engine, made.id)]
    subprocess.run(["umount", paths.home], check=True)
    told.append(facts(engine, made.id))
    return told


@contextmanager
def feed(engine: Engine, name: str) -> Iterator[Callable[[], None]]:
    """What has the container *name* read a line, once it has begun."""
    wait_for_line(engine, name, "begun")
    with attach.connect(engine.store.layout.container(name), name) as channel:
        channel.recv(request.MAX_PACKET)
        channel.send(request.QUIET)

        def say() -> None:
            channel.send(request.STDIN + b"go on\n")

        yield say


def main() -> None:
    """ROOT CASE."""
    cases = {"room": without_room, "right": without_a_right}
    with Engine(sys.argv[1]) as engine:
        print(json.dumps(cases[sys.argv[2]](engine)))


if __name__ == "__main__":
    main()
