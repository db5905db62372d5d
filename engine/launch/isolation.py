"""How a process that watches something leaves whoever forked it."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import sys
from collections.abc import Callable, Sequence

from engine.kernel import process, scheduling, signals, syscalls
from engine.kernel.channel import Channel, pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CONTROL = 3
"""The descriptor of the control socket, the only one that a monitor takes along from whoever forked it."""
IGNORED = (
    *(signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM, signals.SIGPIPE, signals.SIGTSTP),
    signals.SIGXFSZ,
)
"""What a monitor ignores, and Python; `isolate` leaves no other signal so."""


def fork(work: Callable[[Channel], NoReturn], *, orphan: bool = False) -> tuple[Channel, int | None]:
    """Fork a process that does *work* with its end of a control socket: ours, and its pid if it is our child.

    With *orphan* it is nobody's child, so that nobody has to wait for it. Raises OSError.
    """
    ours, theirs = pair()
    pid = os.fork()
    if pid == 0:
        if orphan and os.fork():
            os._exit(0)
        work(theirs)
    theirs.close()
    if orphan:
        os.waitpid(pid, 0)
        return ours, None
    return ours, pid


def stop_imports() -> None:
    """From now on nothing is imported that is not loaded yet: at its path lies the container's file."""
    for finders in (sys.meta_path, sys.path_hooks, sys.path):
        finders.clear()


def _forget_oom_score() -> None:
    """Be ended when memory runs out as soon as anybody (proc_pid_oom_score_adj(5))."""
    with contextlib.suppress(PermissionError):  # it takes a privilege to be spared more than one's parent
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)


def forget_caller() -> None:
    """Take nothing along of whoever forked us that a program started by this process would inherit."""
    os.chdir("/")
    os.umask(0o022)
    process.default_signals()
    process.forget_caller()
    scheduling.forget_caller()
    _forget_oom_score()
    for ignored in IGNORED:
        signals.signal(ignored, signals.SIG_IGN)


def isolate(control: Channel, streams: Sequence[int] = ()) -> list[int]:
    """Leave session, terminal, directory and descriptors of whoever forked us.

    The control socket becomes descriptor CONTROL, *streams* the ones after it, which are returned.
    """
    gc.disable()
    os.setsid()
    signals.set_wakeup_fd(-1)
    forget_caller()
    kept = [control.detach(), *streams]
    first_free = CONTROL + len(kept)
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, first_free) for descriptor in kept]
    places = [os.dup2(held, CONTROL + number, inheritable=False) for number, held in enumerate(high)]
    syscalls.close_range(first_free)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    return places[1:]
