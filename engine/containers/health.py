"""Health checks: a command run in the container now and then, and what its exit codes come to.

Each is done by a process of its own, see `checking`. What it finds is a file in the run-time directory. The
words and numbers are docker's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time

from engine.containers import execspec, state
from engine.containers.life import Subject
from engine.errors import CowlError
from engine.kernel import process
from engine.kernel.channel import Channel
from engine.launch import isolation, joining, request
from engine.model import JSON, Health, HealthStatus
from engine.record import Record
from engine.store import clock, events
from engine.store.layout import ContainerPaths

MAX_OUTPUT = 4096
"""Bytes of one check's output that are kept."""
MAX_CHECKS = 5
"""Checks that are kept."""
FAILED = -1
"""Instead of an exit code: the check did not end in time, or did not start."""
_READ = 32 << 10
_REAP_SECONDS = 2.0
"""How long the end of a check that was killed is waited for."""


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


def prepare(paths: ContainerPaths) -> None:
    """There are no findings yet, and those of a run before go. Raises OSError."""
    state.write_document(paths.health, Findings().to_json())


def look(subject: Subject, memory: int, age_s: float) -> HealthStatus:
    """Check *subject* once, *age_s* seconds after it began; what the checks come to.

    That is in the open file *memory* too, which is empty before the first check.
    """
    paths = subject.paths
    before = _remembered(memory)
    facts = state.derive(paths)
    if facts.state != "running":  # nothing is asked of what is paused
        return before.status
    check = _check(subject, paths, facts)
    if facts.who is None or process.is_ending(facts.who):  # which ended the check as well
        return before.status
    findings = after(before, check, subject.health, age_s)
    os.ftruncate(memory, 0)
    os.pwrite(memory, json.dumps(findings.to_json()).encode(), 0)
    with contextlib.suppress(OSError):  # a full disk: the next check says it
        state.write_document(paths.health, findings.to_json())
    if findings.status != before.status:
        _tell(subject, findings.status)
    return findings.status


def _remembered(memory: int) -> Findings:
    data = os.pread(memory, os.fstat(memory).st_size, 0)
    if not data:
        return Findings()
    fields = json.loads(data)
    checks = tuple(Check(**check) for check in fields["checks"])
    return Findings(fields["status"], fields["failing_streak"], checks)


def _tell(subject: Subject, status: HealthStatus) -> None:
    state.touch(subject.layout.revision)
    events.record(
        subject.layout, "container", "health_status", subject.id, subject.name, health_status=status
    )


def _check(subject: Subject, paths: ContainerPaths, facts: state.Facts) -> Check:
    """Run the command once."""
    begun = clock.now()
    options = execspec.ExecOptions(subject.health.argv)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        join = execspec.joining_of(paths, subject.id, facts, options, execspec.NO_SIZE)
        control, child = isolation.fork(lambda control: joining.run(join, control, [writing, writing]))
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
