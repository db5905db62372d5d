"""Starting a container again when it has ended: docker's policies, carried out by its own monitor.

Between two runs the monitor waits at its socket, so that whoever wants an end can wake it. That is told by a
file in the run-time directory, which is written before anything is ended: it holds for a run that ends by
itself in that moment too. After a reboot nobody restarts anything: there is no daemon.
"""

from __future__ import annotations

import contextlib
import os
import select
import time

from engine.errors import UsageError
from engine.kernel.channel import Channel
from engine.record import Record
from engine.store.layout import ContainerPaths

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 60.0
STEADY_S = 10.0
"""Seconds of a run after which the next delay is the first one again; all three are docker's."""
KINDS = ("no", "always", "unless-stopped", "on-failure")


class Policy(Record):
    """When to start again."""

    kind: str
    most: int | None = None
    """How many times after failures, with ``on-failure``; None is any number."""

    def wants(self, exit_code: int, restarts: int) -> bool:
        """Whether a container that ended so, having been started again *restarts* times, starts once more."""
        if self.kind == "on-failure":
            return exit_code != 0 and (self.most is None or restarts < self.most)
        return self.kind != "no"


NEVER = Policy("no")


def policy(text: str) -> Policy:
    """The policy that ``no``, ``always``, ``unless-stopped`` or ``on-failure[:times]`` names.

    Raises UsageError.
    """
    kind, colon, times = text.partition(":")
    if kind not in KINDS or (colon and (kind != "on-failure" or not times.isdecimal())):
        raise UsageError(
            f"{text!r} is no restart policy",
            hint="use no, always, unless-stopped, on-failure or on-failure:3",
        )
    return Policy(kind, int(times) if colon and int(times) else None)


class Delay:
    """How long to wait before the next run: twice as long each time, until a run was steady."""

    def __init__(self, seconds: float = FIRST_DELAY_S / 2) -> None:
        """*seconds* is the last one."""
        self.seconds = seconds

    def after(self, ran_s: float) -> float:
        """Seconds to wait after a run that took *ran_s* seconds."""
        self.seconds = FIRST_DELAY_S if ran_s >= STEADY_S else min(self.seconds * 2, LONGEST_DELAY_S)
        return self.seconds


def call_off(paths: ContainerPaths) -> None:
    """No run follows the present one, or at most one that has begun by now."""
    with contextlib.suppress(FileNotFoundError):  # no run-time directory: nobody would start it again
        os.close(os.open(paths.called_off, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def allow(paths: ContainerPaths) -> None:
    """The next run is wanted, and the ones after it if its own policy says so."""
    for path in (paths.called_off, paths.policy):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def change(paths: ContainerPaths, text: str) -> None:
    """Let the policy *text* hold from the end of the present run on."""
    with contextlib.suppress(FileNotFoundError):  # no run-time directory: the next start brings it
        temporary = f"{paths.policy}.new"
        with open(temporary, "w", encoding="ascii") as file:
            file.write(text)
        os.rename(temporary, paths.policy)


def current(paths: ContainerPaths, text: str) -> Policy:
    """The policy that holds now; *text* is what the container was started with."""
    try:
        with open(paths.policy, encoding="ascii") as file:
            return policy(file.read())
    except FileNotFoundError:
        return policy(text)


def is_called_off(paths: ContainerPaths) -> bool:
    """Whether somebody wants it to stay ended."""
    return os.path.exists(paths.called_off)


def pause(paths: ContainerPaths, listener: Channel, seconds: float) -> bool:
    """Wait *seconds* before the next run; False as soon as it has been called off."""
    deadline = time.monotonic() + seconds
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    while not is_called_off(paths) and (left := deadline - time.monotonic()) > 0:
        if poller.poll(left * 1000):
            with contextlib.suppress(OSError):
                listener.accept().close()
    return not is_called_off(paths)
