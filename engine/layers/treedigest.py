"""What a layer's tree is, in one digest: two have the same exactly if no container could tell them apart.

Unlike a diff ID it speaks of the directory and not of the tar that it came from: for a layer of others, whose
tar cannot be made again from the directory, it says whether that still is what was unpacked. Names, types,
modes, owners, times, targets, devices, attributes, whiteouts, opaque marks, hard links and content are in it;
what depends on the file system that holds the tree (sizes of directories, access times) is not. The stack
below has no part in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from engine.layers.failures import reporting
from engine.layers.overlayfs import is_opaque, is_whiteout, read_xattrs

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ = 1 << 18


class TreeDigest(NamedTuple):
    """A tree, and how large it is."""

    digest: str
    size: int
    """Bytes of its regular files, hard links counted once."""
    file_count: int
    """Entries, whiteouts included, the root not."""


class Entry(NamedTuple):
    """One path of a tree."""

    path: bytes
    """Relative to the root, which is the empty path."""
    digest: bytes
    """Of all that there is to say of it."""
    size: int
    """Bytes that it adds to the tree."""


def tree_digest(tree: str) -> TreeDigest:
    """The digest of the layer directory *tree*. Raises StoreError."""
    whole = sha256()
    size = 0
    count = -1
    for entry in entries(tree):
        whole.update(b"%d:%s" % (len(entry.path), entry.path))
        whole.update(entry.digest)
        size += entry.size
        count += 1
    return TreeDigest(f"sha256:{whole.hexdigest()}", size, count)


def differences(tree: str, other: str) -> Iterator[str]:
    """The paths in which two trees differ, with how, in tree order. Raises StoreError."""
    ours, theirs = entries(tree), entries(other)
    mine, its = next(ours, None), next(theirs, None)
    while mine is not None or its is not None:
        if its is None or (mine is not None and _order(mine) < _order(its)):
            assert mine is not None
            yield f"{_shown(mine)} is too much"
            mine = next(ours, None)
        elif mine is None or _order(its) < _order(mine):
            yield f"{_shown(its)} is missing"
            its = next(theirs, None)
        else:
            if mine.digest != its.digest:
                yield f"{_shown(mine)} differs"
            mine, its = next(ours, None), next(theirs, None)


def entries(tree: str) -> Iterator[Entry]:
    """Every path of *tree*: the root first, directories before what they hold, names in byte order."""
    with reporting("cannot read the layer"):
        root = os.fsencode(tree)
        links: dict[int, bytes] = {}
        yield _entry(b"", root, os.lstat(root), links)
        levels = [_names(root)]
        prefixes = [b""]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                prefixes.pop()
                continue
            status = found.stat(follow_symlinks=False)
            path = prefixes[-1] + found.name
            yield _entry(path, found.path, status, links)
            if stat.S_ISDIR(status.st_mode):
                levels.append(_names(found.path))
                prefixes.append(path + b"/")


def _names(directory: bytes) -> Iterator[os.DirEntry[bytes]]:
    with os.scandir(directory) as found:
        return iter(sorted(found, key=lambda entry: entry.name))


def _entry(path: bytes, source: bytes, status: os.stat_result, links: dict[int, bytes]) -> Entry:
    kind = stat.S_IFMT(status.st_mode)
    if is_whiteout(status):
        return Entry(path, sha256(b"whiteout").digest(), 0)
    facts: list[object] = [status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns]
    facts.append(sorted(read_xattrs(source).items()))
    size = 0
    if kind == stat.S_IFDIR:
        facts.append(is_opaque(source))
    elif status.st_nlink > 1 and (first := links.setdefault(status.st_ino, path)) is not path:
        facts.append(first)
    elif kind == stat.S_IFREG:
        size = status.st_size
        facts += [size, _content(source)]
    elif kind == stat.S_IFLNK:
        facts.append(os.readlink(source))
    else:
        facts.append(status.st_rdev)
    return Entry(path, sha256(repr(facts).encode()).digest(), size)


def _content(source: bytes) -> bytes:
    hashed = sha256()
    descriptor = os.open(source, _OPEN)
    try:
        while data := os.read(descriptor, _READ):
            hashed.update(data)
    finally:
        os.close(descriptor)
    return hashed.digest()


def _order(entry: Entry) -> bytes:
    """A key that sorts as the walk goes: a slash comes before every other byte of a name."""
    return entry.path.replace(b"/", b"\0")


def _shown(entry: Entry) -> str:
    return "/" + os.fsdecode(entry.path)
