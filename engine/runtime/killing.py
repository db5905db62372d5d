"""``kill``: a signal for a container's first process, or for all of them."""

from __future__ import annotations

import os

from engine.errors import ConflictError, UsageError
from engine.kernel import identity, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.runtime.containers import Container


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
    if not identity.send_signal(container.who, number):
        raise ConflictError(f"cannot kill container {container.id}", "container not running: it has ended")
    if number == signals.SIGKILL:
        if _shares_processes(container):  # nothing ends the others when the first one does
            _signal_all(container, number)
        if status == "paused":  # version 1 keeps what is frozen from dying
            from engine.kernel import cgroup

            cgroup.thaw(container.group)


def _shares_processes(container: Container) -> bool:
    linux = container.document().get("linux") or {}
    own = [entry for entry in linux.get("namespaces") or () if entry["type"] == "pid"]
    return not own or bool(own[0].get("path"))


def _signal_all(container: Container, number: int) -> None:
    import contextlib

    from engine.kernel import cgroup

    if number == signals.SIGKILL:
        cgroup.kill_all(container.group)
        return
    for pid in cgroup.procs(container.group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
