"""What a read-write layer changed, and how two trees differ, as a list for people.

Equal copies (opened for writing, never written), whiteouts over nothing and directories whose time alone
moved are no changes. A deleted directory is one change.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence

from engine.layers import stack
from engine.layers.compare import Difference, Wanted, compare
from engine.layers.confine import clean
from engine.layers.failures import reporting
from engine.model import Change, FileType

_ENCODING = sys.getfilesystemencoding()
_TYPES: dict[int, FileType] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}


def changes(upper: str, lowers: Sequence[str], paths: Sequence[str] = ()) -> list[Change]:
    """What the read-write layer *upper* changes of the stack *lowers* (top first), sorted by path.

    With *paths* (absolute in the container), only what touches them or lies below them. Costs a walk over
    *upper*.
    """
    return tree_changes([upper, *lowers], lowers, paths)


def tree_changes(new: Sequence[str], old: Sequence[str], paths: Sequence[str] = ()) -> list[Change]:
    """What turns the tree of the stack *old* into the tree of the stack *new* (both top first), sorted by
    path.
    """
    with reporting("cannot read the changes"):
        result = list(map(as_change, compare(stack.roots(new), stack.roots(old), touching(paths))))
    if paths:
        asked = [os.fsdecode(b"/" + clean(os.fsencode(path))) for path in paths]
        result = [change for change in result if _concerns(change, asked)]
    result.sort(key=lambda change: change.path)
    return result


def as_change(difference: Difference) -> Change:
    """A difference as the rest of the engine names it."""
    path, kind, new, old, what = difference
    shown = new or old
    assert shown is not None
    mode = shown[1].st_mode
    size = new[1].st_size if new and stat.S_ISREG(mode) else 0
    old_size = old[1].st_size if old and stat.S_ISREG(old[1].st_mode) else 0
    name = "/" + path.decode(_ENCODING, "surrogateescape")
    return Change(name, kind, _TYPES[stat.S_IFMT(mode)], size, old_size, what)


def touching(paths: Sequence[str]) -> Wanted | None:
    """Tells for a path (relative, bytes) whether it lies on the way to one of *paths* or below it; None for
    all.
    """
    asked = [clean(os.fsencode(path)) for path in paths]
    if not asked or b"" in asked:
        return None
    below = tuple(path + b"/" for path in asked)

    def wanted(path: bytes) -> bool:
        return path in asked or path.startswith(below) or any(one.startswith(path + b"/") for one in below)

    return wanted


def _concerns(change: Change, asked: list[str]) -> bool:
    """Whether a change is one of *asked*, lies below it, or takes a directory on the way to it away."""
    path = change.path
    if any(path == one or one == "/" or path.startswith(one + "/") for one in asked):
        return True
    return change.kind == "deleted" or "type" in change.what
