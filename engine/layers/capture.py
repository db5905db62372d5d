"""The changes of a read-write layer become a layer of their own: a directory and the digest of its tar, in
one pass.

The new layer says what changed, not how it came about: copies that equal what lies below, whiteouts over
nothing and times of untouched directories are dropped; a directory that was removed and made again (opaque,
in the read-write layer) becomes whiteouts for what is missing in it and entries for what differs. So the same
changes always give the same digest, and any part of them can be taken.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.errors import ConflictError
from engine.layers import stack
from engine.layers.changes import as_change
from engine.layers.compare import Difference, Entry, compare
from engine.layers.creation import plain_modes, write_all, write_sparsely
from engine.layers.failures import reporting
from engine.layers.overlayfs import WHITEOUT_PREFIX, read_xattrs, write_xattrs
from engine.layers.tarheader import padding
from engine.layers.tarwrite import LayerTar, exactly, tells_root
from engine.model import Change

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL = 1 << 16


class Captured(NamedTuple):
    """The new layer."""

    diff_id: str
    tar_size: int
    """Bytes of the tar that `tarwrite.write_layer` makes of it."""
    size: int
    """Bytes of its regular files, hard links counted once."""
    file_count: int
    """Entries on disk, whiteouts included, the root not."""


def capture_layer(
    upper: str, lowers: Sequence[str], destination: str, keep: Callable[[Change], bool] | None = None
) -> Captured:
    """Copy what *upper* changes of the stack *lowers* (top first) into the empty directory *destination*.

    *keep* is asked for each change, in tree order; directories on the way to a kept change come with it, with
    the metadata of the stack below where their own change is not kept. The digest is the one that
    `write_layer` gives for *destination*. *upper* may be in use; what vanishes meanwhile is left out. Raises
    NoSpaceError, UnsupportedError or StoreError.
    """
    with reporting("cannot capture the changes"):
        capture = _Capture(upper, lowers, destination, keep)
        for difference in compare(capture.new, capture.old, for_copy=keep is None):
            capture.take(difference)
        return capture.finish()


class _Directory(NamedTuple):
    """A directory of the new layer that still gets children; its time is set when it is left."""

    path: bytes
    """Relative to the root."""
    status: os.stat_result


class _Capture:
    """Takes differences in tree order; the directories on the way to the last one are under way."""

    def __init__(
        self, upper: str, lowers: Sequence[str], destination: str, keep: Callable[[Change], bool] | None
    ) -> None:
        self.new = stack.roots([upper, *lowers])
        self.old = stack.roots(lowers)
        self._upper = os.fsencode(upper)
        self._destination = os.fsencode(destination)
        self._keep = keep
        self._tar = LayerTar()
        self._open: list[_Directory] = []
        self._instead: dict[bytes, Entry] = {}  # directories whose own change is not kept: as they are below
        self._started = False
        self._user = os.geteuid()
        self._group = os.getegid()
        self._plain_modes = plain_modes(self._destination)
        os.chown(self._destination, self._user, self._group)
        os.chmod(self._destination, 0o700)  # not set-group-ID until it is left: new files start as ours

    def take(self, difference: Difference) -> None:
        """One difference: copied if it is kept."""
        path, _, new, old, _ = difference
        if self._keep is not None and not self._keep(as_change(difference)):
            if new and old and stat.S_ISDIR(new.status.st_mode) and stat.S_ISDIR(old.status.st_mode):
                self._instead[path] = old
            return
        if not path:
            return
        if new and b".wh." in path and path.rpartition(b"/")[2].startswith(WHITEOUT_PREFIX):
            raise ConflictError(
                f"/{os.fsdecode(path)} cannot be part of a layer",
                "a name that begins with .wh. means a deletion there",
                "rename or remove it, or leave it out of the commit",
            )
        mode = new.status.st_mode if new else 0
        if stat.S_ISDIR(mode):
            self._enter(path)
        else:
            self._enter(path.rpartition(b"/")[0])
            if new is None or stat.S_ISSOCK(mode):
                self._whiteout(path, old)
            elif new.status.st_nlink == 1 or not self._link(path, new.status):
                copy = self._file if stat.S_ISREG(mode) else self._special
                copy(path, new)

    def finish(self) -> Captured:
        """Leave all directories; the new layer is complete."""
        self._start()
        while self._open:
            self._leave()
        return Captured(*self._tar.finish())

    def _start(self) -> None:
        """The root comes first, and always: overlayfs shows the root of the topmost layer."""
        if self._started:
            return
        self._started = True
        root = self._instead.get(b"") or Entry(self._upper, os.lstat(self._upper))
        xattrs = read_xattrs(root.path)
        if tells_root(root.status, xattrs, self.old):
            self._tar.directory(b"", root.status, xattrs)
        write_xattrs(self._destination, xattrs)
        self._open.append(_Directory(b"", root.status))

    def _enter(self, path: bytes) -> None:
        """Make *path* the directory under way, with all on the way to it."""
        self._start()
        while (here := self._open[-1].path) and path != here and not path.startswith(here + b"/"):
            self._leave()
        while (here := self._open[-1].path) != path:
            start = len(here) + 1 if here else 0
            end = path.find(b"/", start)
            self._directory(path if end < 0 else path[:end])

    def _leave(self) -> None:
        path, status = self._open.pop()
        where = self._at(path)
        os.chown(where, status.st_uid, status.st_gid)
        os.chmod(where, stat.S_IMODE(status.st_mode))
        os.utime(where, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _directory(self, path: bytes) -> None:
        entry = self._instead.pop(path, None)
        source = entry.path if entry else self._upper + b"/" + path
        status = entry.status if entry else os.lstat(source)
        xattrs = read_xattrs(source)
        where = self._at(path)
        os.mkdir(where, 0o700)
        write_xattrs(where, xattrs)
        self._tar.directory(path, status, xattrs)
        self._open.append(_Directory(path, status))

    def _link(self, path: bytes, status: os.stat_result) -> bool:
        """Make *path* another name of what came before, if it is one."""
        first = self._tar.first_name(path, status)
        if first is None:
            return False
        try:
            os.link(self._at(first), self._at(path), follow_symlinks=False)
        except FileNotFoundError:
            return False  # the first name vanished before it could be copied
        self._tar.hard_link(path, first, status)
        return True

    def _file(self, path: bytes, new: Entry) -> None:
        try:
            source = os.open(new.path, _READ)
        except FileNotFoundError:
            return
        try:
            status = os.fstat(source)
            if stat.S_ISREG(status.st_mode):
                self._copy(source, path, status)
        finally:
            os.close(source)

    def _copy(self, source: int, path: bytes, status: os.stat_result) -> None:
        xattrs = read_xattrs(source)
        size = status.st_size
        mode = stat.S_IMODE(status.st_mode)
        self._tar.file_header(path, status, size, xattrs)
        target = os.open(self._at(path), _CREATE, mode & 0o777)
        try:
            if size:
                self._copy_data(source, target, size)
            if status.st_uid != self._user or status.st_gid != self._group:
                os.fchown(target, status.st_uid, status.st_gid)
            if mode not in self._plain_modes:
                os.fchmod(target, mode)
            if xattrs:
                write_xattrs(target, xattrs)
            os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
        finally:
            os.close(target)

    def _copy_data(self, source: int, target: int, size: int) -> None:
        if size <= _SMALL and len(data := os.read(source, size)) == size:
            write_all(target, data)
            self._tar.put(data + padding(size))
            return
        os.lseek(source, 0, os.SEEK_SET)
        for piece in exactly(source, size):
            self._tar.put(piece)
            write_sparsely(target, memoryview(piece))
        self._tar.put(padding(size))
        os.ftruncate(target, size)

    def _special(self, path: bytes, entry: Entry) -> None:
        """A symlink, device or fifo."""
        status = entry.status
        where = self._at(path)
        with contextlib.suppress(FileNotFoundError):
            link = os.readlink(entry.path) if stat.S_ISLNK(status.st_mode) else b""
            xattrs = read_xattrs(entry.path)
            if link:
                os.symlink(link, where)
            else:
                os.mknod(where, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
            self._tar.special(path, status, link, xattrs)
            os.chown(where, status.st_uid, status.st_gid, follow_symlinks=False)
            if not link:
                os.chmod(where, stat.S_IMODE(status.st_mode))
            if xattrs:
                write_xattrs(where, xattrs)
            os.utime(where, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)

    def _whiteout(self, path: bytes, old: Entry | None) -> None:
        """Nothing is at *path* any more, or a socket, which no layer can hold."""
        if old is not None:
            os.mknod(self._at(path), stat.S_IFCHR, 0)
            self._tar.whiteout(path)

    def _at(self, path: bytes) -> bytes:
        return self._destination + b"/" + path if path else self._destination
