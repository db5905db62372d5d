"""The keeper: the lean half of a monitor, which stays while the container runs.

What a fork shares with its parent costs nothing until somebody touches it. So whatever touches much, a start
or an end with what follows it, is done by a child that ends when it has been done. Between them the keeper
carries the streams, and what it does there touches as little as it can. The container's first process becomes
its child when the one that started it ends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import NoReturn

from engine.containers import checking, finishing, handover, monitor
from engine.containers.handover import Handed
from engine.containers.life import Subject
from engine.containers.logfile import LogFile
from engine.containers.pump import Pump
from engine.kernel import lean, lifeline, signals
from engine.kernel.channel import Channel, pair
from engine.launch import request
from engine.launch.isolation import CONTROL, IGNORED
from engine.store.failures import Enduring

_GO = b"g"
_REHEARSALS = 100
_HANDOVERS = 20
_HIGHEST = 1 << 20
"""No launcher has that many files."""


def stand_by(channel: Channel, sample: bytes | None = None) -> NoReturn:
    """`keep` a monitor that stands by at *channel*, see `monitor.stand_by`."""
    keep(lambda keeper: monitor.stand_by(channel, sample, keeper))


def keep(begin: Callable[[Channel], NoReturn]) -> NoReturn:
    """Let a child *begin* with a container; look after what it hands over, as long as there is something."""
    code = 1
    try:
        signals.signal(signals.SIGCHLD, signals.SIG_DFL)
        child, channel = _fork(begin)
        channel = _settle(channel)
        checkers = _Checkers()
        while (handed := _take(child, channel, checkers)) is not None:
            finishing.carry(handed.pump, handed.paths)
            status = finishing.reap(handed.pid, handed.checker)
            with Enduring(handed.paths):
                if handed.policy is None or os.path.exists(handed.policy):
                    child, channel = _replace(handed, status, channel)
                    continue
            with Enduring(handed.paths):
                monitor.carry_on(handover.restore(handed), status, None)
        code = 0
    finally:
        os._exit(code)


class _Checkers:
    """The processes that check the container's health, one for each run."""

    def __init__(self) -> None:
        self._last: int | None = None

    def begin(self, subject: Subject, pidfd: int) -> int:
        """The one for the run that begins; that of a run before has been ended."""
        if self._last is not None:
            with contextlib.suppress(ChildProcessError):  # it was handed over with its run
                os.waitpid(self._last, 0)
        self._last = checking.start(subject, pidfd)
        return self._last


def _take(child: int, channel: Channel, checkers: _Checkers) -> Handed | None:
    """What *child* hands over, which is the parent of nobody then; None if there is nothing to look after."""
    try:
        handed = handover.take(channel, checkers.begin)
        if handed is None:
            return None
        with lean.adopting():
            handover.confirm(channel)
            os.waitpid(child, 0)
    except Exception as error:  # noqa: BLE001 - goes to the child, whatever it is
        handover.refuse(channel, error)
        channel.close()
        os.waitpid(child, 0)
        return None
    return handed


def _fork(begin: Callable[[Channel], NoReturn]) -> tuple[int, Channel]:
    """A child that does *begin* and ends with this process, and our end of the channel to it."""
    ours, theirs = pair()
    own = os.getpid()
    child = os.fork()
    if child == 0:
        lifeline.end_with_parent(own)
        ours.close()
        begin(theirs)
    theirs.close()
    return child, ours


def _settle(channel: Channel) -> Channel:
    """Leave whoever forked us, in as few steps as can be."""
    os.setsid()
    for ignored in IGNORED:
        signals.signal(ignored, signals.SIG_IGN)
    descriptor = channel.detach()
    if descriptor != CONTROL:  # else dup3(2) refuses
        os.dup2(descriptor, CONTROL, inheritable=False)
    os.closerange(CONTROL + 1, _HIGHEST)
    lean.name("cowl-monitor")
    return Channel(fileno=CONTROL)


def _replace(handed: Handed, status: int, channel: Channel) -> tuple[int, Channel]:
    """A child that goes on with a container whose first process had *status*, and the channel to it."""
    following, ours = _fork(lambda keeper: _carry_on(handed, status, keeper))
    handed.let_go()
    ours.send(_GO)
    channel.close()
    return following, ours


def _carry_on(handed: Handed, status: int, keeper: Channel) -> NoReturn:
    # Until the keeper has closed them, ports are not free and clients do not see that we let them go.
    if keeper.recv(1) != _GO:
        os._exit(1)
    monitor.carry_on(handover.restore(handed), status, keeper)


def _rehearse_taking(pump: Pump, log: int, channel: Channel, giver: Channel) -> Handed:
    """Take over what *pump* carries, from a child that has nothing more to do."""
    document, streams = pump.parts()
    handover.send(giver, (0, None, document, len(streams), "/", ("/", "/")), [log, log, *streams])
    child = os.fork()
    if child == 0:
        os._exit(0)
    handed = _take(child, channel, _Checkers())
    assert handed is not None
    giver.recv(1)
    return handed


def rehearse() -> None:
    """Go through a keeper's work, in the process that forks keepers, which ignores SIGCHLD.

    The interpreter rewrites code that has run some times for what it does most (PEP 659), and remembers what
    it has looked up: after that, doing it writes to fewer pages.
    """
    channel, giver = pair()
    listener, _peer = pair()
    signals.signal(signals.SIGCHLD, signals.SIG_DFL)
    log = os.memfd_create("cowl-log", os.MFD_CLOEXEC)
    ended, output = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    pump = Pump(ended[0], LogFile("", descriptor=log), listener)
    pump.add_output(output[0], b"stdout", request.STDOUT)
    for _ in range(_HANDOVERS):
        _rehearse_taking(pump, log, channel, giver).let_go()
    handed = _rehearse_taking(pump, log, channel, giver)
    # As if the process had ended: whatever there is gets carried, and no more is waited for.
    os.write(ended[1], b"x")
    for _ in range(_REHEARSALS):
        os.write(output[1], b"a line\nand another\n")
        finishing.carry(handed.pump, handed.paths)
    handed.let_go()
    pump.let_go()
    for descriptor in (ended[1], output[1]):
        os.close(descriptor)
    for each in (channel, giver):
        each.close()
    signals.signal(signals.SIGCHLD, signals.SIG_IGN)
