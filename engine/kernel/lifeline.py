"""Processes that live no longer than somebody else, whatever ends that one."""

from __future__ import annotations

import fcntl
import os
import select
import signal

from engine.kernel import process

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Be killed as soon as *parent* ends, which had one thread when it forked this process (prctl(2))."""
    process.prctl("live with the parent", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def end_with(pipe: int) -> None:
    """Be killed as soon as nobody can write to *pipe* any more, to which nobody ever writes.

    The kernel does it, whatever this process does just then (F_SETOWN and F_SETSIG in fcntl(2)).
    """
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    if poller.poll(0):
        os._exit(1)
