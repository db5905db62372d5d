"""Two stacks of layers walked side by side: only where they differ, and only as deep as they can differ.

Layers that both stacks have at their lower end are shared: a directory that comes from them alone is equal on
both sides and never opened. So the changes of a read-write layer (the stack with it against the stack without
it) cost a walk over that layer, whatever lies below (moby#39428), and comparing two images costs what they do
not share.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, cast

from engine.layers import stack
from engine.layers.overlayfs import has_origin, is_opaque, is_whiteout, same_xattrs
from engine.model import Aspect, ChangeKind

_COMPARED_AT_ONCE = 1 << 18
_LIST_FROM = 64
"""From so many names in a directory on, shared directories are listed instead of asked for each name."""

Wanted: TypeAlias = Callable[[bytes], bool]


class Entry(NamedTuple):
    """One path on one side."""

    path: bytes
    """On the host."""
    status: os.stat_result


class Difference(NamedTuple):
    """One path that differs."""

    path: bytes
    """Relative to the root of the tree; the root is the empty path."""
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


class _Pair(NamedTuple):
    """A merged directory that is still to be compared."""

    path: bytes
    new: list[bytes]
    """What merges here on the new side only, top first."""
    old: list[bytes]
    shared: list[bytes]
    """What lies below both."""


_Step: TypeAlias = Difference | _Pair


def compare(
    new: Sequence[bytes], old: Sequence[bytes], wanted: Wanted | None = None, *, for_copy: bool = False
) -> Iterator[Difference]:
    """Every difference between two merged trees, given as root directories of their layers, top first.

    Parents come before their children, names in byte order. A deleted directory is one difference, its
    children are not listed; a directory that replaces something else is one, and all its children are
    additions. *wanted* tells which paths matter: neither they nor what lies below is looked at when it says
    no. *for_copy* is for whoever copies the new side: files that differ in size or time are not read, their
    `what` is not exact; and an equal file that has several names on the new side comes too.
    Entries that vanish from the new side meanwhile (a container may be running) are passed over.
    """
    count = 0
    while count < min(len(new), len(old)) and new[-1 - count] == old[-1 - count]:
        count += 1
    cut_new, cut_old = len(new) - count, len(old) - count
    if new and old and cut_new + cut_old:
        root_new, root_old = Entry(new[0], os.lstat(new[0])), Entry(old[0], os.lstat(old[0]))
        if what := differences(root_new, root_old):
            yield Difference(b"", "modified", root_new, root_old, what)
    walk = _Walk(wanted, for_copy)
    start = _Pair(b"", list(new[:cut_new]), list(old[:cut_old]), list(new[cut_new:]))
    # An explicit stack of directories under way: a tree may be deeper than Python recurses.
    levels = [iter(walk.directory(start))]
    while levels:
        for step in levels[-1]:
            if type(step) is _Pair:
                levels.append(iter(walk.directory(step)))
                break
            yield cast(Difference, step)
        else:
            levels.pop()


def differences(new: Entry, old: Entry) -> tuple[Aspect, ...]:
    """In which way two entries differ; empty when they are equal. A directory's time is no difference.

    A file that overlayfs copied up with its time and size unchanged is only read when nothing else differs:
    then the answer decides whether it is a change at all.
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
    if not same_xattrs(new.path, old.path):
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


def _plainly_differ(new: os.stat_result, old: os.stat_result) -> bool:
    """Whether two regular files differ at first sight."""
    return (
        stat.S_ISREG(new.st_mode)
        and stat.S_ISREG(old.st_mode)
        and (new.st_size != old.st_size or new.st_mtime_ns != old.st_mtime_ns)
    )


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

    def __init__(self, wanted: Wanted | None, for_copy: bool) -> None:
        self._wanted = wanted
        self._for_copy = for_copy

    def directory(self, pair: _Pair) -> list[_Step]:
        """The differences in one directory in the order of names, and after each subdirectory that may differ
        inside the pair to go on with.
        """
        path, new, old, shared = pair
        if len(new) == 1 and not old:
            return self._layer(path, new[0], shared)
        steps: list[_Step] = []
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
            self._compare(steps, where, one, two)
        return steps

    def _layer(self, path: bytes, directory: bytes, shared: list[bytes]) -> list[_Step]:
        """The same for the one case that has to be fast: a directory of a read-write layer over what lies
        below.
        """
        steps: list[_Step] = []
        listing = _list(directory)
        below = _Below(shared, len(listing))
        find = below.find
        prefix = path + b"/" if path else b""
        wanted = self._wanted
        for name in sorted(listing):
            where = prefix + name
            if wanted is not None and not wanted(where):
                continue
            found = listing[name]
            if found.is_dir(follow_symlinks=False):
                one, is_open = _own_part([listing], name, bool(shared))
                old = _Side(None, [], [])
                if shared:
                    one, old = below.complete(name, one, is_open, old, True)
                self._compare(steps, where, one, old)
                continue
            try:
                status = found.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            lower = find(name)
            gone = is_whiteout(status)
            if lower is not None:
                entry = Entry(lower[0][0], lower[1])
                if gone:
                    steps.append(Difference(where, "deleted", None, entry, ()))
                else:
                    self._modified(steps, where, Entry(found.path, status), entry)
            elif not gone:
                steps.append(Difference(where, "added", Entry(found.path, status), None, ()))
        return steps

    def _compare(self, steps: list[_Step], path: bytes, new: _Side, old: _Side) -> None:
        one, two = new.entry, old.entry
        if one is None:
            if two is not None:
                steps.append(Difference(path, "deleted", None, two, ()))
            return
        if two is None:
            steps.append(Difference(path, "added", one, None, ()))
        elif one.path == two.path:
            return  # both have it from what they share
        else:
            self._modified(steps, path, one, two)
        if new.own or new.shared:
            if new.shared == old.shared:
                steps.append(_Pair(path, new.own, old.own, new.shared))
            else:
                steps.append(_Pair(path, new.own + new.shared, old.own + old.shared, []))

    def _modified(self, steps: list[_Step], path: bytes, new: Entry, old: Entry) -> None:
        try:
            quick = self._for_copy and _plainly_differ(new.status, old.status)
            what = ("content",) if quick else differences(new, old)
        except FileNotFoundError:
            return
        linked = self._for_copy and new.status.st_nlink > 1 and not stat.S_ISDIR(new.status.st_mode)
        if what or linked:
            steps.append(Difference(path, "modified", new, old, what))


class _Below:
    """The part of a merged directory that both sides share."""

    def __init__(self, directories: list[bytes], asked: int) -> None:
        self._directories = directories
        self._names = [set(os.listdir(d)) for d in directories] if asked >= _LIST_FROM else None

    def find(self, name: bytes) -> tuple[list[bytes], os.stat_result] | None:
        """*name* there, as `stack.find` tells it."""
        directories = self._directories
        if self._names is not None:
            if len(directories) == 1:
                return stack.find(directories, name) if name in self._names[0] else None
            directories = [d for d, names in zip(directories, self._names, strict=True) if name in names]
        return stack.find(directories, name) if directories else None

    def complete(
        self, name: bytes, one: _Side, one_open: bool, two: _Side, two_open: bool
    ) -> tuple[_Side, _Side]:
        """Both sides of *name* with what the shared part adds where it shows."""
        found = self.find(name)
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
