"""Paths that a stranger wrote, resolved below one directory and never above it.

Every component is opened by itself, relative to the descriptor of its parent, without following links, so the
kernel is never handed a path that could lead elsewhere. A link among the parents (``lib -> usr/lib``, then
``lib/x``) is read and resolved by us, from the root of the tree, as a process in the container would see it;
one that leads nowhere inside the tree is refused. ``..`` is refused in names and stops at the root in link
targets.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from engine.errors import ArchiveError

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
_MAX_OPEN = 128
"""Directories of one path that stay open; deeper ones are walked again each time."""
_MAX_PATH = 3500
"""Less than PATH_MAX, as the way to the store comes before it wherever layers are read."""

MakeDirectory = Callable[[int, bytes, bytes], None]
"""Makes a missing directory: descriptor of the parent, name, path from the root."""


class InTheWayError(ArchiveError):
    """What the layer itself made stands where an entry needs a directory."""


def hostile(name: bytes, why: str) -> ArchiveError:
    """The error for an entry that no honest writer makes."""
    return ArchiveError(_refused(name), why)


def _refused(name: bytes) -> str:
    shown = os.fsdecode(name).encode("utf-8", "backslashreplace").decode()
    return f"the layer's entry {shown!r} is refused"


def clean(name: bytes) -> bytes:
    """An entry's name as a path relative to the root: no leading or doubled slash, no ``.``; the root itself
    is empty.

    Raises ArchiveError for ``..`` and for names longer than the kernel takes.
    """
    if name[:2] == b"./":
        name = name[2:]
    if name[-1:] == b"/":
        name = name.rstrip(b"/")
    if b"//" in name or b"/." in name or name[:1] in (b"/", b"."):
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise hostile(name, "its path contains '..'")
        name = b"/".join(parts)
    if len(name) > _MAX_PATH:
        raise hostile(name[:80], "its path is longer than any system call takes")
    return name


class Confined:
    """A cursor over the directories below *root* that keeps the way to the last one open.

    *make* is called for a directory that is missing (or is a whiteout); without it a missing one is an error.
    Whoever removes a directory that this cursor may have open calls `forget`.
    """

    def __init__(self, root: int, make: MakeDirectory | None = None) -> None:
        self._root = root
        self._make = make
        self._names: list[bytes] = []
        self._length = 0  # of the path of all names
        self._open: list[int] = []  # of the first _MAX_OPEN names
        self._deep: int | None = None  # of the last name, when it lies deeper
        self._asked: bytes | None = b""
        self._descriptor = root

    @property
    def path(self) -> bytes:
        """Where the last `enter` ended: its path with all links resolved."""
        return b"/".join(self._names)

    def enter(self, path: bytes, *, follow: bool = True) -> int:
        """The descriptor of the directory *path* (as `clean` returns it), valid until the next call.

        Raises ArchiveError when a component is no directory: InTheWayError where it is a file or, without
        *follow*, a link.
        """
        if path == self._asked and (follow or path == self.path):
            return self._descriptor
        names = path.split(b"/") if path else []
        common = 0
        for wanted, present in zip(names, self._names, strict=False):
            if wanted != present:
                break
            common += 1
        self._asked = None
        self._retreat(common)
        self._advance(path, names[common:], follow)
        self._asked = path
        return self._descriptor

    def forget(self) -> None:
        """Go back to the root and close everything."""
        self._retreat(0)
        self._asked = b""

    def _advance(self, path: bytes, names: list[bytes], follow: bool) -> None:
        pending = names[::-1]
        unlinked = len(pending)  # of `pending`, this many components are not from a link's target
        links = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                self._retreat(max(0, len(self._names) - 1))
                continue
            if self._step(name, path, may_make=len(pending) < unlinked):
                unlinked = min(unlinked, len(pending))
                continue
            if not follow:
                raise InTheWayError(_refused(path), "a link stands where a directory is needed")
            links += 1
            if links > _MAX_LINKS:
                raise hostile(path, "too many links on its way")
            unlinked = min(unlinked, len(pending))
            target = os.readlink(name, dir_fd=self._descriptor)
            if target[:1] == b"/":
                self._retreat(0)
            pending += [part for part in target.split(b"/") if part not in (b"", b".")][::-1]

    def _step(self, name: bytes, path: bytes, may_make: bool) -> bool:
        """Go into *name*; False when it is a link."""
        if self._length + len(name) > _MAX_PATH:  # links can lead deeper than any entry's own name
            raise hostile(path[:80], "its path is longer than any system call takes")
        try:
            self._push(name, os.open(name, _OPEN, dir_fd=self._descriptor))
            return True
        except OSError as error:
            if error.errno == errno.ENOENT:
                missing = True
            elif error.errno in (errno.ENOTDIR, errno.ELOOP):
                status = os.lstat(name, dir_fd=self._descriptor)
                if stat.S_ISLNK(status.st_mode):
                    return False
                missing = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
            else:
                raise
        if not missing:
            raise InTheWayError(_refused(path), "a file stands where a directory is needed")
        if self._make is None or not may_make:
            raise hostile(path, "the way to it leads out of what the layer contains")
        self._make(self._descriptor, name, b"/".join([*self._names, name]))
        self._push(name, os.open(name, _OPEN, dir_fd=self._descriptor))
        return True

    def _push(self, name: bytes, descriptor: int) -> None:
        self._length += len(name) + 1
        if len(self._names) < _MAX_OPEN:
            self._open.append(descriptor)
        else:
            if self._deep is not None:
                os.close(self._deep)
            self._deep = descriptor
        self._names.append(name)
        self._descriptor = descriptor

    def _retreat(self, depth: int) -> None:
        """Make the first *depth* names the current directory."""
        if depth == len(self._names):
            return
        again = self._names[_MAX_OPEN:depth]
        if self._deep is not None:
            os.close(self._deep)
            self._deep = None
        while len(self._open) > depth:
            os.close(self._open.pop())
        del self._names[min(depth, _MAX_OPEN) :]
        self._length = sum(map(len, self._names)) + len(self._names)
        self._descriptor = self._open[-1] if self._open else self._root
        for name in again:
            self._push(name, os.open(name, _OPEN, dir_fd=self._descriptor))
