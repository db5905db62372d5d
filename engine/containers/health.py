"""Health checks: a command run in the container now and then, and what its exit codes come to.

A process of its own does it, beside the monitor: it ends with the container, and no check that hangs keeps
anything else waiting. What it finds is a file in the run-time directory. The words and numbers are docker's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from typing import NoReturn

from engine.containers import executing, launcher, state
from engine.errors import CowlError
from engine.kernel import process, syscalls
from engine.kernel.channel import Channel
from engine.launch import request
from engine.model import JSON, Health, HealthStatus
from engine.record import Record
from engine.store import clock, events
from engine.store.failures import HEALTH, Enduring
from engine.store.layout import ContainerPaths, Layout

MAX_OUTPUT = 4096
"""Bytes of one check's output that are kept."""
MAX_CHECKS = 5
"""Checks that are kept."""
FAILED = -1
"""Instead of an exit code: the check did not end in time, or did not start."""
_READ = 32 << 10
_REAP_SECONDS = 2.0
"""How long the end of a check that was killed is waited for."""


class Subject(Record):
    """Whose health is looked at."""

    id: str
    name: str
    layout: Layout
    health: Health


class Check(Record):
    """One check."""

    start: str
    end: str
    exit_code: int
    output: str


class Findings(Record):
    """What the checks until now come to."""

    status: HealthStatus = "starting"
    failing_streak: int = 0
    checks: tuple[Check, ...] = ()

    def to_json(self) -> JSON:
        """As the file and `inspect` have it."""
        return {
            "status": self.status,
            "failing_streak": self.failing_streak,
            "checks": [check._asdict() for check in self.checks],
        }


def after(findings: Findings, check: Check, health: Health, age_s: float) -> Findings:
    """*findings* with a further *check* that began *age_s* seconds after the container."""
    checks = (*findings.checks, check)[-MAX_CHECKS:]
    if check.exit_code == 0:
        return Findings("healthy", 0, checks)
    if findings.status == "starting" and age_s < health.start_period_s:
        return Findings("starting", 0, checks)
    streak = findings.failing_streak + 1
    return Findings("unhealthy" if streak >= health.retries else findings.status, streak, checks)


def pause_s(findings: Findings, health: Health, age_s: float) -> float:
    """Seconds until the next check."""
    starting = findings.status == "starting" and age_s < health.start_period_s
    return health.start_interval_s if starting else health.interval_s


def start(subject: Subject, pidfd: int) -> int:
    """Fork the process that looks after *subject*, whose first process is *pidfd*; its pid."""
    paths = subject.layout.container(subject.id)
    state.write_document(paths.health, Findings().to_json())
    pid = os.fork()
    if pid == 0:
        _live(subject, paths, pidfd)
    return pid


def _live(subject: Subject, paths: ContainerPaths, pidfd: int) -> NoReturn:
    """Check until the container has ended."""
    try:
        with Enduring(paths, HEALTH):
            # The monitor's lock must not outlive it in here, nor its ends of the container's streams.
            syscalls.close_all_but([pidfd])
            process.set_name("cowl-health")
            _check_on(subject, paths, pidfd)
    finally:
        os._exit(0)


def _check_on(subject: Subject, paths: ContainerPaths, pidfd: int) -> None:
    findings = Findings()
    born = time.monotonic()
    while not _ended(pidfd, pause_s(findings, subject.health, time.monotonic() - born)):
        age = time.monotonic() - born
        facts = state.derive(paths)
        if facts.state != "running":  # nothing is asked of what is paused
            continue
        before, findings = findings, after(findings, _check(subject, paths, facts), subject.health, age)
        with contextlib.suppress(OSError):  # a full disk: the next check says it
            state.write_document(paths.health, findings.to_json())
        if findings.status != before.status:
            _tell(subject, findings.status)


def _ended(pidfd: int, seconds: float) -> bool:
    """Wait *seconds*; whether the container has ended by then."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def _tell(subject: Subject, status: HealthStatus) -> None:
    state.touch(subject.layout.revision)
    events.record(
        subject.layout, "container", "health_status", subject.id, subject.name, health_status=status
    )


def _check(subject: Subject, paths: ContainerPaths, facts: state.Facts) -> Check:
    """Run the command once."""
    begun = clock.now()
    options = executing.ExecOptions(subject.health.argv)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        join = executing.joining_of(paths, subject.id, facts, options, executing.NO_SIZE)
        control, child = launcher.fork_monitor(join, [writing, writing])
    except CowlError as error:
        os.close(reading)
        return Check(begun, clock.now(), FAILED, str(error))
    finally:
        os.close(writing)
    with control:
        running = _Running(control, reading)
        code = running.wait(subject.health.timeout_s)
    os.close(reading)
    if child is not None:
        os.waitpid(child, 0)
    output = running.output.decode("utf-8", "replace")
    return Check(begun, clock.now(), code, output or running.message)


class _Running:
    """A check that runs: what it says, and how it ends."""

    def __init__(self, control: Channel, reading: int) -> None:
        self._control = control
        self._reading = reading
        self._process: int | None = None
        self.output = b""
        self.message = ""

    def wait(self, seconds: float) -> int:
        """Its exit code, or FAILED after *seconds*, when it is killed."""
        code = self._follow(time.monotonic() + seconds)
        if code is None:
            self.message = f"the check took longer than {seconds:g} s"
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._process, signal.SIGKILL)
            self._follow(time.monotonic() + _REAP_SECONDS)
        if self._process is not None:
            os.close(self._process)
        return FAILED if code is None else code

    def _follow(self, deadline: float) -> int | None:
        """Until it has ended, or None."""
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._reading, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = dict(poller.poll(left * 1000))
            if self._reading in ready and not self._read():
                poller.unregister(self._reading)
            if self._control.fileno() in ready and (code := self._hear()) is not None:
                os.set_blocking(self._reading, False)
                with contextlib.suppress(BlockingIOError):  # a child that it left may hold the pipe
                    while self._read():
                        pass
                return code
        return None

    def _read(self) -> bool:
        data = os.read(self._reading, _READ)
        self.output = (self.output + data)[:MAX_OUTPUT]
        return bool(data)

    def _hear(self) -> int | None:
        """What the process that watches it says: its exit code in the end."""
        packet = self._control.recv(request.MAX_PACKET + 1)
        kind, body = packet[:1], packet[1:]
        if kind == request.STARTED:
            with contextlib.suppress(ProcessLookupError):
                self._process = os.pidfd_open(json.loads(body)["pid"])
            return None
        if kind == request.EXITED:
            return int(json.loads(body)["exit_code"])
        self.message = str(request.raise_failure(body)) if kind == request.FAILED else "it was lost"
        return FAILED
