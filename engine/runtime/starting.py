"""``start``: the first process, which waits, becomes the program."""

from __future__ import annotations

import os

from engine.errors import ConflictError, LaunchError
from engine.kernel.channel import AF_UNIX, SOCK_SEQPACKET, Channel
from engine.launch import request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.runtime.containers import Container
    from engine.runtime.report import Report


def start(container: Container, report: Report) -> None:
    """Let its program run; returns when it does. ConflictError for one that does not wait for that."""
    status = container.status()
    if status != "created":
        raise ConflictError(f"cannot start container {container.id}", f"it is {status}")
    spec = container.document()
    if not spec.get("process"):
        raise LaunchError(f"cannot start container {container.id}", "config.json has no process")
    with Channel(AF_UNIX, SOCK_SEQPACKET) as channel:
        _connect(container, channel)
        _close_gate(container)
        try:
            channel.send(request.GO)
            answer = channel.recv(request.MAX_PACKET)
        except OSError as error:
            if container.status() in ("running", "paused"):
                raise ConflictError(f"cannot start container {container.id}", "it is running") from error
            raise LaunchError(f"cannot start container {container.id}", "it has ended") from error
    if answer:
        from engine.runtime import ending

        ending.delete(container.directory, True, report)  # its process has gone, and no other will come
        raise request.raise_failure(answer[1:])
    if (spec.get("hooks") or {}).get("poststart"):
        from engine.launch import hooks

        wanted = hooks.hooks_of(spec["hooks"])
        for failure in hooks.run_all("poststart", wanted, lambda: container.state("running")):
            report.warn(failure)


def _close_gate(container: Container) -> None:
    """Let nobody come after us. Whoever comes at the same time sends its word too: the first one is heard."""
    try:
        os.unlink(container.gate)
    except FileNotFoundError:
        return


def _connect(container: Container, channel: Channel) -> None:
    directory = os.open(container.directory, os.O_PATH | os.O_CLOEXEC)
    try:
        channel.connect(f"/proc/self/fd/{directory}/{os.path.basename(container.gate)}")
    except OSError as error:
        raise LaunchError(f"cannot start container {container.id}", error.strerror or "") from error
    finally:
        os.close(directory)
