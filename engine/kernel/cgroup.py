"""Cgroups of containers on version 1, hybrid and version 2 machines, behind one set of functions.

A container's cgroup is made before its process, limited, entered by the process itself, and removed after it:

    made = create("cowl/<id>", spec["linux"]["resources"])
    doors = entrances(made)         # before the fork
    join(doors)                     # in the child
    remove(made)                    # when it has ended

On version 1 `cowl/<id>` lies below our own cgroup of each hierarchy; on version 2, where inner cgroups hold
no processes, below the hierarchy's root. Only cgroups made here are ever changed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence

from engine import errors
from engine.kernel import cgroup1, cgroup2, cgroup_tree, cgroupfs, freezer, signals
from engine.kernel.cgroup_limits import apply
from engine.kernel.cgroup_tree import locate, remove
from engine.kernel.cgroupfs import UNIFIED, Cgroup, Deadline, Hierarchies, detect
from engine.model import JSON

__all__ = [
    "Cgroup",
    "Hierarchies",
    "apply",
    "close",
    "create",
    "detect",
    "entrances",
    "freeze",
    "frozen",
    "into_cgroup",
    "join",
    "kill_all",
    "locate",
    "oom_kills",
    "populated",
    "procs",
    "remove",
    "thaw",
]

FREEZE_SECONDS = 5.0
KILL_SECONDS = 10.0


def create(path: str, resources: JSON | None = None, hierarchies: Hierarchies | None = None) -> Cgroup:
    """Make the cgroup *path* with the limits of an OCI `linux.resources` document.

    What an earlier container of the same path left is replaced if it is empty. Raises `ConflictError` if it
    is not, `UsageError` for a path or limit without meaning, `UnsupportedError` for a limit that this machine
    cannot set; then nothing is left behind. Limits of swap, burst and weight that the kernel lacks are left
    out: see `apply`.
    """
    hierarchies = hierarchies or detect()
    cgroup = locate(path, hierarchies)
    made: list[str] = []
    with contextlib.ExitStack() as unless_made:
        unless_made.callback(_unmake, cgroup, made)
        for controller, directory in cgroup.directories.items():
            if directory not in made and controller not in cgroupfs.ON_DEMAND:
                cgroup_tree.make_leaf(cgroup, directory)
                made.append(directory)
        apply(cgroup, resources or {})
        unless_made.pop_all()
    return cgroup


def _unmake(cgroup: Cgroup, made: Sequence[str]) -> None:
    """Take away what was *made* of a cgroup that could not be had."""
    # `apply` may have made the cpuset; if it is another's, so was what kept us from making the rest.
    for directory in cgroup.places if len(made) >= len(cgroup.places) - 1 else made:
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    cgroup_tree.remove_parents(cgroup)


def joinable(cgroup: Cgroup, pid: int) -> Cgroup:
    """Where a process can join *cgroup*, whose first process is *pid*: itself, as a rule.

    One whose controllers are enabled for cgroups inside it takes no process on version 2 (cgroups(7), "no
    internal processes"): then it is the one inside where the first process has gone, as with runc and crun.
    """
    directory = cgroup.directories.get(UNIFIED)
    if directory is None:
        return cgroup
    try:
        if not cgroupfs.read(f"{directory}/cgroup.subtree_control").strip():
            return cgroup
        inside = cgroupfs.own_paths(cgroupfs.read(f"/proc/{pid}/cgroup"))[UNIFIED].strip("/")
    except (FileNotFoundError, ProcessLookupError):  # what joins will say so
        return cgroup
    place = cgroup.path.strip("/")
    if not inside.startswith(f"{place}/"):
        return cgroup
    return cgroup._replace(directories={**cgroup.directories, UNIFIED: directory + inside[len(place) :]})


def into_cgroup(cgroup: Cgroup) -> int | None:
    """A descriptor for clone3's CLONE_INTO_CGROUP (Linux 5.7): the child is born in the version 2 hierarchy.

    None where there is no such hierarchy. The caller closes it.
    """
    directory = cgroup.directories.get(UNIFIED)
    if directory is None:
        return None
    try:
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def entrances(cgroup: Cgroup, *, born_inside: bool = False) -> tuple[int, ...]:
    """Open what `join` writes to; call it before the fork, close them (`close`) in the parent afterwards.

    *born_inside*: the child comes from clone3 with `into_cgroup`, so that version 2 needs no joining. On a
    hybrid machine the version 2 hierarchy limits nothing, and is entered that way or not at all.
    """
    if cgroup.version == 2:
        files = [] if born_inside else [f"{cgroup.directories[UNIFIED]}/cgroup.procs"]
    else:
        files = cgroup1.entrances(cgroup)
    opened: list[int] = []
    with contextlib.ExitStack() as unless_opened:
        unless_opened.callback(close, opened)
        for file in files:
            try:
                opened.append(os.open(file, os.O_WRONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                # A controller that nobody asked for; anything else means that the cgroup has gone.
                lazy = [cgroup.directories.get(name) for name in cgroupfs.ON_DEMAND]
                if os.path.dirname(file) not in lazy:
                    raise errors.NotFoundError(f"the cgroup {cgroup.path} has gone") from None
        unless_opened.pop_all()
    return tuple(opened)


def join(doors: Iterable[int]) -> None:
    """Move the calling process, which must have one thread, through the descriptors of `entrances`."""
    for door in doors:
        os.write(door, b"0")


def close(descriptors: Iterable[int]) -> None:
    """Close what `entrances` opened."""
    for descriptor in descriptors:
        os.close(descriptor)


def procs(cgroup: Cgroup) -> list[int]:
    """Its processes and those of cgroups inside it, as our PID namespace numbers them."""
    return cgroupfs.pids(cgroup_tree.main_directory(cgroup))


def populated(cgroup: Cgroup) -> bool:
    """Whether a process is anywhere in it, in any hierarchy."""
    return bool(cgroup_tree.everywhere(cgroup))


def frozen(cgroup: Cgroup) -> bool:
    """Whether it is paused (or about to be: a process that enters a frozen cgroup takes a moment)."""
    return freezer.is_frozen(cgroup.version, cgroup.directories)


def freeze(cgroup: Cgroup, seconds: float = FREEZE_SECONDS) -> None:
    """Stop all its processes where they are; `ConflictError` when one would not stop within *seconds*."""
    try:
        done = cgroup1.freeze(cgroup, seconds) if cgroup.version == 1 else cgroup2.freeze(cgroup, seconds)
    except KeyError:
        raise errors.UnsupportedError(
            "nothing can be paused on this machine", "it has no freezer cgroup"
        ) from None
    except FileNotFoundError:
        raise errors.NotFoundError(f"the cgroup {cgroup.path} has gone") from None
    if not done:
        raise errors.ConflictError(
            "not every process could be stopped", "one waits for a device or a file server"
        )


def thaw(cgroup: Cgroup) -> None:
    """Undo `freeze`; nothing happens where nothing is frozen."""
    if cgroup.version == 1:
        cgroup1.thaw(cgroup)
    else:
        cgroup2.thaw(cgroup)


def kill_all(cgroup: Cgroup, seconds: float = KILL_SECONDS) -> bool:
    """SIGKILL to every process of it until none is left; False when one is still there after *seconds*.

    The kernel's own kill reaches them all at once (Linux 5.14). Otherwise they are frozen while the signals
    go out, so that none can fork away, and then thawed, since version 1 keeps what is frozen from dying.
    """
    deadline = Deadline(seconds)
    unified = cgroup.directories.get(UNIFIED)
    if unified and cgroup2.kill(unified):
        thaw(cgroup)
    while left := cgroup_tree.everywhere(cgroup):
        if len(left) > 1:
            with contextlib.suppress(errors.CowlError, OSError):
                freeze(cgroup, min(0.1, deadline.left))
        _kill_members(cgroup)
        thaw(cgroup)
        if cgroup.version == 2:
            cgroup2.wait_for(cgroup.directories[UNIFIED], "populated", 0, min(0.05, deadline.left))
        if not deadline.pause():
            return not cgroup_tree.everywhere(cgroup)
    return True


def _kill_members(cgroup: Cgroup) -> None:
    """One SIGKILL to each, through a descriptor taken before it was seen inside again: never a successor."""
    descriptors: dict[int, int] = {}
    try:
        for pid in cgroup_tree.everywhere(cgroup):
            with contextlib.suppress(ProcessLookupError):
                descriptors[pid] = os.pidfd_open(pid)
        for pid in cgroup_tree.everywhere(cgroup) & descriptors.keys():
            with contextlib.suppress(ProcessLookupError):
                signals.pidfd_send_signal(descriptors[pid], signals.SIGKILL)
    finally:
        close(descriptors.values())


def oom_kills(cgroup: Cgroup) -> int:
    """How many of its processes the kernel ended for want of memory; 0 when that is not known (any more)."""
    count: Callable[[Cgroup], int] = cgroup1.oom_kills if cgroup.version == 1 else cgroup2.oom_kills
    try:
        return count(cgroup)
    except (KeyError, FileNotFoundError):
        return 0
