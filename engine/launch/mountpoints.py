"""Where mounts go in a rootfs that is not ours: found inside it, or made in the init layer.

The init layer lies directly under the read-write one. What is made in it is never a change and never
committed; its directories bear the metadata of those in the image, as overlayfs shows the topmost
directory's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Sequence

from engine.errors import LaunchError
from engine.kernel import syscalls
from engine.launch.plan import Plan
from engine.record import Record

_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_MAX_LINKS = 40


class Ground(Record):
    """A rootfs to mount in."""

    root: int
    """A descriptor of its root."""
    ours: bool
    """Whether what it lacks may be made in it; if not, it is the init layer where that belongs."""


def target(ground: Ground, path: str, *, directory: bool) -> int:
    """What *path* is in the container, to be mounted on; made when it may be.

    Raises FileNotFoundError when it is missing in a rootfs that is not to be changed.
    """
    try:
        return inside(ground.root, path)
    except FileNotFoundError:
        make_inside(ground, path, directory)
    return inside(ground.root, path)


def inside(root: int, path: str) -> int:
    """A descriptor (O_PATH) of what *path* is in the container whose root *root* is open on."""
    return syscalls.openat2(root, path, os.O_PATH, _INSIDE)


def wanted(plan: Plan) -> list[tuple[str, bool]]:
    """Paths that must be in the rootfs itself, and whether each is a directory.

    What lies in a mount of the container's own is made there when its turn comes.
    """
    mounts = [step.destination for step in plan.steps]
    found = [
        (step.destination, step.kind != "bind" or os.path.isdir(step.source))
        for step in plan.steps
        if not _covered(step.destination, mounts)
    ]
    if not _covered(plan.program.cwd, mounts, itself=True):
        found.append((plan.program.cwd, True))
    return found


def _covered(path: str, mounts: Iterable[str], itself: bool = False) -> bool:
    """Whether *path* lies in one of *mounts*."""
    return any(path.startswith(f"{other}/") or (itself and path == other) for other in mounts)


def missing(root: int, paths: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Those of *paths* that are not there."""
    found = []
    for path, directory in paths:
        try:
            os.close(inside(root, path))
        except FileNotFoundError:
            found.append((path, directory))
        except OSError as error:
            raise LaunchError(f"cannot mount at {path}", error.strerror or str(error)) from error
    return found


def make(root: int, paths: Sequence[tuple[str, bool]], init: str) -> None:
    """Make *paths* in the directory *init*, below copies of the directories that the image has."""
    for path, directory in paths:
        names = _real(root, path)
        place = init
        so_far = ""
        for position, name in enumerate(names):
            so_far = f"{so_far}/{name}"
            place = f"{place}/{name}"
            last = position == len(names) - 1
            if last and not directory:
                descriptor = os.open(place, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
                os.close(descriptor)
                os.chmod(place, 0o644)
            elif not os.path.lexists(place):
                os.mkdir(place, 0o755)
                os.chmod(place, 0o755)
                with contextlib.suppress(FileNotFoundError):
                    _dress(root, so_far, place)
    _dress(root, "/", init)


def _real(root: int, path: str) -> list[str]:
    """The components of *path* with every link in it followed inside the container; it may not exist."""
    pending = [name for name in path.split("/") if name][::-1]
    found: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name == ".":
            continue
        if name == "..":
            found = found[:-1]
            continue
        target = _link(root, "/".join([*found, name]))
        if target is None:
            found.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise LaunchError(f"cannot mount at {path}", os.strerror(errno.ELOOP))
        if target.startswith("/"):
            found = []
        pending.extend([part for part in target.split("/") if part][::-1])
    return found


def _link(root: int, path: str) -> str | None:
    """Where the link *path* leads; None when it is none or not there."""
    rules = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS
    try:
        descriptor = syscalls.openat2(root, path, os.O_PATH | os.O_NOFOLLOW, rules)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise LaunchError(f"cannot mount at /{path}", "a part of that path is not a directory") from None
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            return os.readlink("", dir_fd=descriptor)
    finally:
        os.close(descriptor)
    return None


def _dress(root: int, path: str, to: str) -> None:
    """Give *to* owner, mode, extended attributes and times of the container's directory *path*."""
    descriptor = syscalls.openat2(root, path, os.O_RDONLY | os.O_DIRECTORY, _INSIDE)
    try:
        copy_metadata(descriptor, to)
    finally:
        os.close(descriptor)


def copy_metadata(source: int, target: int | str) -> None:
    """Give *target* owner, mode, extended attributes and times (nanoseconds) of *source*. Raises OSError."""
    status = os.fstat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if not name.startswith("trusted.overlay."):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def make_inside(ground: Ground, path: str, directory: bool) -> None:
    """Make *path* in a mount of the container's own, be it a volume or a tmpfs, or in a rootfs of ours.

    Raises FileNotFoundError when it would lie in a rootfs that is not.
    """
    parent, _, name = path.rpartition("/")
    if not name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    try:
        place = syscalls.openat2(ground.root, parent or "/", os.O_PATH | os.O_DIRECTORY, _INSIDE)
    except FileNotFoundError:
        make_inside(ground, parent, directory=True)
        place = syscalls.openat2(ground.root, parent, os.O_PATH | os.O_DIRECTORY, _INSIDE)
    try:
        if not ground.ours and os.fstat(place).st_dev == os.fstat(ground.root).st_dev:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if directory:
            os.mkdir(name, 0o755, dir_fd=place)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=place))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LaunchError(f"cannot mount at {path}", syscalls.reason(error)) from error
    finally:
        os.close(place)
