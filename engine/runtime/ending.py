"""``delete``: nothing of a container is left, however far its creation or an earlier ``delete`` has come."""

from __future__ import annotations

import contextlib
import os
import select

from engine import plainjson
from engine.errors import ConflictError
from engine.kernel import cgroup, identity, signals
from engine.kernel.cgroupfs import Deadline
from engine.runtime import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.model import JSON
    from engine.runtime.containers import Container
    from engine.runtime.report import Report

_END_MS = 10_000
_CREATED_SECONDS = 1.0
"""How long a creation that goes on may take until it is made to fail."""
_AGAIN_SECONDS = 0.1


def delete(directory: str, force: bool, report: Report) -> None:
    """Undo a creation; ConflictError unless the container is stopped, or *force* is used.

    Raises NotFoundError where there is none. With *force* it does not matter how far its creation has come.
    """
    with _hold(directory, force) as held:
        container = containers.read(directory) if held else None
        if container is None:
            if not force:
                raise containers.unknown(directory)
            if held:  # else what is there by now is being made by somebody
                _clear_rest(directory)
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


@contextlib.contextmanager
def _hold(directory: str, force: bool) -> Iterator[bool]:
    """Keep others from making or removing the container; whether there is one.

    Whoever takes too long to create it is made to fail, by *force*, and undoes what it has done.
    """
    lock = containers.lock(directory, _CREATED_SECONDS)
    deadline = Deadline(_END_MS / 1000)
    while lock == containers.BUSY and force and deadline.left:
        # Its first process may not have been there yet.
        container = containers.read(directory)
        if container is not None and container.cgroup is not None:
            cgroup.kill_all(container.group)
        lock = containers.lock(directory, _AGAIN_SECONDS)
    if lock == containers.BUSY:
        name = os.path.basename(directory)
        raise ConflictError(f"cannot delete container {name}", "it is being created, or deleted")
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _end(container: Container) -> None:
    pidfd = identity.open_pidfd(container.who) if container.pid else None
    if pidfd is None:
        return
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
    spec = plainjson.read(f"{container.directory}/config.json")
    if spec is not None and not _has_mounts_of_its_own(spec):
        containers.unmount_rootfs(container)
    state = container.state("stopped")
    containers.forget(container)
    if wanted := (spec or {}).get("hooks"):
        from engine.launch import hooks

        for failure in hooks.run_all("poststop", hooks.hooks_of(wanted), lambda: state):
            report.warn(failure)


def _has_mounts_of_its_own(spec: JSON) -> bool:
    entries = (spec.get("linux") or {}).get("namespaces") or ()
    return "mount" in [entry["type"] for entry in entries]


def _clear_rest(directory: str) -> None:
    """Remove what there is of a container that has no state yet, or no more: an empty cgroup at most."""
    spec = plainjson.read(f"{directory}/config.json")
    if spec:
        group = cgroup.locate(spec["linux"]["cgroupsPath"], cgroup.detect())
        if not cgroup.populated(group):
            cgroup.remove(group)
    containers.clear(directory)
