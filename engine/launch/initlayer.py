"""The init layer of an image and a set of mounts: made again as it was made once, without looking.

An image never changes under its chain IDs, which its layers' directories are named after: what it lacks for
the same mounts is the same for every container, and is kept between launches.
"""

from __future__ import annotations

import marshal
import os
import stat
from collections.abc import Sequence

from engine.launch import kept
from engine.record import Record
from engine.store.layout import digest_of

_VERSION = b"1\0"
"""Of what is kept; another one never takes what an older one kept."""
_MARSHAL = 2
"""The last format in which equal values give equal bytes."""
_MOST = 1 << 18
"""Bytes of the longest file that is kept."""
_ENTRIES = 256
_BITS = 0o1777
"""What mkdir(2) and open(2) take of a mode."""


class Entry(Record):
    """A directory or an empty file of the layer."""

    path: str
    """From the layer's own directory, which is an empty one."""
    mode: int
    uid: int
    gid: int
    times: tuple[int, int]
    """Nanoseconds: accessed, modified."""
    attributes: tuple[tuple[str, bytes], ...]
    """Extended ones."""


def path_of(prefix: str, lowers: Sequence[str], places: Sequence[tuple[str, bool]]) -> str:
    """Where the layer for *places* on the image of the directories *lowers* is kept, if it is."""
    what = marshal.dumps((tuple(lowers), tuple(places)), _MARSHAL)
    return f"{prefix}{digest_of(_VERSION + what)}"


def read(path: str) -> tuple[Entry, ...] | None:
    """What is kept at *path*, parents first; empty where the image lacks nothing, None if nothing is kept."""
    data = kept.read(path, _MOST)
    return None if data is None else tuple(Entry(*fields) for fields in marshal.loads(data))


def keep(path: str, init: str) -> None:
    """Keep what has been made in *init*, unless that is uncommonly much."""
    entries = _taken(init)
    if len(entries) <= _ENTRIES:
        data = marshal.dumps([tuple(entry) for entry in entries], _MARSHAL)
        if len(data) < _MOST:
            kept.keep(path, data)


def _taken(init: str) -> list[Entry]:
    found: list[Entry] = []
    pending = [""]
    while pending and len(found) <= _ENTRIES:
        path = pending.pop()
        place = f"{init}/{path}"
        status = os.lstat(place)
        if stat.S_ISDIR(status.st_mode):
            pending += [f"{path}/{name}" if path else name for name in os.listdir(place)]
        attributes = tuple((name, os.getxattr(place, name)) for name in os.listxattr(place))
        times = status.st_atime_ns, status.st_mtime_ns
        found.append(Entry(path, status.st_mode, status.st_uid, status.st_gid, times, attributes))
    return found if len(found) > 1 else []


def lay(entries: Sequence[Entry], init: str) -> None:
    """Make *entries* in the empty directory *init*."""
    before = os.umask(0)
    try:
        for entry in entries:
            _make(f"{init}/{entry.path}", entry)
    finally:
        os.umask(before)
    # What is made in a directory changes its times, and would inherit its group and default ACL.
    for entry in reversed(entries):
        _dress(f"{init}/{entry.path}", entry)


def _make(place: str, entry: Entry) -> None:
    if stat.S_ISDIR(entry.mode):
        if entry.path:
            os.mkdir(place, entry.mode & _BITS)
        return
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(place, flags, entry.mode & _BITS))


def _dress(place: str, entry: Entry) -> None:
    if entry.uid or entry.gid:
        os.chown(place, entry.uid, entry.gid)
    if entry.uid or entry.gid or entry.mode & 0o6000 or not entry.path:
        os.chmod(place, stat.S_IMODE(entry.mode))
    for name, value in entry.attributes:
        os.setxattr(place, name, value)
    os.utime(place, ns=entry.times)
