"""What differs between two trees, worked out the slow way: from nothing but what both look like."""

from __future__ import annotations

import os
import stat

from engine.model import Change
from tests.layers.trees import Seen

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}


def expected(before: dict[bytes, Seen], after: dict[bytes, Seen]) -> list[Change]:
    """The changes between two trees, from nothing but what both look like."""
    found = []
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        parent = path.rpartition(b"/")[0]
        if new is None:
            assert old is not None
            above = after.get(parent)
            if above is not None and above.kind == stat.S_IFDIR:
                found.append(_change(path, "deleted", old, 0, old.size, ()))
        elif old is None:
            found.append(_change(path, "added", new, new.size, 0, ()))
        elif what := _aspects(old, new):
            found.append(_change(path, "modified", new, new.size, old.size, what))
    return sorted(found)


def _change(path: bytes, kind: str, seen: Seen, size: int, old_size: int, what: tuple[str, ...]) -> Change:
    return Change("/" + os.fsdecode(path), kind, TYPES[seen.kind], size, old_size, what)  # type: ignore[arg-type]


def _aspects(old: Seen, new: Seen) -> tuple[str, ...]:
    if old.kind != new.kind:
        return ("type",)
    compared = {
        "content": old.content != new.content,
        "mode": old.mode != new.mode,
        "owner": old.owner != new.owner,
        "xattr": old.xattrs != new.xattrs,
    }
    what = [name for name, differs in compared.items() if differs]
    if not compared["content"] and new.kind != stat.S_IFDIR and old.mtime_ns != new.mtime_ns:
        what.append("mtime")
    return tuple(what)
