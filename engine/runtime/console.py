"""A container's terminal shown on our own, and the signals that are passed on to it."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator

from engine.kernel import signals as numbers
from engine.kernel import terminal

_READ = 32 << 10
FORWARDED = (
    *(numbers.SIGHUP, numbers.SIGINT, numbers.SIGQUIT, numbers.SIGTERM, numbers.SIGUSR1, numbers.SIGUSR2),
    *(numbers.SIGCONT, numbers.SIGALRM),
)
"""Signals that a foreground passes on to what it watches."""


def watch(pidfd: int, received: int, forward: Callable[[int], None], master: int | None) -> None:
    """Until the process of *pidfd* has ended: pass on the signals *received*, and carry a terminal."""
    size = terminal.size_of(0)
    if master is not None and size is not None:
        terminal.set_size(master, size)
    with contextlib.ExitStack() as stack:
        if master is not None and size is not None:
            stack.enter_context(terminal.raw(0))
        _carry(pidfd, received, forward, master)
    if master is not None:
        os.close(master)


@contextlib.contextmanager
def signals() -> Iterator[int]:
    """A descriptor from which signals are read, a byte each, that would else end or stop this process."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    caught = (*FORWARDED, numbers.SIGWINCH)
    before = {number: numbers.signal(number, lambda *_: None) for number in caught}
    woken = numbers.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        numbers.set_wakeup_fd(woken)
        for number, handler in before.items():
            numbers.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _carry(pidfd: int, received: int, forward: Callable[[int], None], master: int | None) -> None:
    poller = select.poll()
    sources = [pidfd, received] if master is None else [pidfd, received, 0, master]
    for source in sources:
        poller.register(source, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poller.poll()]
        if received in ready:
            for number in os.read(received, 64):
                if number != numbers.SIGWINCH:
                    forward(number)
                elif master is not None and (size := terminal.size_of(0)) is not None:
                    terminal.set_size(master, size)
        if master is not None and master in ready and not _pass(master, 1):
            poller.unregister(master)
        if master is not None and 0 in ready and not _pass(0, master):
            poller.unregister(0)
        if pidfd in ready:
            if master is not None:
                os.set_blocking(master, False)
                while _pass(master, 1):
                    continue
            return


def _pass(source: int, target: int) -> bool:
    """Carry what there is; False at the end, and when there is nothing."""
    try:
        data = os.read(source, _READ)
    except OSError:  # EIO from a terminal that nobody has open any more
        return False
    while data:
        written = os.write(target, data)
        if written == len(data):
            return True
        data = data[written:]
    return False
