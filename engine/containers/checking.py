"""The process that has a container's health checked: it waits, and forks whoever does the next check.

It stays as long as the container does, and so it touches as little memory as it can (see `keeper`): what a
check touches goes with the process that does it. It is forked from the keeper, where there is one. A check
that hangs keeps nothing else waiting, and ends with the container.
"""

from __future__ import annotations

import os
import select
import time
from typing import NoReturn

from engine.containers.life import Subject
from engine.kernel import lean, lifeline, syscalls
from engine.model import Health, HealthStatus
from engine.store.failures import HEALTH, Enduring

STATUSES: tuple[HealthStatus, ...] = ("starting", "healthy", "unhealthy")
"""By the exit codes of those that do checks."""


def start(subject: Subject, pidfd: int) -> int:
    """Fork the process that has *subject* checked, whose first process is *pidfd*; its pid.

    Raises OSError.
    """
    pid = os.fork()
    if pid == 0:
        _live(subject, pidfd)
    return pid


def pause_s(status: HealthStatus, health: Health, age_s: float) -> float:
    """Seconds until the next check of a container that began *age_s* seconds ago."""
    starting = status == "starting" and age_s < health.start_period_s
    return health.start_interval_s if starting else health.interval_s


def _live(subject: Subject, pidfd: int) -> NoReturn:
    """Check until the container has ended."""
    try:
        with Enduring(subject.paths, HEALTH):
            # What the checks until now come to, whether or not the file for others could be written.
            memory = os.memfd_create("cowl-health", os.MFD_CLOEXEC)
            # The monitor's lock must not outlive it in here, nor its ends of the container's streams.
            syscalls.close_all_but((pidfd, memory))
            lean.name("cowl-health")
            _check_on(subject, pidfd, memory)
    finally:
        os._exit(0)


def _check_on(subject: Subject, pidfd: int, memory: int) -> None:
    status = STATUSES[0]
    enduring = Enduring(subject.paths, HEALTH)
    born = time.monotonic()
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    while not poller.poll(1000 * pause_s(status, subject.health, time.monotonic() - born)):
        age = time.monotonic() - born
        with enduring:
            own = os.getpid()
            pid = os.fork()
            if pid == 0:
                _check(subject, memory, age, own)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if 0 <= code < len(STATUSES):
                status = STATUSES[code]


def _check(subject: Subject, memory: int, age_s: float, parent: int) -> NoReturn:
    code = len(STATUSES)
    try:
        with Enduring(subject.paths, HEALTH):
            lifeline.end_with_parent(parent)
            from engine.containers import health

            code = STATUSES.index(health.look(subject, memory, age_s))
    finally:
        os._exit(code)
