"""The directories of a cgroup: where they belong, making them, removing them.

Other cowl processes make and remove cgroups below the same parent at the same time, without a lock: what
vanishes or appears in between is tried again.
"""

from __future__ import annotations

import contextlib
import errno
import os

from engine import errors
from engine.kernel import cgroup1, cgroup2, cgroupfs
from engine.kernel.cgroupfs import UNIFIED, Cgroup, Deadline, Hierarchies

REMOVE_SECONDS = 5.0
_RACES = 100


def locate(path: str, hierarchies: Hierarchies) -> Cgroup:
    """The cgroup *path* (OCI `cgroupsPath`), not made; absolute ones start at the hierarchies' roots."""
    parts = path.strip("/").split("/")
    if not all(parts) or any(part in (".", "..") or "\0" in part or "\n" in part for part in parts):
        raise errors.UsageError(f"no cgroup can be named {path!r}")
    if hierarchies.version == 1:
        return Cgroup(1, path, cgroup1.directories(hierarchies, path))
    return Cgroup(2, path, {UNIFIED: f"{hierarchies.bases[UNIFIED].rstrip('/')}/{path.strip('/')}"})


def make_leaf(cgroup: Cgroup, directory: str) -> None:
    """Make *directory*, one of *cgroup*'s, and its parents, although others remove empty parents."""
    for _ in range(_RACES):
        try:
            _make_down_to(cgroup, directory)
        except FileExistsError:
            # Left by a monitor that was killed. It is made anew: what it has counted is not this container's.
            if cgroupfs.pids(directory):
                raise errors.ConflictError(
                    f"the cgroup {cgroup.path} is in use", f"see {directory}"
                ) from None
            _remove_tree(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.ENODEV:
                why = os.strerror(error.errno or 0)
                raise errors.UnsupportedError(f"no cgroup can be made at {directory}", why) from error
        else:
            return
    raise errors.ConflictError(f"no cgroup can be made at {directory}", "others remove it all the time")


def _make_down_to(cgroup: Cgroup, directory: str) -> None:
    controllers = [name for name, place in cgroup.directories.items() if place == directory]
    if cgroup.version == 1:
        with contextlib.suppress(FileNotFoundError):  # mostly it has siblings, and so its parents are there
            cgroup1.make(directory, controllers)
            return
    path = (*reversed(_parents(cgroup, directory)), directory)
    for place in path:
        if place != directory and os.path.isdir(place):
            continue
        try:
            if cgroup.version == 2:
                os.mkdir(place)
            else:
                cgroup1.make(place, controllers)
        except FileExistsError:
            if place == directory:
                raise
    if cgroup.version == 2:
        # Not before the last is made: until then others may remove its parents and make them anew.
        for place in path:
            cgroup2.enable(os.path.dirname(place))


def _parents(cgroup: Cgroup, directory: str) -> list[str]:
    """The directories above *directory* that belong to *cgroup*'s path, innermost first."""
    found: list[str] = []
    for _ in range(cgroup.path.strip("/").count("/")):
        directory = os.path.dirname(directory)
        found.append(directory)
    return found


def everywhere(cgroup: Cgroup) -> set[int]:
    """The processes that are in it in any hierarchy, as our PID namespace numbers them."""
    return {pid for place in cgroup.places for pid in cgroupfs.pids(place)}


def remove(cgroup: Cgroup, seconds: float = REMOVE_SECONDS) -> None:
    """Remove it with all cgroups made inside it, and its parents as far as they are empty then.

    A process that has just been reaped can keep a cgroup busy for a moment: rmdir is repeated. Raises
    `InUseError` when processes are still there after *seconds*; they are not killed.
    """
    deadline = Deadline(seconds)
    while busy := [place for place in cgroup.places if not _remove_tree(place)]:
        if not deadline.pause():
            inside = sorted(everywhere(cgroup))
            why = f"processes {', '.join(map(str, inside))} are in it" if inside else f"{busy[0]} stays busy"
            raise errors.InUseError(f"the cgroup {cgroup.path} cannot be removed", why)
    remove_parents(cgroup)


def _remove_tree(directory: str) -> bool:
    for place in (*cgroupfs.nested(directory), directory):
        try:
            os.rmdir(place)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            return False
    return True


def remove_parents(cgroup: Cgroup) -> None:
    """Remove what is empty now of the path down to *cgroup*, unless it is absolute: then others made it."""
    if cgroup.path.startswith("/"):
        return
    for directory in cgroup.places:
        for place in _parents(cgroup, directory):
            with contextlib.suppress(OSError):
                os.rmdir(place)


def main_directory(cgroup: Cgroup) -> str:
    """The directory that tells which processes are in the cgroup."""
    for name in (UNIFIED,) if cgroup.version == 2 else ("freezer", "pids", "memory", "cpu"):
        if name in cgroup.directories:
            return cgroup.directories[name]
    return cgroup.places[0]
