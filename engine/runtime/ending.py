"""``kill`` and ``delete``."""

from __future__ import annotations

import contextlib
import os
import select

from engine.errors import ConflictError, UsageError
from engine.kernel import cgroup, process, signals
from engine.runtime import containers
from engine.runtime.containers import Container
from engine.runtime.report import Report

_END_MS = 10_000


def signal_number(text: str) -> int:
    """The signal that *text* names: a number, or a name with or without SIG; UsageError for none."""
    found = signals.number_of(text)
    if found is None:
        raise UsageError(f"unknown signal {text!r}", hint="see signal(7)")
    return found


def kill(container: Container, number: int, everyone: bool) -> None:
    """Send a signal to its first process, or to *everyone* in it; ConflictError when it does not run."""
    status = container.status()
    if everyone:
        _signal_all(container, number)
        return
    if status not in ("created", "running", "paused"):
        raise ConflictError(f"cannot kill container {container.id}", f"container not running: it is {status}")
    if not process.send_signal(container.who, number):
        raise ConflictError(f"cannot kill container {container.id}", "container not running: it has ended")
    if number == signals.SIGKILL:
        if _shares_processes(container):  # nothing ends the others when the first one does
            _signal_all(container, number)
        if status == "paused":  # version 1 keeps what is frozen from dying
            cgroup.thaw(container.group)


def _shares_processes(container: Container) -> bool:
    linux = container.document().get("linux") or {}
    own = [entry for entry in linux.get("namespaces") or () if entry["type"] == "pid"]
    return not own or bool(own[0].get("path"))


def _signal_all(container: Container, number: int) -> None:
    if number == signals.SIGKILL:
        cgroup.kill_all(container.group)
        return
    for pid in cgroup.procs(container.group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def delete(container: Container, force: bool, report: Report) -> None:
    """Undo its creation; ConflictError unless it is stopped, or *force* is used."""
    if not os.path.exists(container.directory):  # a start that failed has seen to it
        return
    status = container.status()
    if status != "stopped":
        if not force:
            raise ConflictError(
                f"cannot delete container {container.id}: it is not stopped",
                f"it is {status}",
                "kill it first",
            )
        _end(container)
    destroy(container, report)


def _end(container: Container) -> None:
    if container.pid:
        pidfd = process.open_pidfd(container.who)
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signals.pidfd_send_signal(pidfd, signals.SIGKILL)
            if container.cgroup is not None:
                cgroup.thaw(container.group)
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            poller.poll(_END_MS)
            os.close(pidfd)


def destroy(container: Container, report: Report) -> None:
    """Remove what is left of a container that has ended, then run its last hooks."""
    if container.cgroup is not None:
        cgroup.kill_all(container.group)
        cgroup.remove(container.group)
    spec = container.document()
    kinds = [entry["type"] for entry in (spec.get("linux") or {}).get("namespaces") or ()]
    if "mount" not in kinds:
        containers.unmount_rootfs(container)
    state = container.state("stopped")
    containers.forget(container)
    if wanted := spec.get("hooks"):
        from engine.launch import hooks

        for failure in hooks.run_all("poststop", hooks.hooks_of(wanted), lambda: state):
            report.warn(failure)
