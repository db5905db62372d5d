"""What is left of what could not clean up after itself: found by whoever opens a root next, or looks.

A container that was to go by itself and whose monitor was killed, or went down with the machine; the run-time
directories of roots that somebody has deleted. Each run-time directory says which root it is of.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence

from engine.containers import removal, state
from engine.errors import ConflictError, CowlError, NoSpaceError, NotFoundError
from engine.kernel import process
from engine.model import Container
from engine.store import clock, records
from engine.store.deletion import delete_tree
from engine.store.layout import ORIGIN, ContainerPaths, Layout
from engine.store.staging import is_held
from engine.store.store import Store

MOST = 16
"""How many directories one opening looks at."""
UNATTENDED = "it ended, and nobody was left to remove it"
"""The reason that is noted with the removal of a container that had to go by itself."""
GRACE_S = 10.0
"""Seconds after a recorded end in which whoever saw it may still be removing the container."""
_GOING = "."
"""Begins the name of a directory that is being deleted."""


def settle(store: Store) -> None:
    """At the first opening since the machine has started: remove what was to go by itself, and note the root.

    What cannot be removed now is tried again at the next opening.
    """
    with contextlib.suppress(NoSpaceError):
        if _remove_ended(store):
            _note(store.layout)


def _note(layout: Layout) -> None:
    with contextlib.suppress(OSError):  # nothing can be started without that directory, which is said then
        os.makedirs(layout.run, mode=0o700, exist_ok=True)
        with open(f"{layout.origin}.new", "wb", buffering=0) as file:
            file.write(os.fsencode(layout.root))
        os.rename(f"{layout.origin}.new", layout.origin)


def _remove_ended(store: Store) -> bool:
    """Remove the containers that were to go by themselves and have ended; False if one could not be."""
    complete = True
    for row in records.containers(store.connection):
        if not row.options.auto_remove:
            continue
        try:
            _remove(store, row.id, row.name, 0.0)
        except ConflictError:
            complete = False
        except NotFoundError:  # somebody else has removed it
            continue
    return complete


def remove(store: Store, ended: Iterable[Container]) -> set[str]:
    """Remove those of *ended*, which were to go by themselves, that nobody else can remove; their IDs.

    As when a monitor was killed alone: its container ran on, and nobody saw the end. What cannot be removed
    now is tried again by whoever looks next.
    """
    gone: set[str] = set()
    for each in ended:
        with contextlib.suppress(CowlError, OSError):
            if _remove(store, each.id, each.name, GRACE_S):
                gone.add(each.id)
    if gone:
        state.touch(store.layout.revision)
    return gone


def _remove(store: Store, identity: str, name: str, grace_s: float) -> bool:
    """Remove a container that has nobody; False if it runs, or somebody will do it."""
    paths = store.layout.container(identity)
    if not _is_unattended(paths, grace_s):
        return False
    if is_held(paths.lock):
        raise ConflictError(f"the container {name} is busy")
    with removal.locked(paths, name):
        if not _is_unattended(paths, grace_s):
            return False
        if group := removal.cgroup_path(paths):
            removal.clean_cgroup(group, kill_members=True)
        removal.clean_network(store.layout, identity, half_made=True)
        removal.erase(store.layout, store.freeing(), identity, reason=UNATTENDED)
    return True


def _is_unattended(paths: ContainerPaths, grace_s: float) -> bool:
    """Whether it has ended, and nobody sees to what follows."""
    facts = state.derive(paths)
    if facts.state != "exited" or state.is_monitored(paths):
        return False
    return facts.finished is None or facts.finished < clock.rfc3339(time.time_ns() - int(grace_s * 1e9))


def sweep(base: str, names: Sequence[str]) -> list[str]:
    """Delete those of the run-time directories *names* in *base* whose roots are gone; which those were.

    No more than `MOST` are looked at, beginning anywhere; one in which anything lives or is locked stays.
    """
    start = int.from_bytes(os.urandom(2), "little") % len(names)
    chosen = [*names[start:], *names[:start]][:MOST]
    return [path for name in chosen if _swept(path := f"{base}/{name}")]


def _swept(path: str) -> bool:
    base, name = os.path.split(path)
    if name.startswith(_GOING):
        delete_tree(path)
        return True
    origin = _origin(path)
    if origin is None or os.path.lexists(origin):
        return False
    going = f"{base}/{_GOING}{name}"
    try:
        if not _is_idle(path):
            return False
        if os.path.exists(f"{path}/network.lock"):
            from engine.network import sweeping

            sweeping.sweep(path, 0.0)
        os.rename(path, going)
    except (CowlError, OSError):  # not ours to change, or somebody was first
        return False
    if os.path.lexists(origin):  # it has come back just now
        with contextlib.suppress(OSError):
            os.rename(going, path)
            return False
    delete_tree(going)
    return True


def _origin(path: str) -> str | None:
    """The root whose run-time directory *path* is; None where that is not said."""
    try:
        with open(f"{path}/{ORIGIN}", "rb", buffering=0) as file:
            return os.fsdecode(file.read()) or None
    except OSError:
        return None


def _is_idle(path: str) -> bool:
    """Whether nothing in *path* lives, or is locked."""
    for place in (path, *_directories(path)):
        running = state.read_document(f"{place}/state.json")
        if running is not None and process.alive(process.Identity(running["pid"], running["pid_start"])):
            return False
        if any(is_held(f"{place}/{name}") for name in os.listdir(place) if name.endswith(".lock")):
            return False
    return True


def _directories(path: str) -> Iterator[str]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.path
