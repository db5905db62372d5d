"""Unified diffs of texts in reasonable time, whatever the texts.

`difflib` alone takes a minute for 40,000 lines of which every tenth differs. Lines that stand exactly once on
both sides are matched first (patience diff, Bram Cohen); what lies between two of them is short and left to
`difflib`.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

_MAX_AREA = 250_000
"""Lines of one side times lines of the other up to which a stretch without anchors is compared line by line.
"""

_C = {7: r"\a", 8: r"\b", 9: r"\t", 10: r"\n", 11: r"\v", 12: r"\f", 13: r"\r", 34: r"\"", 92: r"\\"}
"""Bytes that C has a letter for."""

Opcode = tuple[str, int, int, int, int]


class TextDiff(NamedTuple):
    """A unified diff and how many lines it adds and removes."""

    text: str
    added: int
    removed: int


def unified(before: str, after: str, path: str, context: int) -> TextDiff:
    """The unified diff (POSIX.1-2017, diff) of two texts; empty when they are equal."""
    old, new = _lines(before), _lines(after)
    lines: list[str] = []
    added = removed = 0
    for group in _Matcher(old, new).get_grouped_opcodes(context):
        lines.append(f"@@ -{_range(group, 1)} +{_range(group, 3)} @@\n")
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                lines += [f" {line}" for line in old[start:end]]
                continue
            lines += [f"-{line}" for line in old[start:end]]
            lines += [f"+{line}" for line in new[new_start:new_end]]
            removed += end - start
            added += new_end - new_start
    if not lines:
        return TextDiff("", 0, 0)
    body = "".join(line if line[-1] == "\n" else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return TextDiff(f"--- {_name('a', path)}\n+++ {_name('b', path)}\n{body}", added, removed)


def _name(side: str, path: str) -> str:
    """The path after ``a`` or ``b`` quoted as patch(1) and git read it if it has control characters."""
    name = os.fsencode(f"{side}{path}")
    if not any(byte < 32 or byte == 127 for byte in name):
        return f"{side}{path}"
    return f'"{"".join(_C.get(byte) or _octal(byte) for byte in name)}"'


def _octal(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def _lines(text: str) -> list[str]:
    """Lines as tools count them: only a newline ends one, not the dozen characters of `str.splitlines`."""
    *whole, last = text.split("\n")
    return [f"{line}\n" for line in whole] + ([last] if last else [])


def _range(group: list[Opcode], side: int) -> str:
    start, end = int(group[0][side]), int(group[-1][side + 1])
    if end - start == 1:
        return f"{start + 1}"
    return f"{start + 1 if end > start else start},{end - start}"


class _Matcher(SequenceMatcher[str]):
    """difflib's grouping of changes over matches that are found in another way."""

    def __init__(self, old: list[str], new: list[str]) -> None:
        super().__init__(None, "", "", autojunk=False)
        self.a, self.b = old, new
        self._old, self._new = old, new

    def get_matching_blocks(self) -> list:  # type: ignore[type-arg]  # of difflib's own Match
        blocks: list[tuple[int, int, int]] = []
        for i, j, size in self._matches():
            if blocks and blocks[-1][0] + blocks[-1][2] == i and blocks[-1][1] + blocks[-1][2] == j:
                blocks[-1] = (*blocks[-1][:2], blocks[-1][2] + size)
            elif size:
                blocks.append((i, j, size))
        return [*blocks, (len(self._old), len(self._new), 0)]

    def _matches(self) -> Iterator[tuple[int, int, int]]:
        i = j = 0
        for anchor_i, anchor_j in [*self._anchors(), (len(self._old), len(self._new))]:
            yield from self._between(i, anchor_i, j, anchor_j)
            if anchor_i < len(self._old) and anchor_j < len(self._new):
                yield anchor_i, anchor_j, 1
            i, j = anchor_i + 1, anchor_j + 1

    def _anchors(self) -> list[tuple[int, int]]:
        """Lines that stand once on both sides, the longest run of them in the same order on both."""
        old_counts, new_counts = Counter(self._old), Counter(self._new)
        where = {line: j for j, line in enumerate(self._new) if new_counts[line] == 1}
        pairs = [
            (i, where[line]) for i, line in enumerate(self._old) if old_counts[line] == 1 and line in where
        ]
        tails: list[int] = []  # smallest end of an ascending run of each length
        ends: list[int] = []  # which pair that is
        previous: list[int] = []
        for index, (_, j) in enumerate(pairs):
            length = bisect_left(tails, j)
            previous.append(ends[length - 1] if length else -1)
            tails[length : length + 1] = [j]
            ends[length : length + 1] = [index]
        run = []
        at = ends[-1] if ends else -1
        while at >= 0:
            run.append(pairs[at])
            at = previous[at]
        return run[::-1]

    def _between(self, i: int, i_end: int, j: int, j_end: int) -> Iterator[tuple[int, int, int]]:
        """Matches between two anchors: equal lines at both ends, and in the middle if that is small."""
        old, new = self._old, self._new
        head = 0
        while i + head < i_end and j + head < j_end and old[i + head] == new[j + head]:
            head += 1
        if head:
            yield i, j, head
        i, j = i + head, j + head
        tail = 0
        while i < i_end - tail and j < j_end - tail and old[i_end - tail - 1] == new[j_end - tail - 1]:
            tail += 1
        i_end, j_end = i_end - tail, j_end - tail
        if 0 < (i_end - i) * (j_end - j) <= _MAX_AREA:
            middle = SequenceMatcher(None, old[i:i_end], new[j:j_end], autojunk=False)
            for block in middle.get_matching_blocks():
                yield i + block.a, j + block.b, block.size
        if tail:
            yield i_end, j_end, tail
