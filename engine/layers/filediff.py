"""One changed file as people read it: a unified diff of text, a hex dump of anything else, or a sentence."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from engine.errors import NotFoundError
from engine.layers import stack
from engine.layers.changes import as_change
from engine.layers.compare import Difference, Entry, differences
from engine.layers.confine import clean
from engine.model import ChangeKind, FileDiff

_HEX_BYTES = 512
_WORDS = {
    "content": "content",
    "mode": "mode",
    "owner": "owner",
    "xattr": "extended attributes",
    "type": "type",
    "mtime": "modification time",
}


def file_diff(
    upper: str, lowers: Sequence[str], path: str, context: int = 3, limit: int = 1 << 20
) -> FileDiff:
    """How *path* (absolute in the container) differs between the stack with *upper* and the stack *lowers*.

    At most *limit* bytes of each side are read; *context* lines stand around each hunk. Raises NotFoundError
    when neither side has the path.
    """
    new = _entry([upper, *lowers], path)
    old = _entry(lowers, path)
    if new is None and old is None:
        raise NotFoundError(f"no file {path!r} in the container", hint="`cowl diff` lists what changed")
    shown = "/" + os.fsdecode(clean(os.fsencode(path)))
    what = differences(new, old) if new and old else ()
    kind: ChangeKind = "added" if old is None else "deleted" if new is None else "modified"
    change = as_change(Difference(os.fsencode(shown[1:]), kind, new, old, what))
    facts = _facts(new, old, what)
    if not any(entry and stat.S_ISREG(entry.status.st_mode) for entry in (new, old)):
        return FileDiff(shown, change.kind, False, facts, 0, 0, False)
    before, before_cut = _read(old, limit)
    after, after_cut = _read(new, limit)
    cut = before_cut or after_cut
    if _is_binary(before) or _is_binary(after):
        return FileDiff(shown, change.kind, True, f"{facts}\n{_hex(after or before)}", 0, 0, cut)
    from engine.layers.textdiff import unified

    diff = unified(before.decode("utf-8", "replace"), after.decode("utf-8", "replace"), shown, context)
    return FileDiff(shown, change.kind, False, diff.text or facts, diff.added, diff.removed, cut)


def _entry(layers: Sequence[str], path: str) -> Entry | None:
    found = stack.lookup(layers, path)
    return Entry(found.path, found.status) if found else None


def _read(entry: Entry | None, limit: int) -> tuple[bytes, bool]:
    """The first *limit* bytes of a regular file, and whether there are more; nothing of anything else."""
    if entry is None or not stat.S_ISREG(entry.status.st_mode):
        return b"", False
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(limit + 1)
    return data[:limit], len(data) > limit


def _is_binary(data: bytes) -> bool:
    """As git judges: a NUL near the beginning. UTF-16 text counts as binary, too."""
    return b"\0" in data[:8000]


def _hex(data: bytes) -> str:
    rows = []
    for start in range(0, min(len(data), _HEX_BYTES), 16):
        row = data[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        rows.append(f"{start:08x}  {row.hex(' '):<47}  {letters}")
    return "\n".join(rows)


def _facts(new: Entry | None, old: Entry | None, what: Sequence[str]) -> str:
    """One sentence about what is not seen in the lines of a file."""
    if new is None or old is None:
        entry = new or old
        assert entry is not None
        return f"{_describe(entry)} was {'added' if new else 'deleted'}."
    if "type" in what:
        return f"{_describe(old)} became {_describe(new).lower()}."
    if not what:
        return "Nothing differs."
    parts = []
    for aspect in what:
        before, after = (_value(entry, aspect) for entry in (old, new))
        parts.append(f"{_WORDS[aspect]} {before} → {after}" if before else _WORDS[aspect])
    return f"Changed: {', '.join(parts)}."


def _value(entry: Entry, aspect: str) -> str:
    status = entry.status
    if aspect == "mode":
        return f"{stat.S_IMODE(status.st_mode):04o}"
    if aspect == "owner":
        return f"{status.st_uid}:{status.st_gid}"
    if aspect == "content" and stat.S_ISREG(status.st_mode):
        return f"{status.st_size} bytes"
    if aspect == "content" and stat.S_ISLNK(status.st_mode):
        target = os.fsdecode(os.readlink(entry.path))
        return target if target.isprintable() else repr(target)
    return ""


def _describe(entry: Entry) -> str:
    mode = entry.status.st_mode
    if stat.S_ISREG(mode):
        return f"A file of {entry.status.st_size} bytes"
    if stat.S_ISDIR(mode):
        return "A directory"
    if stat.S_ISLNK(mode):
        return f"A link to {os.fsdecode(os.readlink(entry.path))!r}"
    if stat.S_ISFIFO(mode):
        return "A fifo"
    if stat.S_ISSOCK(mode):
        return "A socket"
    return f"A device {os.major(entry.status.st_rdev)}:{os.minor(entry.status.st_rdev)}"
