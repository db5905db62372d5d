"""Running things in containers with their output caught, in process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from engine.containers.foreground import Streams
from engine.engine import Engine
from engine.model import LaunchOptions


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@contextmanager
def capture(stdin: bytes | None = None) -> Iterator[tuple[Streams, Callable[[], tuple[str, str]]]]:
    """Streams on memory files, and a function that reads what has come out."""
    out, err = os.memfd_create("out"), os.memfd_create("err")
    source = os.memfd_create("in")
    os.write(source, stdin or b"")
    os.lseek(source, 0, os.SEEK_SET)

    def read() -> tuple[str, str]:
        texts = [
            os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "surrogateescape") for fd in (out, err)
        ]
        return texts[0], texts[1]

    try:
        yield Streams(source if stdin is not None else None, out, err), read
    finally:
        for descriptor in (out, err, source):
            os.close(descriptor)


def run(
    engine: Engine, *command: str, image: str = "starter", stdin: bytes | None = None, **options: Any
) -> Outcome:
    """Run a container to its end and remove it."""
    wanted = LaunchOptions(
        **{
            "image": image,
            "command": command,
            "auto_remove": True,
            "interactive": stdin is not None,
            **options,
        }
    )
    with capture(stdin) as (streams, read):
        code = engine.containers.run(wanted, attach=True, streams=streams)
        return Outcome(code, *read())


def execute(
    engine: Engine, container: str, *command: str, stdin: bytes | None = None, **options: Any
) -> Outcome:
    """Run a command in a running container."""
    with capture(stdin) as (streams, read):
        code = engine.containers.exec(
            container, command, streams=streams, interactive=stdin is not None, **options
        )
        return Outcome(code, *read())


def start(engine: Engine, *command: str, image: str = "starter", **options: Any) -> str:
    """Start a container in the background; its ID."""
    wanted = LaunchOptions(**{"image": image, "command": command or ("sleep", "1000"), **options})
    return engine.containers.run(wanted).id


UNTIL_TOLD = "until test -e /go; do sleep 0.02; done; rm /go"
"""What a script begins with that goes on when `tell` says so: whatever comes before that has all the time."""


def tell(engine: Engine, container: str) -> None:
    """Let a script go on that waits with `UNTIL_TOLD`, which may end this command with the container."""
    engine.containers.exec(container, ["touch", "/go"], streams=Streams(None, None, None))


def kill_first(engine: Engine, container: str) -> None:
    """SIGKILL to the first process of a container that runs, past the engine."""
    pid = engine.containers.get(container).pid
    assert pid, f"{container} does not run"  # signals to 0 reach our own process group
    os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Until *condition* holds; AssertionError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def fields(text: str, names: Sequence[str]) -> dict[str, str]:
    """Lines ``name: value`` of *names* in *text*."""
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: found[name].strip() for name in names}
