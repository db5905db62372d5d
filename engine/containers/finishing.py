"""The end of a container's run: its exit recorded, those who watch told, cgroup and network given back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

from engine.containers import restarting, state
from engine.containers.life import Run, exit_record, tell
from engine.containers.pump import Pump
from engine.errors import StoreError
from engine.kernel import cgroup, process
from engine.launch import request
from engine.launch.request import Launch
from engine.model import JSON
from engine.store import clock
from engine.store.failures import Enduring
from engine.store.faults import point
from engine.store.layout import ContainerPaths

_LOST = b"cowl: error: what it says from now on is lost (see its failures in cowl inspect)\n"


def carry(pump: Pump, paths: ContainerPaths) -> None:
    """Let *pump* run; should that fail, wait for the end of the first process without it."""
    carrying = Enduring(paths)
    with carrying:
        pump.run()
    if carrying.failed:
        with Enduring(paths):
            pump.tell(request.STDERR + _LOST)
        with Enduring(paths):
            pump.outlast()


def reap(pid: int, checker: int | None) -> int:
    """The wait status of the first process, which is about to end; its *checker* ends too.

    Both are children of the process that calls this, or the checker is one of its keeper, who reaps it later.
    """
    _, status = os.waitpid(pid, 0)
    if checker is not None:
        os.kill(checker, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(checker, 0)
    return status


def end(launch: Launch, paths: ContainerPaths, run: Run, policy: restarting.Policy, status: int) -> bool:
    """From the end of the first process to the end of this run; whether the container can be removed now.

    That it cannot where a client has removed it, or something of it is left that somebody has to take away.
    *status* is the wait status of the process. If *policy* wants a further run, its socket and listener stay.
    A step that fails is kept, and does not stop the others.
    """
    pump = run.pump
    code = process.exit_code(status)
    step, clearing = Enduring(paths), Enduring(paths)
    with step:
        _collect(run)
    oom = again = removed = False
    with step:
        oom = cgroup.oom_kills(run.group) > 0
    with step:
        again = policy.wants(code, run.restarts) and not restarting.is_called_off(paths)
    record = exit_record(run.started, clock.now(), code, oom=oom, restarts=run.restarts, restarting=again)
    point("end.before-record")
    with step:
        _record(paths, record)
    point("end.after-record")
    with step:
        if oom:
            tell(launch, "oom")
        tell(launch, "die", exit_code=str(code))
    with step:
        if not again:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(paths.socket)
        pump.admit()  # who comes later finds no socket, and looks at the record
        told = {"exit_code": code, "oom_killed": oom, "restarting": again}
        pump.tell(request.EXITED + json.dumps(told).encode())
    with clearing:
        if run.connection is not None:
            run.connection.leave()
    with clearing:
        cgroup.remove(run.group)
    point("end.after-cgroup")
    with contextlib.suppress(OSError):
        os.unlink(paths.state)
    with step:
        pump.tell(request.CLEAN)
    with clearing:
        if run.connection is not None:
            run.connection.tidy()
    with step:
        removed = pump.finish()
    with step:
        pump.close()
        os.close(run.pidfd)
    if not again:
        pump.listener = None
    return not (removed or clearing.failed)


def _collect(run: Run) -> None:
    """What it has said until its end."""
    if run.shares_pids:
        cgroup.kill_all(run.group)
    run.pump.drain()
    run.pump.close_log()


def _record(paths: ContainerPaths, record: JSON) -> None:
    """Write down how it ended: on a full disk, over what says that it was started."""
    try:
        state.write_document(paths.exit, record, flush=True)
    except OSError:
        try:
            state.overwrite_document(paths.exit, record)
        except OSError as error:
            what = f"it ended with {record['exit_code']}, which cannot be recorded"
            raise StoreError(what, error.strerror or str(error)) from error


def call_off(launch: Launch, paths: ContainerPaths) -> None:
    """Record that no further run will follow."""
    ended = state.read_document(paths.exit)
    if ended is not None and ended.get("restarting"):
        state.write_document(paths.exit, ended | {"restarting": False}, flush=True)
    with contextlib.suppress(OSError):
        os.unlink(paths.socket)
    state.touch(launch.revision)


def remove(launch: Launch) -> None:
    """Remove the container, or become the process that does.

    SQLite does not survive a fork: in the memory of somebody who had the records open it cannot be used.
    """
    if launch.fresh:
        from engine.containers import removal

        removal.remove_ended(launch.root, launch.run, launch.id, launch.revision)
        return
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys; sys.path.insert(0, {home!r}); from engine.containers import removal; removal.main()"
    arguments = [sys.executable, "-I", "-S", "-c", code, launch.root, launch.run, launch.id, launch.revision]
    os.execv(sys.executable, arguments)
