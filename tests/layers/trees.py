"""Trees on disk for the tests of this room: described, built, and taken down in writing entry by entry."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, NamedTuple

from hypothesis import strategies as st


class Seen(NamedTuple):
    """All that a layer has to keep of one entry."""

    kind: int
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    content: str
    """Digest of a file's bytes, target of a link, number of a device."""
    size: int
    xattrs: tuple[tuple[str, bytes], ...]
    names: tuple[bytes, ...]
    """All names of the same inode, for what is no directory."""


def snapshot(tree: str | bytes, private: str = "trusted.overlay.") -> dict[bytes, Seen]:
    """Every entry below *tree* and the root itself (the empty path), read without cowl's own code."""
    root = os.fsencode(tree)
    paths = [root]
    for here, directories, files in os.walk(root):
        paths += [os.path.join(here, name) for name in directories + files]
    groups: dict[tuple[int, int], list[bytes]] = {}
    statuses = {}
    for path in paths:
        status = os.lstat(path)
        statuses[path] = status
        groups.setdefault((status.st_dev, status.st_ino), []).append(path[len(root) + 1 :])
    return {path[len(root) + 1 :]: _seen(path, status, groups, private) for path, status in statuses.items()}


def _seen(path: bytes, status: os.stat_result, groups: dict[Any, list[bytes]], private: str) -> Seen:
    mode = status.st_mode
    content = ""
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    elif stat.S_ISLNK(mode):
        content = os.fsdecode(os.readlink(path))
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        content = str(status.st_rdev)
    names = os.listxattr(path, follow_symlinks=False)
    xattrs = tuple(
        sorted(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in names
            if not name.startswith(private)
        )
    )
    is_directory = stat.S_ISDIR(mode)
    return Seen(
        stat.S_IFMT(mode),
        stat.S_IMODE(mode),
        (status.st_uid, status.st_gid),
        status.st_mtime_ns,
        content,
        status.st_size if stat.S_ISREG(mode) else 0,
        xattrs,
        () if is_directory else tuple(sorted(groups[status.st_dev, status.st_ino])),
    )


class Planned(NamedTuple):
    """One entry of a random tree."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    data: bytes
    xattrs: dict[str, bytes]


NAMES = st.one_of(
    st.sampled_from(
        [b"a", b"b", b"c", b"a-b", b"a b", b".h", b"\xff\xfe", "é".encode(), b"n\nl", b"x" * 120]
    ),
    st.binary(min_size=1, max_size=12),
    st.binary(min_size=95, max_size=200),
).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..") and name[:4] != b".wh."
)

TIMES = st.one_of(
    st.integers(-(10**9), 2 * 10**9).map(lambda seconds: seconds * 10**9),
    st.integers(-(2 * 10**18), 3 * 10**18),
)

OWNERS = st.tuples(*[st.sampled_from([0, 1, 1000, 65534, 0o7777777, 3_000_000, 2**32 - 2])] * 2)

XATTRS = st.dictionaries(
    st.sampled_from(["user.a", "user.é", "trusted.t", "user.with=sign"]), st.binary(max_size=60), max_size=2
)

PLANS = st.builds(
    Planned,
    st.sampled_from(
        ["file", "file", "file", "directory", "directory", "symlink", "fifo", "char", "link", "hole"]
    ),
    st.sampled_from([0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0, 0o7777]),
    OWNERS,
    TIMES,
    st.one_of(st.just(b""), st.binary(max_size=40), st.integers(0, 2000).map(lambda n: b"z" * n)),
    XATTRS,
)

TREES = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3), PLANS), max_size=14)


def build(root: str, plan: list[tuple[list[bytes], Planned]]) -> None:
    """Make a tree on disk as planned; what cannot be (a child of a file, a taken name) is left out."""
    top = os.fsencode(root)
    made: list[tuple[bytes, Planned]] = []
    for parts, planned in plan:
        path = top
        for part in parts[:-1]:
            path += b"/" + part
            if not os.path.lexists(path):
                os.mkdir(path)
            if os.path.islink(path) or not os.path.isdir(path):
                break
        else:
            path += b"/" + parts[-1]
            if not os.path.lexists(path) and _make(path, planned, made):
                made.append((path, planned))
    for path, planned in reversed(made):
        _dress(path, planned)


def _make(path: bytes, planned: Planned, made: list[tuple[bytes, Planned]]) -> bool:
    kind = planned.kind
    if kind == "directory":
        os.mkdir(path)
    elif kind == "symlink":
        os.symlink(b"/" + planned.data[:150].replace(b"\0", b"0"), path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "char":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1 + len(planned.data), 7))
    elif kind == "link":
        files = [other for other, plan in made if plan.kind != "directory"]
        if not files:
            return False
        os.link(files[-1], path, follow_symlinks=False)
        return False
    else:
        with open(path, "wb") as file:
            file.write(planned.data)
            if kind == "hole":
                file.truncate(len(planned.data) + 3_000_000)
    return True


def _dress(path: bytes, planned: Planned) -> None:
    os.chown(path, *planned.owner, follow_symlinks=False)
    if planned.kind != "symlink":
        os.chmod(path, planned.mode)
    if planned.kind in ("file", "directory"):
        for name, value in planned.xattrs.items():
            os.setxattr(path, name, value)
    os.utime(path, ns=(planned.mtime_ns, planned.mtime_ns), follow_symlinks=False)
