"""Taking a container away: what runs is killed; cgroup, files, record and run-time files go.

Every step may be the last before a crash: the record goes when nothing runs any more, and the files, which
nobody can mistake for a container's then, go after it or are swept when the store is next opened.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import sys
import time
from _sqlite3 import Connection
from _sqlite3 import Error as SQLiteError
from collections.abc import Iterator

from engine.containers import attach, logs, restarting, state
from engine.errors import ConflictError, CowlError, InUseError, NoSpaceError, NotFoundError
from engine.kernel import cgroup, process
from engine.model import Removal, RemovalItem
from engine.store import database, events, records
from engine.store.deletion import delete_tree
from engine.store.faults import point
from engine.store.layout import ContainerPaths, Layout
from engine.store.staging import retire
from engine.store.store import Store

SETTLE_SECONDS = 15.0
"""How long the end of a killed container is waited for: its monitor writes the last of its log."""
LOCK_SECONDS = 60.0
"""How long somebody else who changes the container's state is waited for."""


@contextlib.contextmanager
def locked(paths: ContainerPaths, name: str) -> Iterator[None]:
    """Be alone with it. Raises NotFoundError when it is gone, ConflictError when it stays busy."""
    try:
        descriptor = os.open(paths.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise NotFoundError(
            f"the container {name} has no files", "it was never finished", f"cowl rm {name}"
        ) from None
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConflictError(f"the container {name} is busy", "another cowl works on it") from None
                time.sleep(0.005)
        if not _is_at(descriptor, paths.lock):
            raise NotFoundError(f"the container {name} has just been removed")
        yield
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether the open file *descriptor* is the one at *path*."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def remove(
    store: Store, row: records.ContainerRow, cgroup_path: str, *, force: bool, volumes: bool = False
) -> None:
    """Remove the container *row*, with *volumes* also those that were made for it alone.

    Raises InUseError when it runs and *force* is not given.
    """
    paths = store.layout.container(row.id)
    with contextlib.ExitStack() as stack:
        if os.path.isdir(paths.home):
            with contextlib.suppress(NotFoundError):  # somebody else removes it at the same time
                stack.enter_context(locked(paths, row.name))
        facts = begun(paths)
        if facts.held:
            if not force:
                raise InUseError(f"the container {row.name} is {facts.state}", hint="stop it first, or rm -f")
            kill(paths, call_off(paths))
        clean_cgroup(cgroup_path, kill_members=force or facts.state != "created")
        # Nobody saw its end: what its monitor did last is not known.
        unseen = facts.started is not None and facts.finished is None and not facts.monitored
        clean_network(store.layout, row.id, half_made=unseen)
        erase(store.layout, store.freeing(), row.id, volumes=volumes)


def effect(layout: Layout, row: records.ContainerRow) -> Removal:
    """What removing the container *row* by force would take away."""
    paths = layout.container(row.id)
    facts = state.derive(paths)
    taken = size(paths) + logs.size(paths.log)
    running = " and end its processes" if facts.active else ""
    return Removal(
        what=(f"remove the container {row.name} with its changes{running}",),
        nodes=(),
        containers=(row.name,),
        size=taken,
        blocked_by=(),
        items=(RemovalItem("container", row.name, taken, f"{facts.state}, with its changes"),),
    )


def cgroup_path(paths: ContainerPaths) -> str:
    """Where its config.json has its cgroup; empty without one."""
    spec = state.read_document(paths.config)
    return str(spec["linux"]["cgroupsPath"]) if spec else ""


def size(paths: ContainerPaths) -> int:
    """Bytes of the regular files in its read-write layer."""
    total = 0
    pending = [paths.upper]
    while pending:
        place = pending.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except NotADirectoryError:
            total += os.stat(place).st_size
        except FileNotFoundError:
            continue
    return total


def erase(
    layout: Layout, connection: Connection, container_id: str, *, volumes: bool = False, **attributes: str
) -> None:
    """Delete the files and the record of a container that does not run.

    Volumes that were made for it alone go too if it was to go by itself, or with *volumes*. *attributes* are
    what is noted with the event.
    """
    paths = layout.container(container_id)
    point("remove.before-record")
    _erase_run(paths.run)
    try:
        with database.transaction(connection):
            gone = records.delete_container(connection, container_id)
    except SQLiteError as error:
        raise database.translate(error, layout) from error
    point("remove.after-record")
    trashed = retire(layout, paths.home)
    point("remove.after-rename")
    if gone is not None:
        _erase_volumes(layout, connection, gone, volumes)
        events.record(layout, "container", "destroy", container_id, gone.name, **attributes)
    if trashed is not None:
        delete_tree(trashed)


def _erase_volumes(layout: Layout, connection: Connection, gone: records.ContainerRow, wanted: bool) -> None:
    if (wanted or gone.options.auto_remove) and any(each.anonymous for each in gone.options.volumes):
        from engine.containers.volumes import remove_anonymous

        remove_anonymous(layout, connection, gone.options.volumes)


def _erase_run(path: str) -> None:
    """Delete the run-time directory *path*, although a health check that ends just now may write there."""
    with contextlib.suppress(FileNotFoundError):
        while not _is_erased(path):
            pass


def _is_erased(path: str) -> bool:
    """Empty and remove a directory; False if something has been made in it meanwhile."""
    for name in os.listdir(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}/{name}")
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def main() -> None:
    """What the monitor of an auto_remove container becomes at last, when nobody else is left to remove it."""
    remove_ended(*sys.argv[1:])


def remove_ended(root: str, run: str, container_id: str, revision: str) -> None:
    """Remove a container by the names that its monitor knows."""
    layout = Layout(root, os.path.dirname(run))
    connection = _connect(layout)
    try:
        erase(layout, connection, container_id)
    finally:
        connection.close()
    state.touch(revision)


def _connect(layout: Layout) -> Connection:
    """A connection to the records that has the reserve's room where there is no other."""
    if not database.is_full(layout):
        try:
            return database.connect(layout)
        except NoSpaceError:  # by a quota
            pass
    from engine.store import reserve

    reserve.release(layout)
    return database.connect(layout)


def call_off(paths: ContainerPaths, seconds: float = SETTLE_SECONDS) -> state.Facts:
    """Let its restart policy start it no more; what it does then: it runs, or has ended for good.

    Raises ConflictError when its monitor does not hear.
    """
    restarting.call_off(paths)
    deadline = time.monotonic() + seconds
    while (facts := state.derive(paths)).state == "restarting":
        if time.monotonic() > deadline:
            raise ConflictError("the container does not end", "its monitor does not answer")
        attach.wake(paths)
        time.sleep(0.002)
    return facts


def begun(paths: ContainerPaths, seconds: float = SETTLE_SECONDS) -> state.Facts:
    """Its state, for whoever is alone with it: a monitor whose caller was killed may be starting it yet.

    Raises ConflictError when that comes to no end.
    """
    deadline = time.monotonic() + seconds
    while (facts := state.derive(paths)).state == "created" and facts.monitored:
        if time.monotonic() > deadline:
            raise ConflictError("the container does not start", "its monitor does not answer")
        time.sleep(0.002)
    return facts


def kill(paths: ContainerPaths, facts: state.Facts) -> None:
    """SIGKILL to the container's first process, and so to all of it; until its end is recorded."""
    members = cgroup.Cgroup.from_json(facts.cgroup) if facts.cgroup else None
    if facts.who is not None:
        process.send_signal(facts.who, signal.SIGKILL)
    if members is not None:
        cgroup.thaw(members)  # what is frozen does not die on version 1
    settle(paths)


def settle(paths: ContainerPaths, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until the container that was told to end has ended and its monitor has cleaned up or is dead.

    A monitor that had decided on a further run before that was called off has thought better of it then.
    Raises ConflictError when it does not end.
    """
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while True:
        facts = state.derive(paths)
        waits = facts.state == "restarting" and restarting.is_called_off(paths)
        if not (facts.active or waits or (os.path.exists(paths.state) and state.is_monitored(paths))):
            return
        if time.monotonic() > deadline:
            raise ConflictError("the container does not end", "its first process waits in the kernel")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def clean_network(layout: Layout, container_id: str, *, half_made: bool = False) -> None:
    """Take away what a killed monitor left of the container's ports and of its bridge.

    With *half_made* a bridge that nobody is recorded to be on goes too.
    """
    if os.path.exists(f"{layout.run}/network.lock"):
        from engine.network import connection

        connection.clear(layout.run, container_id, half_made=half_made)


def clean_cgroup(path: str, *, kill_members: bool) -> None:
    """Take away what a killed monitor left of the cgroup *path*: perhaps its parents alone."""
    group = cgroup.locate(path, cgroup.detect())
    if kill_members and any(os.path.isdir(place) for place in group.places):
        cgroup.kill_all(group)
    with contextlib.suppress(CowlError):
        cgroup.remove(group)
