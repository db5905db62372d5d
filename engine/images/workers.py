"""Layers are worked on side by side, by a process for each processor: on disk they are independent."""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from engine import errors
from engine.errors import CowlError, StoreError
from engine.images.unpacking import Job, Unpacked, shared_out

UNPACKING = "engine.images.unpacking"
_READ = 1 << 16


def unpack_all(jobs: Sequence[Job], lock: int, advance: Callable[[int], None]) -> list[Unpacked]:
    """Do *jobs* side by side, the largest first; results in the order of *jobs*. See `run_all`."""
    sizes = [job.size for job in jobs]
    return [Unpacked(*done) for done in run_all(UNPACKING, shared_out(jobs), sizes, lock, advance)]


def run_all(
    module: str, jobs: Sequence[object], sizes: Sequence[int], lock: int, advance: Callable[[int], None]
) -> list[list[Any]]:
    """Do *jobs* side by side by processes that run *module*, the largest first; results in their order.

    Workers inherit the descriptor *lock*: the staging area is held for as long as one of them lives.
    *advance* gets the bytes read since it was called last. The first failure ends all workers and is raised.
    """
    order = sorted(range(len(jobs)), key=lambda number: sizes[number])
    results: list[list[Any]] = [[] for _ in jobs]
    workers: dict[int, Worker] = {}
    poll = select.poll()
    try:
        for _ in range(min(len(jobs), len(os.sched_getaffinity(0)))):
            worker = Worker(lock, module)
            workers[worker.descriptor] = worker
            poll.register(worker.descriptor, select.POLLIN)
            worker.give(order.pop(), jobs)
        while workers:
            for descriptor, _ in poll.poll():
                worker = workers[descriptor]
                for message in worker.messages():
                    if "read" in message:
                        advance(message["read"])
                        continue
                    results[worker.number] = _result(message)
                    if order:
                        worker.give(order.pop(), jobs)
                    else:
                        poll.unregister(descriptor)
                        workers.pop(descriptor).end()
    finally:
        for worker in workers.values():
            worker.end()
    return results


class Worker:
    """A process that does one job at a time."""

    def __init__(self, lock: int, module: str = UNPACKING) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-I", "-m", module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(lock,),
        )
        assert self._process.stdin and self._process.stdout
        self._input = self._process.stdin
        self.descriptor = self._process.stdout.fileno()
        self.number = -1
        self._pending = b""

    def give(self, number: int, jobs: Sequence[object]) -> None:
        """Let it do the job *number*. Raises StoreError if it is dead."""
        self.number = number
        try:
            self._input.write(json.dumps(jobs[number]).encode() + b"\n")
            self._input.flush()
        except BrokenPipeError as error:
            raise self._died() from error

    def do(self, job: Job, advance: Callable[[int], None]) -> Unpacked:
        """Do *job* and wait for what comes of it. Raises what `unpack_all` raises."""
        self.give(0, [job])
        while True:
            for message in self.messages():
                if "read" not in message:
                    return Unpacked(*_result(message))
                advance(message["read"])

    def messages(self) -> list[dict[str, Any]]:
        """What it has said by now. Raises StoreError if it is dead."""
        data = os.read(self.descriptor, _READ)
        if not data:
            raise self._died()
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def kill(self) -> None:
        """Send it SIGKILL: who reads from it sees its end."""
        self._process.kill()

    def end(self) -> None:
        """End the process, whatever it does, and wait until a child of it has ended, too."""
        self._process.kill()
        with self._process:
            while os.read(self.descriptor, _READ):
                pass

    def _died(self) -> StoreError:
        assert self._process.stderr
        told = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        code = self._process.wait()
        why = told[-1] if told else f"signal {-code}" if code < 0 else f"exit code {code}"
        return StoreError("a layer could not be worked on", f"its worker ended early: {why}", "try again")


def _result(message: dict[str, Any]) -> list[Any]:
    if "errno" in message:
        code = message["errno"]
        if code in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(code, os.strerror(code), message["file"])
        raise StoreError("a layer could not be worked on", f"{message['file']}: {os.strerror(code)}")
    if "error" in message:
        kind, what, why, hint = message["error"]
        known = getattr(errors, kind, CowlError)
        raise known(what, why, hint)
    done: list[Any] = message["done"]
    return done
