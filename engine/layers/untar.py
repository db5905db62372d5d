"""A plain tar unpacked over a directory that exists: no name in it is a whiteout, what is in the way goes.

The stream is as hostile as a layer's (see `confine`): nothing outside the directory is touched, no link is
followed on the way to a member, and a directory stays one where the tar has a directory too.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple

from engine.layers.compression import Source
from engine.layers.confine import Confined, clean, hostile
from engine.layers.failures import reporting
from engine.layers.overlayfs import write_xattrs
from engine.layers.removal import remove_tree
from engine.layers.tarmember import BLOCK, CHAR, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Member
from engine.layers.tarread import TarReader

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODES = {CHAR: stat.S_IFCHR, BLOCK: stat.S_IFBLK, FIFO: stat.S_IFIFO}


class Placed(NamedTuple):
    """What was unpacked."""

    entries: int
    size: int
    """Bytes of regular files."""


class Rename(NamedTuple):
    """How names of a tar become names of the directory: a first component, or none, instead of another."""

    old: bytes
    """Empty: the names are below what `new` is to be."""
    new: bytes

    def applied(self, name: bytes) -> bytes:
        """The path in the directory for the tar's clean *name*."""
        if not self.old:
            return b"/".join(filter(None, (self.new, name)))
        first, slash, rest = name.partition(b"/")
        if first != self.old:
            raise hostile(name, f"it is not below {os.fsdecode(self.old)}")
        return b"/".join(filter(None, (self.new, rest))) if slash else self.new


def untar(
    stream: Source,
    directory: int,
    rename: Rename | None = None,
    owner: tuple[int, int] | None = None,
) -> Placed:
    """Unpack *stream* into the directory *directory* (a descriptor).

    With *owner*, everything belongs to that user and group; otherwise to those that the tar names. Raises
    ArchiveError for a malformed or hostile tar, NoSpaceError, StoreError.
    """
    with reporting("cannot unpack the files", archive=True):
        work = _Untar(TarReader(stream), directory, rename or Rename(b"", b""), owner)
        try:
            return work.run()
        finally:
            work.close()


class _Untar:
    def __init__(
        self, reader: TarReader, directory: int, rename: Rename, owner: tuple[int, int] | None
    ) -> None:
        self._reader = reader
        self._root = directory
        self._rename = rename
        self._owner = owner
        self._parents = Confined(directory, make=_make)
        self._finished: dict[bytes, Member] = {}
        self._entries = self._size = 0

    def run(self) -> Placed:
        for member in self._reader:
            self._add(member)
        self._reader.drain()
        # Directories last: their files would change their times, and could not be made in read-only ones.
        for path in sorted(self._finished, reverse=True):
            self._finish_directory(path, self._finished[path])
        return Placed(self._entries, self._size)

    def close(self) -> None:
        self._parents.forget()

    def _add(self, member: Member) -> None:
        path = self._rename.applied(clean(member.name))
        self._entries += 1
        if not path:
            if member.kind != DIRECTORY:
                raise hostile(member.name, "it would replace the directory itself")
            self._finished[path] = member
            return
        above, _, name = path.rpartition(b"/")
        parent = self._parents.enter(above, follow=False)
        if member.kind == DIRECTORY:
            self._directory(parent, name)
            self._finished[path] = member
            return
        self._clear(parent, name, path)
        if member.kind == FILE:
            self._file(parent, name, member)
        elif member.kind == LINK:
            self._link(parent, name, member)
        elif member.kind == SYMLINK:
            os.symlink(member.link, name, dir_fd=parent)
            self._dress_link(parent, name, member)
        else:
            os.mknod(name, _NODES[member.kind] | member.mode, os.makedev(*member.device), dir_fd=parent)
            self._dress_link(parent, name, member)

    def _directory(self, parent: int, name: bytes) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
            return
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)

    def _clear(self, parent: int, name: bytes, path: bytes) -> None:
        """Nothing of that name is left."""
        try:
            status = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=parent)
            return
        self._parents.forget()
        above = path.rpartition(b"/")[0]
        remove_tree(self._parents.enter(above, follow=False), name)

    def _file(self, parent: int, name: bytes, member: Member) -> None:
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            self._reader.copy_to(descriptor)
            self._dress(descriptor, member)
        finally:
            os.close(descriptor)
        self._size += member.size

    def _link(self, parent: int, name: bytes, member: Member) -> None:
        target = self._rename.applied(clean(member.link))
        above, _, last = target.rpartition(b"/")
        holder = os.dup(parent)  # `enter` may close it
        try:
            source = self._parents.enter(above, follow=False)
            if not stat.S_ISREG(os.lstat(last, dir_fd=source).st_mode):
                raise hostile(member.name, "it is a hard link to something else than a file")
            os.link(last, name, src_dir_fd=source, dst_dir_fd=holder, follow_symlinks=False)
        except FileNotFoundError:
            raise hostile(member.name, "it is a hard link to nothing") from None
        finally:
            os.close(holder)

    def _finish_directory(self, path: bytes, member: Member) -> None:
        descriptor = os.dup(self._parents.enter(path, follow=False))
        try:
            self._dress(descriptor, member)
        finally:
            os.close(descriptor)

    def _dress(self, descriptor: int, member: Member) -> None:
        """Owner, attributes, mode and time, in the order in which none undoes another."""
        os.fchown(descriptor, *self._owner_of(member))
        write_xattrs(descriptor, member.xattrs)
        os.fchmod(descriptor, member.mode)
        os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))

    def _dress_link(self, parent: int, name: bytes, member: Member) -> None:
        """A link or node, which is not opened: its mode is that with which it was made."""
        os.chown(name, *self._owner_of(member), dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _owner_of(self, member: Member) -> tuple[int, int]:
        return self._owner or (member.uid, member.gid)


def _make(parent: int, name: bytes, _path: bytes) -> None:
    """A directory that has no member of its own."""
    os.mkdir(name, 0o755, dir_fd=parent)
