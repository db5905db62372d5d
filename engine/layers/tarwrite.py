"""A layer directory becomes a layer tar, the same bytes each time.

Entries in byte order of their names, parents first; hard links refer to the first name; whiteouts as
``.wh.<name>`` in the place of the name; times to the nanosecond. Sockets are left out: a tar cannot hold
them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from engine.layers import stack
from engine.layers.failures import reporting
from engine.layers.overlayfs import OPAQUE_MARKER, WHITEOUT_PREFIX, is_opaque, is_whiteout, read_xattrs
from engine.layers.tarheader import TRAILER, header, padding
from engine.layers.tarmember import BLOCK, CHAR, DIRECTORY, FIFO, FILE, LINK, SYMLINK

_READ_AT_ONCE = 1 << 18
_FLUSH_AT = 1 << 18
_USUAL_ROOT = (0o755, 0, 0)
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}


class Sink(Protocol):
    """All that writing needs of a stream."""

    def write(self, data: bytes, /) -> object:
        """Take all of *data*."""


class Written(NamedTuple):
    """What a layer tar came to."""

    diff_id: str
    tar_size: int
    """Bytes of the tar."""
    size: int
    """Bytes of the regular files in it, hard links counted once."""
    file_count: int
    """Entries, whiteouts included; neither the root nor opaque markers."""


class LayerTar:
    """Takes the entries of a layer in their order, hashes the tar that they make and writes it to *out*, if
    any.
    """

    def __init__(self, out: Sink | None = None) -> None:
        self._out = out
        self._digest = sha256()
        self._pending: list[bytes] = []
        self._waiting = 0
        self._tar_size = 0
        self._size = 0
        self._count = 0
        self._first_names: dict[tuple[int, int], bytes] = {}

    def put(self, data: bytes) -> None:
        """Raw bytes of the stream."""
        self._pending.append(data)
        self._waiting += len(data)
        if self._waiting >= _FLUSH_AT:
            self._flush()

    def first_name(self, name: bytes, status: os.stat_result) -> bytes | None:
        """The name under which this hard-linked file came before; None, and remembered as *name*, the first
        time.
        """
        key = status.st_dev, status.st_ino
        first = self._first_names.setdefault(key, name)
        return None if first is name else first

    def directory(self, name: bytes, status: os.stat_result, xattrs: dict[str, bytes]) -> None:
        """A directory; the root is the empty name and not counted."""
        owner = status.st_uid, status.st_gid
        mode = stat.S_IMODE(status.st_mode)
        self.put(
            header(
                name + b"/" if name else b"./", DIRECTORY, mode, owner, 0, status.st_mtime_ns, xattrs=xattrs
            )
        )
        self._count += bool(name)

    def file_header(self, name: bytes, status: os.stat_result, size: int, xattrs: dict[str, bytes]) -> None:
        """A regular file; *size* bytes and their padding follow by `put`."""
        owner = status.st_uid, status.st_gid
        self.put(
            header(name, FILE, stat.S_IMODE(status.st_mode), owner, size, status.st_mtime_ns, xattrs=xattrs)
        )
        self._count += 1
        self._size += size

    def file(self, name: bytes, descriptor: int, status: os.stat_result) -> None:
        """The regular file that *descriptor* reads, from where it stands, with its data."""
        self.file_header(name, status, status.st_size, read_xattrs(descriptor))
        for piece in exactly(descriptor, status.st_size):
            self.put(piece)
        self.put(padding(status.st_size))

    def hard_link(self, name: bytes, first: bytes, status: os.stat_result) -> None:
        """Another name of a file that came before as *first*."""
        owner = status.st_uid, status.st_gid
        self.put(header(name, LINK, stat.S_IMODE(status.st_mode), owner, 0, status.st_mtime_ns, link=first))
        self._count += 1

    def special(self, name: bytes, status: os.stat_result, link: bytes, xattrs: dict[str, bytes]) -> None:
        """A symlink (to *link*), device or fifo."""
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in (CHAR, BLOCK) else None
        mode = 0o777 if kind == SYMLINK else stat.S_IMODE(status.st_mode)
        owner = status.st_uid, status.st_gid
        self.put(
            header(name, kind, mode, owner, 0, status.st_mtime_ns, link=link, device=device, xattrs=xattrs)
        )
        self._count += 1

    def whiteout(self, name: bytes) -> None:
        """*name* is deleted."""
        parent, slash, last = name.rpartition(b"/")
        self.put(header(parent + slash + WHITEOUT_PREFIX + last, FILE, 0o644, (0, 0), 0, 0))
        self._count += 1

    def opaque(self, name: bytes) -> None:
        """The directory *name* hides all that lower layers have there."""
        self.put(header(name + b"/" + OPAQUE_MARKER if name else OPAQUE_MARKER, FILE, 0o644, (0, 0), 0, 0))

    def finish(self) -> Written:
        """Write the end marker; nothing can follow."""
        self.put(TRAILER)
        self._flush()
        return Written(f"sha256:{self._digest.hexdigest()}", self._tar_size, self._size, self._count)

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._pending.clear()
        self._waiting = 0
        self._tar_size += len(data)
        self._digest.update(data)
        if self._out is not None:
            self._out.write(data)


def write_layer(tree: str, out: Sink | None, lowers: Sequence[str] = (), diff_id: str = "") -> Written:
    """Write the layer directory *tree* as a tar to *out* (None: only to know its digest and size).

    *lowers* (top first) is the stack that the layer lies on: a directory is written as opaque only where that
    has a directory of the same name, and the root's own entry only where `tells_root` says so. Layers were
    recorded once without one where it said the same as the root below: *diff_id* is the recorded one, which
    decides between the two. Raises NoSpaceError or StoreError.
    """
    with reporting("cannot write the layer as a tar"):
        root = os.fsencode(tree)
        below = stack.roots(lowers)
        status = os.lstat(root)
        xattrs = read_xattrs(root)
        told = tells_root(status, xattrs, below)
        if told and diff_id and below and _is_like(below[0], status, xattrs):
            told = _write(None, root, below, (status, xattrs)).diff_id == diff_id
        return _write(out, root, below, (status, xattrs) if told else None)


def _write(
    out: Sink | None, root: bytes, below: list[bytes], told: tuple[os.stat_result, dict[str, bytes]] | None
) -> Written:
    """Write what lies below *root*, after an entry of its own if that is *told* of."""
    tar = LayerTar(out)
    if told is not None:
        tar.directory(b"", *told)
    descend(_entries(tar, root, b"", below, is_opaque(root)))
    return tar.finish()


def tells_root(status: os.stat_result, xattrs: dict[str, bytes], below: Sequence[bytes]) -> bool:
    """Whether the root of a layer gets an entry: where it differs from the root below, and where it is not
    the usual one.

    Other engines show the root of the topmost layer, and the usual one where that says nothing.
    """
    usual = not xattrs and (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == _USUAL_ROOT
    return not usual or not below or not _is_like(below[0], status, xattrs)


def _is_like(root: bytes, status: os.stat_result, xattrs: dict[str, bytes]) -> bool:
    """Whether *root* has the same mode, owner and extended attributes."""
    other = os.lstat(root)
    same = (other.st_mode, other.st_uid, other.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    return same and read_xattrs(root) == xattrs


def exactly(descriptor: int, size: int) -> Iterator[bytes]:
    """The next *size* bytes of a file, in pieces.

    A file that a running container shortens meanwhile is filled up with zeros: its header is already written.
    """
    while size:
        piece = os.read(descriptor, min(size, _READ_AT_ONCE)) or bytes(min(size, _READ_AT_ONCE))
        size -= len(piece)
        yield piece


Levels = Iterator["Levels"]
"""Writes what one directory holds, and yields the like for each directory in it, to be run at once."""


def descend(top: Levels) -> None:
    """Run *top* and all that it yields. No recursion: a tree may be deeper than Python's stack."""
    levels = [top]
    while levels:
        deeper = next(levels[-1], None)
        if deeper is None:
            levels.pop()
        else:
            levels.append(deeper)


def _entries(tar: LayerTar, directory: bytes, name: bytes, below: list[bytes], opaque: bool) -> Levels:
    if opaque and below:
        tar.opaque(name)
        below = []
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        status = entry.stat(follow_symlinks=False)
        path = entry.path
        inner = name + b"/" + entry.name if name else entry.name
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            tar.directory(inner, status, read_xattrs(path))
            merged = stack.find(below, entry.name) if below else None
            lower = merged[0] if merged and stat.S_ISDIR(merged[1].st_mode) else []
            yield _entries(tar, path, inner, lower, is_opaque(path))
        elif is_whiteout(status):
            tar.whiteout(inner)
        elif kind != stat.S_IFSOCK:
            first = tar.first_name(inner, status) if status.st_nlink > 1 else None
            if first is not None:
                tar.hard_link(inner, first, status)
            elif kind == stat.S_IFREG:
                _write_file(tar, path, inner, status)
            else:
                link = os.readlink(path) if kind == stat.S_IFLNK else b""
                tar.special(inner, status, link, read_xattrs(path))


def _write_file(tar: LayerTar, path: bytes, name: bytes, status: os.stat_result) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        tar.file(name, descriptor, status)
    finally:
        os.close(descriptor)
