"""Two stacks of layers walked side by side: only where they differ, and only as deep as they can differ.

Layers that both stacks have at their lower end are shared: a directory that comes from them alone is equal on both
sides and never opened. So the changes of a read-write layer (the stack with it against the stack without it) cost a
walk over that layer, whatever lies below (moby#39428), and comparing two images costs what they do not share.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from engine.layers import stack
from engine.layers.overlayfs import has_origin, is_opaque, is_whiteout, read_xattrs
from engine.model import Aspect, ChangeKind

_COMPARED_AT_ONCE = 1 << 18
_LIST_FROM = 32
"""From so many names in a directory on, shared directories are listed instead of asked for each name."""

Wanted: TypeAlias = Callable[[bytes], bool]


class Entry(NamedTuple):
    """One path on one side."""

    path: bytes
    """On the host."""
    status: os.stat_result


class Difference(NamedTuple):
    """One path, relative to the root of the tree, that differs."""

    path: bytes
    kind: ChangeKind
    new: Entry | None
    old: Entry | None
    what: tuple[Aspect, ...]


class _Side(NamedTuple):
    """One name in a merged directory, of one of the two trees."""

    entry: Entry | None
    own: list[bytes]
    """Directories that merge here and are not shared, top first; empty for what is no directory."""
    shared: list[bytes]
    """Shared directories below them."""


_Listing: TypeAlias = dict[bytes, "os.DirEntry[bytes]"]
_Step: TypeAlias = "Difference | Iterator[_Step]"


def compare(
    new: Sequence[bytes], old: Sequence[bytes], wanted: Wanted | None = None, *, with_links: bool = False
) -> Iterator[Difference]:
    """Every difference between two merged trees, given as root directories of their layers, top first.

    Parents come before their children, names in byte order. A deleted directory is one difference, its children are
    not listed; a directory that replaces something else is one, and all its children are additions. *wanted* tells
    which paths matter: neither they nor what lies below is looked at when it says no. With *with_links*, an equal
    file that has several names on the new side comes too, with an empty `what`. Entries that vanish from the new
    side meanwhile (a container may be running) are passed over.
    """
    count = 0
    while count < min(len(new), len(old)) and new[-1 - count] == old[-1 - count]:
        count += 1
    cut_new, cut_old = len(new) - count, len(old) - count
    if new and old and cut_new + cut_old:
        root_new, root_old = Entry(new[0], os.lstat(new[0])), Entry(old[0], os.lstat(old[0]))
        if what := differences(root_new, root_old):
            yield Difference(b"", "modified", root_new, root_old, what)
    walk = _Walk(wanted, with_links)
    # An explicit stack of directories under way: a tree may be deeper than Python recurses.
    levels = [walk.directory(b"", list(new[:cut_new]), list(old[:cut_old]), list(new[cut_new:]))]
    while levels:
        step = next(levels[-1], None)
        if step is None:
            levels.pop()
        elif isinstance(step, Difference):
            yield step
        else:
            levels.append(step)


def differences(new: Entry, old: Entry) -> tuple[Aspect, ...]:
    """In which way two entries differ; empty when they are equal. A directory's time is no difference.

    A file that overlayfs copied up with its time and size unchanged is only read when nothing else differs: then
    the answer decides whether it is a change at all.
    """
    a, b = new.status, old.status
    kind = stat.S_IFMT(a.st_mode)
    if kind != stat.S_IFMT(b.st_mode):
        return ("type",)
    what: list[Aspect] = []
    if a.st_mode != b.st_mode:
        what.append("mode")
    if a.st_uid != b.st_uid or a.st_gid != b.st_gid:
        what.append("owner")
    if read_xattrs(new.path) != read_xattrs(old.path):
        what.append("xattr")
    if kind == stat.S_IFDIR:
        return tuple(what)
    same_time = a.st_mtime_ns == b.st_mtime_ns
    if kind == stat.S_IFREG:
        trusted = same_time and bool(what) and has_origin(new.path)
        changed = a.st_size != b.st_size or not (trusted or same_content(new.path, old.path))
    elif kind == stat.S_IFLNK:
        changed = os.readlink(new.path) != os.readlink(old.path)
    else:
        changed = a.st_rdev != b.st_rdev
    if changed:
        what.insert(0, "content")
    elif not same_time:
        what.append("mtime")
    return tuple(what)


def same_content(one: bytes, other: bytes) -> bool:
    """Whether two regular files hold the same bytes."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    first = os.open(one, flags)
    try:
        second = os.open(other, flags)
        try:
            while True:
                piece = os.read(first, _COMPARED_AT_ONCE)
                if piece != os.read(second, _COMPARED_AT_ONCE):
                    return False
                if not piece:
                    return True
        finally:
            os.close(second)
    finally:
        os.close(first)


class _Walk:
    """Compares one merged directory at a time."""

    def __init__(self, wanted: Wanted | None, with_links: bool) -> None:
        self._wanted = wanted
        self._with_links = with_links

    def directory(
        self, path: bytes, new: list[bytes], old: list[bytes], shared: list[bytes]
    ) -> Iterator[_Step]:
        """The differences in one directory, and for each subdirectory that may differ an iterator like this one.

        *new* and *old* are what merges here on one side only, *shared* lies below both.
        """
        new_listings = [_list(directory) for directory in new]
        old_listings = [_list(directory) for directory in old]
        names = sorted(set().union(*new_listings, *old_listings))
        below = _Below(shared, len(names))
        for name in names:
            where = path + b"/" + name if path else name
            if self._wanted is not None and not self._wanted(where):
                continue
            one, one_open = _own_part(new_listings, name, bool(shared))
            two, two_open = _own_part(old_listings, name, bool(shared))
            if shared and (one_open or two_open):
                one, two = below.complete(name, one, one_open, two, two_open)
            yield from self._compare(where, one, two)

    def _compare(self, path: bytes, new: _Side, old: _Side) -> Iterator[_Step]:
        one, two = new.entry, old.entry
        if one is None:
            if two is not None:
                yield Difference(path, "deleted", None, two, ())
            return
        if two is not None and one.path == two.path:
            return
        if two is None:
            yield Difference(path, "added", one, None, ())
        else:
            try:
                what = differences(one, two)
            except FileNotFoundError:
                return
            linked = self._with_links and one.status.st_nlink > 1 and stat.S_ISREG(one.status.st_mode)
            if what or linked:
                yield Difference(path, "modified", one, two, what)
        if new.own or new.shared:
            if new.shared == old.shared:
                yield self.directory(path, new.own, old.own, new.shared)
            else:
                yield self.directory(path, new.own + new.shared, old.own + old.shared, [])


class _Below:
    """The part of a merged directory that both sides share."""

    def __init__(self, directories: list[bytes], asked: int) -> None:
        self._directories = directories
        self._names = [set(os.listdir(d)) for d in directories] if asked >= _LIST_FROM else None

    def complete(
        self, name: bytes, one: _Side, one_open: bool, two: _Side, two_open: bool
    ) -> tuple[_Side, _Side]:
        """Both sides of *name* with what the shared part adds where it shows."""
        directories = self._directories
        if self._names is not None:
            directories = [d for d, names in zip(directories, self._names, strict=True) if name in names]
        found = stack.find(directories, name)
        if found is None:
            return one, two
        return (_completed(one, *found) if one_open else one), (_completed(two, *found) if two_open else two)


def _completed(side: _Side, paths: list[bytes], status: os.stat_result) -> _Side:
    is_directory = stat.S_ISDIR(status.st_mode)
    if side.entry is None:
        return _Side(Entry(paths[0], status), [], paths if is_directory else [])
    return _Side(side.entry, side.own, paths) if is_directory else side


def _own_part(listings: list[_Listing], name: bytes, shared: bool) -> tuple[_Side, bool]:
    """*name* as one side's own directories have it, and whether what lies below them shows through."""
    own: list[bytes] = []
    first: Entry | None = None
    last = len(listings) - 1
    for index, listing in enumerate(listings):
        found = listing.get(name)
        if found is None:
            continue
        try:
            status = found.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            if first is None and not is_whiteout(status):
                first = Entry(found.path, status)
            return _Side(first, own, []), False
        own.append(found.path)
        first = first or Entry(found.path, status)
        if (shared or index < last) and is_opaque(found.path):
            return _Side(first, own, []), False
    return _Side(first, own, []), True


def _list(directory: bytes) -> _Listing:
    try:
        with os.scandir(directory) as entries:
            return {entry.name: entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return {}
