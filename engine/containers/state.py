"""What a container is doing, derived from what cannot lie: locks, process identities, the monitor's records.

state.json's process is alive               running or paused; monitored if the monitor's lock is held
exit.json says "finished"                   exited, with its code (or restarting)
exit.json says "started" and no more        exited, and nobody saw how: the monitor was killed, or the power
cut neither                                     created
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from engine import plainjson
from engine.kernel import freezer, mount, process
from engine.model import JSON, State
from engine.record import Record
from engine.store import failures
from engine.store.layout import ContainerPaths

UNKNOWN_END = "monitor lost: it was killed; its exit code is unknown"
_TROUBLES = {
    failures.LOG: "log incomplete",
    failures.MONITOR: "monitor failed",
    failures.HEALTH: "health check failed",
}
UNKNOWN_EXIT_CODE = 255
"""What `wait` answers for an end that nobody saw."""


class Facts(Record):
    """The state of one container now."""

    state: State
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    """Why it did not start, why it has no monitor or its end is unknown, what its log lacks."""
    restarts: int = 0
    """How often its policy has started it again."""
    who: process.Identity | None = None
    """Its first process, while that lives."""
    monitored: bool = False
    cgroup: JSON | None = None
    """As `engine.kernel.cgroup` wrote it."""
    no_devices: bool = False
    """Whether its cgroup could not be held to its devices: what joins must not make nodes either."""

    @property
    def active(self) -> bool:
        """Whether it has processes: running or paused."""
        return self.state in ("running", "paused")

    @property
    def held(self) -> bool:
        """Whether it has processes now, or will have some without being started."""
        return self.active or self.state == "restarting"


def derive(paths: ContainerPaths) -> Facts:
    """Look at one container; costs a few dozen microseconds."""
    running = read_document(paths.state)
    if running and _first_process(running):
        return _active(running, paths)
    ended = read_document(paths.exit)
    if ended and ended.get("finished"):
        return _ended(ended, paths)
    if ended and not running:  # it may have been started between the two looks
        running = read_document(paths.state)
        if running and _first_process(running):
            return _active(running, paths)
    monitored = is_monitored(paths)
    if running and monitored:  # it ends just now: the monitor is about to write how
        again = read_document(paths.exit)
        if again and again.get("finished"):
            return _ended(again, paths)
        return Facts(state="running", started=running["started"], monitored=True, cgroup=running["cgroup"])
    if ended and ended.get("started") and not monitored:
        # Read again: between the first look and the lock the monitor may have finished.
        again = read_document(paths.exit)
        if again and again.get("finished"):
            return _ended(again, paths)
        return Facts(
            state="exited",
            started=ended["started"],
            error=f"{_lost(paths)}; its exit code is unknown",
            cgroup=running["cgroup"] if running else None,
        )
    return Facts(state="created", monitored=monitored)


def live(paths: ContainerPaths) -> tuple[process.Identity, JSON] | None:
    """The first process and the cgroup of a container that runs or is paused; None for any other.

    Those for which `derive` says that it is active, for less.
    """
    running = read_document(paths.state)
    who = _first_process(running) if running else None
    return None if who is None or running is None else (who, running["cgroup"])


def _first_process(document: JSON) -> process.Identity | None:
    """The one that state.json names, if it lives."""
    who = process.Identity(document["pid"], document["pid_start"])
    return who if process.alive(who) else None


def _active(document: JSON, paths: ContainerPaths) -> Facts:
    """Those of a container whose first process lives, as state.json has it."""
    where = document["cgroup"]
    monitored = is_monitored(paths)
    return Facts(
        state="paused" if freezer.is_frozen(where["version"], where["directories"]) else "running",
        started=document["started"],
        error=_trouble(paths, document["started"]) if monitored else _lost(paths),
        restarts=document.get("restarts", 0),
        who=process.Identity(document["pid"], document["pid_start"]),
        monitored=monitored,
        cgroup=where,
        no_devices=document.get("no_devices", False),
    )


def _ended(document: JSON, paths: ContainerPaths) -> Facts:
    return Facts(
        state="restarting" if document.get("restarting") and is_monitored(paths) else "exited",
        started=document.get("started"),
        finished=document["finished"],
        exit_code=document.get("exit_code"),
        oom_killed=bool(document.get("oom_killed")),
        error=document.get("error", ""),
        restarts=document.get("restarts", 0),
    )


def _lost(paths: ContainerPaths) -> str:
    """Why it has no monitor."""
    causes = [failure.error for failure in failures.read(paths) if failure.process == failures.MONITOR]
    return f"monitor lost: {causes[-1] if causes else 'it was killed'}"


def _trouble(paths: ContainerPaths, started: str) -> str:
    """What has gone wrong in this run; empty, as a rule."""
    for failure in failures.read(paths):
        if failure.time >= started and failure.process in _TROUBLES:
            return f"{_TROUBLES[failure.process]}: {failure.error}"
    return ""


def is_monitored(paths: ContainerPaths) -> bool:
    """Whether a monitor lives: the kernel lets go of its lock whatever kills it."""
    try:
        descriptor = os.open(paths.monitor_lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_document(path: str) -> JSON | None:
    """A JSON document of ours, which is whole or not there."""
    found: JSON | None = plainjson.read(path)
    return found


def write_document(path: str, document: JSON, *, flush: bool = False) -> None:
    """Put *document* at *path* whole or not at all; with *flush*, it is on disk afterwards."""
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, plainjson.dumps(document).encode(), flush)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)


def overwrite_document(path: str, document: JSON) -> None:
    """Put *document* over the one at *path*, in the room that it has: for a full disk. It is flushed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        # Blanks after a document are none of it: whoever reads meanwhile finds no end of the former one.
        data = plainjson.dumps(document).encode().ljust(os.fstat(descriptor).st_size)
        _write(descriptor, data, flush=True)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes, flush: bool) -> None:
    while data:  # a disk that becomes full takes a part
        data = data[os.write(descriptor, data) :]
    if flush and mount.file_system(descriptor) not in (mount.TMPFS_MAGIC, mount.RAMFS_MAGIC):
        os.fsync(descriptor)


def touch(path: str) -> None:
    """Tell whoever looks that something has changed.

    The kernel's own time stands still for up to 10 ms before Linux 6.13, and two changes would be one.
    """
    now = time.time_ns()
    try:
        os.utime(path, ns=(now, now))
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError:
        return
