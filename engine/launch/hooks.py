"""Programs that a document wants run at points of a container's life (config.md, POSIX-platform Hooks).

A hook finds the container's state on its standard input, and the environment that the document gives it and
nothing else. Where it is run is up to the caller: who calls from inside the container's namespaces has it run
in there.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterable, Mapping

from engine import plainjson
from engine.errors import LaunchError
from engine.kernel import process, signals, syscalls
from engine.model import JSON
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
"""In the order in which they are run."""
_TOLD = 2000
"""Bytes of what a failed hook has said that are passed on."""
_NOT_RUN = 127


class Hook(Record):
    """One program."""

    path: str
    args: tuple[str, ...]
    env: dict[str, str]
    timeout: int | None
    """Seconds."""


def hooks_of(document: JSON) -> dict[str, tuple[Hook, ...]]:
    """The ``hooks`` of a document, by kind; ValueError or TypeError for what is malformed."""
    return {kind: tuple(_hook(entry) for entry in document[kind]) for kind in KINDS if document.get(kind)}


def _hook(entry: JSON) -> Hook:
    path = entry["path"]
    if not path.startswith("/"):
        raise ValueError(f"the hook {path!r} is not absolute")
    timeout = entry.get("timeout")
    if timeout is not None and not (isinstance(timeout, int) and timeout > 0):
        raise ValueError(f"the timeout of the hook {path} is not above 0")
    variables = (variable.partition("=") for variable in entry.get("env") or ())
    return Hook(
        path=path,
        args=tuple(entry.get("args") or (path,)),
        env={name: value for name, _, value in variables},
        timeout=timeout,
    )


def run(kind: str, wanted: Mapping[str, Iterable[Hook]], state: Callable[[], JSON]) -> None:
    """Run the hooks of one *kind*, each with what *state* says; LaunchError from the first that fails."""
    for hook in wanted.get(kind, ()):
        _run(kind, hook, state())


def run_all(kind: str, wanted: Mapping[str, Iterable[Hook]], state: Callable[[], JSON]) -> list[str]:
    """Run all hooks of one *kind*, even if one fails; what is to be said about those that did."""
    failures = []
    for hook in wanted.get(kind, ()):
        try:
            _run(kind, hook, state())
        except LaunchError as error:
            failures.append(str(error))
    return failures


def _run(kind: str, hook: Hook, state: JSON) -> None:
    given = _file(plainjson.dumps(state).encode())
    said = _file(b"")
    pid = os.fork()
    if pid == 0:
        _become(hook, given, said)
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        in_time = bool(poller.poll(None if hook.timeout is None else hook.timeout * 1000))
        if not in_time:
            signals.pidfd_send_signal(pidfd, signals.SIGKILL)
        _, status = os.waitpid(pid, 0)
        text = os.pread(said, _TOLD, 0).decode("utf-8", "replace").strip()
    finally:
        for descriptor in (pidfd, given, said):
            os.close(descriptor)
    if not in_time:
        raise LaunchError(f"the {kind} hook {hook.path} failed", f"not done after {hook.timeout} s")
    if status:
        why = f"exit status {process.exit_code(status)}"
        raise LaunchError(f"the {kind} hook {hook.path} failed", f"{why}: {text}" if text else why)


def _file(content: bytes) -> int:
    """A file in memory: unlike a pipe it takes everything, whoever reads it or not."""
    descriptor = os.memfd_create("cowl-hook", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _become(hook: Hook, given: int, said: int) -> NoReturn:
    try:
        for descriptor, number in ((given, 0), (said, 1), (said, 2)):
            os.dup2(descriptor, number)
        syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)
        process.default_signals()
        with contextlib.suppress(OSError):
            os.setsid()
        try:
            os.execve(hook.path, list(hook.args), hook.env)
        except OSError as error:
            os.write(2, f"cannot execute it: {syscalls.reason(error)}".encode())
    finally:
        os._exit(_NOT_RUN)
