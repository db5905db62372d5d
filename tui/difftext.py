"""A unified diff as numbered lines, with the lines that replace each other paired."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
Kind = Literal["hunk", "same", "added", "removed", "remark"]


class DiffLine(NamedTuple):
    """One line of a diff, without its sign."""

    kind: Kind
    number: int
    """In the new file; in the old one for what was removed; 0 where it has none."""
    text: str
    mate: int
    """The index of the line that replaces it or that it replaces; -1 where there is none."""


def parse(text: str) -> list[DiffLine]:
    """The lines of a unified diff in one pass; file headers are left out."""
    lines: list[DiffLine] = []
    old = new = 0
    removed: list[int] = []
    added: list[int] = []
    for raw in _body(text):
        hunk = _HUNK.match(raw)
        sign, rest = raw[:1], raw[1:]
        if hunk is None and sign == "-":
            if added:
                _pair(lines, removed, added)
            removed.append(len(lines))
            lines.append(DiffLine("removed", old, rest, -1))
            old += 1
            continue
        if hunk is None and sign == "+":
            added.append(len(lines))
            lines.append(DiffLine("added", new, rest, -1))
            new += 1
            continue
        if sign == "\\":
            lines.append(DiffLine("remark", 0, rest.strip(), -1))
            continue
        _pair(lines, removed, added)
        if hunk is not None:
            old, new = int(hunk[1]), int(hunk[2])
            lines.append(DiffLine("hunk", 0, raw, -1))
        else:
            lines.append(DiffLine("same", new, rest, -1))
            old, new = old + 1, new + 1
    _pair(lines, removed, added)
    return lines


def changed_part(text: str, mate: str) -> tuple[int, int]:
    """Where a line differs from its mate, in whole words; empty where little is alike."""
    start, most = 0, min(len(text), len(mate))
    while start < most and text[start] == mate[start]:
        start += 1
    end = 0
    while end < most - start and text[-1 - end] == mate[-1 - end]:
        end += 1
    while start and _word(text, start - 1) and (_word(text, start) or _word(mate, start)):
        start -= 1
    while end and _word(text, len(text) - end) and _inside(text, mate, end):
        end -= 1
    stop = len(text) - end
    alike = start - (len(text) - len(text.lstrip())) + end
    return (start, stop) if alike * 3 >= len(text.strip()) else (0, 0)


def _inside(text: str, mate: str, end: int) -> bool:
    """Whether a word of either line goes on into what both end with."""
    return _word(text, len(text) - end - 1) or _word(mate, len(mate) - end - 1)


def _word(text: str, at: int) -> bool:
    return 0 <= at < len(text) and (text[at].isalnum() or text[at] == "_")


def _body(text: str) -> Iterator[str]:
    """The lines from the first hunk on."""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    first = next((index for index, line in enumerate(lines) if line.startswith("@@")), len(lines))
    return iter(lines[first:])


def _pair(lines: list[DiffLine], removed: list[int], added: list[int]) -> None:
    """As many lines added as removed, one after the other: each replaces its counterpart."""
    if len(removed) == len(added):
        for old, new in zip(removed, added, strict=True):
            lines[old] = lines[old]._replace(mate=new)
            lines[new] = lines[new]._replace(mate=old)
    removed.clear()
    added.clear()
