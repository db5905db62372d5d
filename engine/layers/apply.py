"""A layer tar becomes a directory that overlayfs can use as one lower layer.

OCI image-spec, layer.md. Whiteouts and opaque markers speak of the layers below only, in whatever order they
come: what the same tar brings stays. Their on-disk form is overlayfs' own (see `overlayfs`), which makes a
character device 0:0 in a tar a whiteout, too, as it is in every engine that stacks layers with overlayfs. The
stream is hostile until proven otherwise: see `confine`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import NamedTuple

from engine.layers import stack
from engine.layers.child import Child
from engine.layers.compression import Source
from engine.layers.confine import Confined, InTheWayError, clean, hostile
from engine.layers.creation import plain_modes
from engine.layers.directories import Directories, Metadata
from engine.layers.failures import reporting
from engine.layers.overlayfs import (
    AUFS_PREFIX,
    OPAQUE_MARKER,
    OPAQUE_XATTR,
    WHITEOUT_PREFIX,
    is_whiteout,
    read_xattrs,
    write_xattrs,
)
from engine.layers.readahead import Readahead
from engine.layers.relay import Relay
from engine.layers.removal import remove_tree
from engine.layers.tardata import MemberData
from engine.layers.tarmember import BLOCK, CHAR, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Member
from engine.layers.tarread import TarReader

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WHITEOUT = (0, 0)
_MAX_TOTAL = 1 << 56
_MAX_IMPLICIT = 1 << 17
"""Directories without an entry: all of them are kept in mind, and told to whoever has the layers below."""
_UNUSUAL = (b"", b".")
"""How names begin that may be a directory, a whiteout or no name at all."""
_SHORT = 3000
"""Bytes of parents whose children are not too long for a path, whatever their names."""
_NODES = {CHAR: stat.S_IFCHR, BLOCK: stat.S_IFBLK, FIFO: stat.S_IFIFO}


Update = Callable[[bytes], object]
_Extracted = tuple[int, int, tuple[bytes, ...]]
"""What Applied says but the digest."""


class Applied(NamedTuple):
    """What a layer tar turned out to be."""

    diff_id: str
    """sha256 of the whole stream, padding after the end marker included."""
    size: int
    """Bytes of its regular files, hard links counted once."""
    file_count: int
    """Entries on disk, whiteouts included, the root not."""
    implicit: tuple[bytes, ...]
    """Directories that had no entry of their own, parents first; the root is the empty path."""


def apply_layer(stream: Source, destination: str, *, fork: bool = False) -> Applied:
    """Unpack the plain layer tar *stream* into *destination*, an empty directory that nobody else uses.

    With *fork* a child process writes while this one reads: worth it for large layers, and only for a process
    without threads.

    Raises ArchiveError for a malformed, truncated or hostile tar, NoSpaceError on a full disk,
    UnsupportedError where devices or attributes cannot be made here. What was written until then stays for
    the caller to throw away.
    """
    digest = sha256()
    with reporting("cannot unpack the layer", archive=True), _opened(destination) as root:
        extract = _extract_apart if fork else _extract_here
        size, count, implicit = extract(stream, digest.update, root)
    return Applied(f"sha256:{digest.hexdigest()}", size, count, implicit)


def _extract_here(stream: Source, update: Update, root: int) -> _Extracted:
    with Readahead(stream, update) as ahead:
        reader = TarReader(ahead)
        extracted = _extract(reader, reader, root)
        reader.drain()
    return extracted


def _extract_apart(stream: Source, update: Update, root: int) -> _Extracted:
    relay = Relay()

    def write() -> _Extracted:
        receiver = relay.receiver()
        return _extract(receiver, receiver, root)

    with Child(write) as child:
        # A child that fails takes no more; `result` says why.
        with suppress(BrokenPipeError), Readahead(stream, update) as ahead, relay.sender(ahead) as sender:
            reader = TarReader(sender)
            for member in reader:
                sender.found(member, reader.place)
            reader.drain()
            sender.finish()
        return child.result()


def _extract(members: Iterable[Member], data: MemberData, root: int) -> _Extracted:
    extractor = _Extractor(root, data)
    try:
        for member in members:
            extractor.add(member)
        extractor.finish()
    finally:
        extractor.close()
    return extractor.size, extractor.count, tuple(sorted(extractor.implicit))


def adopt_parents(destination: str, implicit: Sequence[bytes], lowers: Sequence[str]) -> None:
    """Give the directories that `apply_layer` had to invent the metadata of the tree below (*lowers*, top
    first).

    Without that a layer that only brings ``/tmp/x`` would take the sticky bit off ``/tmp``.
    """
    with reporting("cannot finish the layer"), _opened(destination) as root:
        cursor = Confined(root)
        try:
            for path in implicit:
                below = stack.lookup(lowers, path)
                if below is not None and below.directories:
                    _adopt(cursor.enter(path), below)
        finally:
            cursor.forget()


def _adopt(descriptor: int, below: stack.Location) -> None:
    status = below.status
    os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    write_xattrs(descriptor, read_xattrs(below.path))
    os.utime(descriptor, ns=(status.st_mtime_ns, status.st_mtime_ns))


@contextmanager
def _opened(directory: str) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Extractor:
    """Puts members below the directory *root* and keeps count.

    Directories get their final owner, mode and time in `finish`, when nothing below them changes any more;
    until then none is set-group-ID, so new files start as ours.
    """

    def __init__(self, root: int, data: MemberData) -> None:
        self.size = 0
        self.count = 0
        self.implicit: set[bytes] = {b""}
        self._data = data
        self._root = root
        self._cursor = Confined(root, self._make_parent)
        self._sources = Confined(root)
        self._whiteouts: set[bytes] = set()
        self._near: bytes | None = None  # the parents of the last file as they were written, if still entered
        self._parent = root
        self._user = os.geteuid()
        self._group = os.getegid()
        self._directories = Directories(root, self._user, self._group)
        os.fchown(root, self._user, self._group)
        os.fchmod(root, 0o755)
        self._plain_modes = plain_modes(root)

    def add(self, member: Member) -> None:
        """One member, whatever it is."""
        above, _, last = member.name.rpartition(b"/")
        if above == self._near and member.kind == FILE and last[:1] not in _UNUSUAL:
            self._add_file(self._parent, last, member)
            return
        self._near = None
        path = clean(member.name)
        kind = member.kind
        if not path:
            if kind != DIRECTORY:
                raise hostile(member.name, "it would replace the root of the tree")
            self.implicit.discard(b"")
            self._directories.add(b"", Metadata(member.mode, member.uid, member.gid, member.mtime_ns))
            write_xattrs(self._root, member.xattrs)
            return
        parent_path, _, name = path.rpartition(b"/")
        if name[:4] == WHITEOUT_PREFIX:
            # umoci writes whiteouts for all that was in a directory of which the same layer makes a file or
            # link: what took its place hides it, and to follow the link would delete something else.
            with suppress(InTheWayError):
                parent = self._cursor.enter(parent_path, follow=False)
                self._reopen(parent)
                self._add_mark(parent, name, member)
            return
        parent = self._cursor.enter(parent_path)
        self._reopen(parent)
        if kind == FILE:
            self._add_file(parent, name, member)
            if last == name and len(above) <= _SHORT:
                self._near, self._parent = above, parent
        elif kind == DIRECTORY:
            self._add_directory(parent, name, member)
        elif kind == SYMLINK:
            self._add_symlink(parent, name, member)
        elif kind == LINK:
            self._add_link(parent, name, path, member)
        elif kind == CHAR and member.device == _WHITEOUT:
            self._add_whiteout(parent, name)
        else:
            self._add_node(parent, name, member)

    def finish(self) -> None:
        """Set what directories only get at the end; those without an entry become root's, 0755, of 1970."""
        self._check_size()
        for path in self.implicit:
            self._directories.add(path, Metadata(0o755, 0, 0, 0))
        self._directories.finish()

    def _reopen(self, parent: int) -> None:
        """Something is about to be added where the cursor is, in the directory *parent*."""
        if self._directories.are_settled and (path := self._cursor.path) not in self.implicit:
            self._directories.reopen(parent, path)
            self._directories.limit(path)

    def _check_size(self) -> None:
        """Refuse what adds up to more than any file system holds: files with holes cost nothing to make."""
        if self.size > _MAX_TOTAL:
            raise hostile(b".", "its files add up to more than any file system holds")

    def close(self) -> None:
        """Let go of all descriptors but the root's."""
        self._cursor.forget()
        self._sources.forget()

    def _add_file(self, parent: int, name: bytes, member: Member) -> None:
        mode = member.mode
        try:
            descriptor = os.open(name, _CREATE, mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name)
            descriptor = os.open(name, _CREATE, mode & 0o777, dir_fd=parent)
        try:
            if member.size:
                self._data.copy_to(descriptor)
            if member.uid != self._user or member.gid != self._group:
                os.fchown(descriptor, member.uid, member.gid)
            if mode not in self._plain_modes:
                os.fchmod(descriptor, mode)
            if member.xattrs:
                write_xattrs(descriptor, member.xattrs)  # after all that takes capabilities away again
            os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(descriptor)
        self.count += 1
        self.size += member.size

    def _add_directory(self, parent: int, name: bytes, member: Member) -> None:
        path = self._path_of(name)
        if path in self._whiteouts:
            self._make_directory(parent, name, path)
        else:
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
                self.count += 1
            except FileExistsError:
                self._make_directory(parent, name, path)
        self.implicit.discard(path)
        if self._directories.are_settled:
            self._directories.reopen(self._cursor.enter(path), path)
        self._directories.add(path, Metadata(member.mode, member.uid, member.gid, member.mtime_ns))
        if member.xattrs:
            write_xattrs(self._cursor.enter(path), member.xattrs)
        self._directories.limit(path)

    def _make_directory(self, parent: int, name: bytes, path: bytes) -> None:
        """A directory at *name*, opaque if a whiteout spoke of it; one that is there already is kept."""
        try:
            status = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(status.st_mode):
                return
            self._clear(parent, name)
        os.mkdir(name, 0o700, dir_fd=parent)
        self.count += 1
        if path in self._whiteouts:
            _make_opaque(parent, name)

    def _make_parent(self, parent: int, name: bytes, path: bytes) -> None:
        if name[:4] == WHITEOUT_PREFIX:
            raise hostile(path, "a whiteout has no children")
        if len(self.implicit) > _MAX_IMPLICIT:
            raise hostile(path, "too many directories have no entry of their own")
        above = path.rpartition(b"/")[0]
        if self._directories.are_settled and above not in self.implicit:
            self._directories.reopen(parent, above)
        self._make_directory(parent, name, path)
        self.implicit.add(path)

    def _add_symlink(self, parent: int, name: bytes, member: Member) -> None:
        if not member.link:
            raise hostile(member.name, "it is a link to nowhere")
        try:
            os.symlink(member.link, name, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name)
            os.symlink(member.link, name, dir_fd=parent)
        self._set_metadata(parent, name, member)

    def _add_link(self, parent: int, name: bytes, path: bytes, member: Member) -> None:
        target = clean(member.link)
        if target == path:
            raise hostile(member.name, "it is a hard link to itself")
        target_parent, _, target_name = target.rpartition(b"/")
        source = self._sources.enter(target_parent)
        try:
            status = os.lstat(target_name or b".", dir_fd=source)
        except FileNotFoundError:
            status = None
        if status is None or stat.S_ISDIR(status.st_mode) or is_whiteout(status):
            raise hostile(member.name, "it is a hard link to what the layer does not contain as a file")
        try:
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            there = os.lstat(name, dir_fd=parent)
            if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                return
            self._clear(parent, name)
            source = self._sources.enter(target_parent)
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        self.count += 1

    def _add_node(self, parent: int, name: bytes, member: Member) -> None:
        kind = _NODES[member.kind]
        device = os.makedev(*member.device)
        try:
            os.mknod(name, kind | 0o600, device, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name)
            os.mknod(name, kind | 0o600, device, dir_fd=parent)
        self._set_metadata(parent, name, member)

    def _set_metadata(self, parent: int, name: bytes, member: Member) -> None:
        """Owner, mode, attributes and time of a link or node that was just made in *parent*."""
        if member.uid != self._user or member.gid != self._group:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        if member.kind != SYMLINK:
            os.chmod(name, member.mode, dir_fd=parent)
        if member.xattrs:
            write_xattrs(b"/proc/self/fd/%d/%s" % (parent, name), member.xattrs)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=parent, follow_symlinks=False)
        self.count += 1

    def _add_mark(self, parent: int, name: bytes, member: Member) -> None:
        """A name that begins with ``.wh.``."""
        if name == OPAQUE_MARKER:
            os.setxattr(parent, OPAQUE_XATTR, b"y")
        elif not name.startswith(AUFS_PREFIX):
            hidden = name[len(WHITEOUT_PREFIX) :]
            if hidden in (b"", b".", b".."):
                raise hostile(member.name, "it would delete the root or what lies above it")
            self._add_whiteout(parent, hidden)

    def _add_whiteout(self, parent: int, name: bytes) -> None:
        self._whiteouts.add(self._path_of(name))
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
            self.count += 1
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                _make_opaque(parent, name)

    def _path_of(self, name: bytes) -> bytes:
        parent = self._cursor.path
        return parent + b"/" + name if parent else name

    def _clear(self, parent: int, name: bytes) -> None:
        """Take away what this layer put at *name* before: the last entry of a name counts."""
        removed = remove_tree(parent, name)
        self.count -= removed.entries
        self.size -= removed.size
        if removed.directories:
            path = self._path_of(name)
            for inner in removed.directories:
                gone = path + inner
                self._directories.remove(gone)
                self.implicit.discard(gone)
            self._sources.forget()


def _make_opaque(parent: int, name: bytes) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.setxattr(descriptor, OPAQUE_XATTR, b"y")
    finally:
        os.close(descriptor)
