"""The end of a container's run: its exit recorded, those who watch told, cgroup and network given back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

from engine.containers import restarting, state
from engine.containers.life import Run, exit_record, tell
from engine.kernel import cgroup, process
from engine.launch import request
from engine.launch.request import Launch
from engine.store import clock
from engine.store.faults import point
from engine.store.layout import ContainerPaths


def reap(pid: int, checker: int | None) -> int:
    """The wait status of the first process, which is about to end; its *checker* ends too.

    Both are children of the process that calls this.
    """
    _, status = os.waitpid(pid, 0)
    if checker is not None:
        os.kill(checker, signal.SIGKILL)
        os.waitpid(checker, 0)
    return status


def end(launch: Launch, paths: ContainerPaths, run: Run, policy: restarting.Policy, status: int) -> bool:
    """From the end of the first process to the end of this run; whether a client has removed the container.

    *status* is the wait status of the process. If *policy* wants a further run, its socket and listener stay.
    """
    pump = run.pump
    code = process.exit_code(status)
    if run.shares_pids:
        cgroup.kill_all(run.group)
    pump.drain()
    pump.close_log()
    oom = cgroup.oom_kills(run.group) > 0
    again = policy.wants(code, run.restarts) and not restarting.is_called_off(paths)
    record = exit_record(run.started, clock.now(), code, oom=oom, restarts=run.restarts, restarting=again)
    point("end.before-record")
    with contextlib.suppress(OSError):  # a full disk: the state stays "ended, nobody knows how"
        state.write_document(paths.exit, record, flush=True)
    point("end.after-record")
    if oom:
        tell(launch, "oom")
    tell(launch, "die", exit_code=str(code))
    told = {"exit_code": code, "oom_killed": oom, "restarting": again}
    pump.tell(request.EXITED + json.dumps(told).encode())
    if run.connection is not None:
        run.connection.leave()
    cgroup.remove(run.group)
    point("end.after-cgroup")
    for path in (paths.state,) if again else (paths.socket, paths.state):
        with contextlib.suppress(OSError):
            os.unlink(path)
    pump.tell(request.CLEAN)
    if run.connection is not None:
        run.connection.tidy()
    removed = pump.finish()
    pump.close()
    os.close(run.pidfd)
    if not again:
        pump.listener = None
    return removed


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
