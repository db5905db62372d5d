"""The file of a program: found as the program's user finds it, and become over a step that is nobody's."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping, Sequence

from engine.errors import CommandNotFoundError, LaunchError, NotExecutableError
from engine.kernel import syscalls, trampoline
from engine.launch import request

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(name: str, environment: Mapping[str, str]) -> str:
    """The path of the program *name*, which without a slash is looked for in PATH.

    Raises LaunchError with docker's codes: 126 for what cannot be executed, 127 for what is not there.
    """
    denied = 0
    for place in places(name, environment):
        try:
            status = os.stat(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            denied = denied or error.errno or errno.EACCES
            continue
        if stat.S_ISREG(status.st_mode) and os.access(place, os.X_OK):
            return place
        denied = errno.EACCES
    if denied:
        raise request.not_executed(name, denied)
    hint = "look at PATH and at what the image has" if "/" not in name else "look at what the image has"
    raise CommandNotFoundError(f"command not found: {name}", "the container has no such file", hint)


def places(name: str, environment: Mapping[str, str]) -> list[str]:
    """Where the program *name* may be, best first."""
    if "/" in name:
        return [name]
    path = environment.get("PATH") or _PATH
    return [f"{directory or '.'}/{name}" for directory in path.split(":")]


def prepare(path: str, channel: int) -> int | None:
    """A descriptor of the step before *path*; None on a machine where there can be none.

    There, what the kernel would look for through a link of /proc is refused.
    """
    if trampoline.available():
        with contextlib.suppress(OSError):  # vm.memfd_noexec
            return trampoline.prepare(channel, request.exec_failure(path))
    try:
        os.close(syscalls.openat2(-100, path, os.O_PATH, syscalls.RESOLVE_NO_MAGICLINKS))
    except OSError as error:
        raise NotExecutableError(f"cannot execute {path}", syscalls.reason(error)) from error
    return None


def become(step: int | None, path: str, args: Sequence[str], environment: Mapping[str, str]) -> LaunchError:
    """Be the program at *path*, over what `prepare` made; returns why that cannot be."""
    try:
        if step is not None:
            trampoline.enter(step, path, args, environment)
        os.execve(path, list(args), dict(environment))
    except OSError as error:
        return request.not_executed(path, error.errno or 0)
