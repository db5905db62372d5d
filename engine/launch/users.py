"""Who a process in a container is: names looked up in the container's own /etc/passwd and /etc/group, safely.

Those files are the image's, so they may be anything: a link out of the rootfs (CVE-2024-9676), a fifo, a
gigabyte of groups (CVE-2026-47262). They are opened inside the rootfs whatever links say, and read up to a
bound.
"""

from __future__ import annotations

import os
import stat

from engine.errors import LaunchError
from engine.kernel import syscalls
from engine.record import Record

MAX_BYTES = 4 << 20
"""The largest /etc/passwd or /etc/group that is read."""
_NULL = os.makedev(1, 3)
MAX_ID = 0xFFFFFFFE


class User(Record):
    """Numbers, and the home directory that goes with them."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(text: str, root: int) -> User:
    """The user that ``user[:group][,group…]`` means below the directory *root* is open on; empty is root.

    Numbers need no entry; groups after a comma are further ones. Raises LaunchError for a name without entry.
    """
    text, *further = text.split(",")
    who, colon, group = text.partition(":")
    who = who or "0"
    name, uid, gid, home = _user(who, root)
    groups: tuple[int, ...] = ()
    if colon and group:
        gid = _group(group, root)
    elif name:
        groups = tuple(
            number
            for number, members in ((number, members) for _, number, members in _groups(root))
            if name in members
        )
    groups = (*groups, *(_group(name, root) for name in further))
    return User(uid, gid, tuple(dict.fromkeys(groups)), home)


def _user(who: str, root: int) -> tuple[str, int, int, str]:
    """Name (empty without an entry), uid, gid and home."""
    number = _number(who)
    for line in _lines("etc/passwd", root):
        fields = line.split(":")
        if len(fields) < 6:
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None and (fields[0] == who or uid == number):
            return fields[0], uid, gid, fields[5] or "/"
    if number is None:
        raise LaunchError(f"no user {who}", "the container's /etc/passwd has no such name", "give a number")
    return "", number, 0, "/root" if number == 0 else "/"


def _group(which: str, root: int) -> int:
    number = _number(which)
    for name, gid, _ in _groups(root):
        if name == which:
            return gid
    if number is None:
        raise LaunchError(f"no group {which}", "the container's /etc/group has no such name", "give a number")
    return number


def _groups(root: int) -> list[tuple[str, int, list[str]]]:
    found = []
    for line in _lines("etc/group", root):
        fields = line.split(":")
        gid = _number(fields[2]) if len(fields) >= 4 else None
        if gid is not None:
            found.append((fields[0], gid, fields[3].split(",")))
    return found


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    value = int(text)
    return value if value <= MAX_ID else None


def _lines(path: str, root: int) -> list[str]:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = syscalls.openat2(
            root, path, flags, syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        )
    except OSError:
        return []  # an image without users has root alone
    try:
        status = os.fstat(descriptor)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL:
            return []  # it is masked
        if not stat.S_ISREG(status.st_mode):
            raise LaunchError(f"cannot look up users in /{path}", "it is not a file")
        data = b""
        while len(data) <= MAX_BYTES and (piece := os.read(descriptor, 1 << 16)):
            data += piece
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise LaunchError(f"cannot look up users in /{path}", f"it is larger than {MAX_BYTES >> 20} MiB")
    return data.decode("utf-8", "surrogateescape").split("\n")
