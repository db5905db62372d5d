"""A tree as a flat list: entries in preorder, which of them are visible, and where the cursor stands.

Nothing here recurses and nothing here draws: a chain of 1,200 layers and a directory of 50,000 files cost one
pass each. Folding cuts a slice out of the visible list, unfolding puts it back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Entry(NamedTuple, Generic[T]):
    """One line of a tree; the entries of a tree stand in preorder."""

    key: str
    """Names the entry across refreshes; unique in its outline."""
    depth: int
    """0 for a root; at most one more than the entry before it."""
    text: str
    """What a filter looks at."""
    item: T


class Outline(Generic[T]):
    """The lines of a tree, folded and filtered. Positions count visible lines, indices all entries."""

    def __init__(self, entries: Sequence[Entry[T]] = (), folded: Iterable[str] = ()) -> None:
        self.entries: Sequence[Entry[T]] = entries
        self.folded: set[str] = set(folded)
        self.needle = ""
        self._parents, self._ends = _links(entries)
        self._lasts = _lasts(entries, range(len(entries)))
        self.visible: list[int] = []
        self._show()

    def __len__(self) -> int:
        return len(self.visible)

    def at(self, position: int) -> Entry[T]:
        """The entry at a visible position."""
        return self.entries[self.visible[position]]

    def shown(self) -> list[str]:
        """The keys of the visible lines, top to bottom."""
        return [self.entries[index].key for index in self.visible]

    def has_children(self, position: int) -> bool:
        """Whether the line can be folded."""
        index = self.visible[position]
        return self._ends[index] > index + 1

    def is_folded(self, position: int) -> bool:
        """Whether the line hides children (a filter unfolds everything that leads to a match)."""
        return not self.needle and self.has_children(position) and self.at(position).key in self.folded

    def parent(self, position: int) -> int | None:
        """The position of the line's parent; None for a root."""
        above = self._parents[self.visible[position]]
        return None if above < 0 else self._position(above)

    def find(self, key: str) -> int | None:
        """The position of *key*, or of the nearest folded ancestor that hides it; None if there is none."""
        index = self._index(key)
        while index >= 0:
            position = self._position(index)
            if position is not None:
                return position
            index = self._parents[index]
        return None

    def reveal(self, key: str) -> int | None:
        """Unfold whatever hides *key* and give its position; None when it is not there or filtered away."""
        index = self._index(key)
        if index < 0:
            return None
        hidden = False
        above = self._parents[index]
        while above >= 0:
            hidden = hidden or self.entries[above].key in self.folded
            self.folded.discard(self.entries[above].key)
            above = self._parents[above]
        if hidden:
            self._show()
        return self._position(index)

    def fold(self, position: int) -> bool:
        """Hide the children of a line; False when it has none or hides them already."""
        if self.needle or not self.has_children(position) or self.is_folded(position):
            return False
        index = self.visible[position]
        self.folded.add(self.entries[index].key)
        end = bisect_left(self.visible, self._ends[index], lo=position)
        del self.visible[position + 1 : end]
        return True

    def unfold(self, position: int) -> bool:
        """Show the children of a folded line; False when nothing is hidden there."""
        if not self.is_folded(position):
            return False
        index = self.visible[position]
        self.folded.discard(self.entries[index].key)
        self.visible[position + 1 : position + 1] = self._unfolded(index + 1, self._ends[index])
        return True

    def filter(self, needle: str) -> None:
        """Show only entries whose text holds *needle* (any case), with their ancestors; empty shows all."""
        if needle.casefold() != self.needle:
            self.needle = needle.casefold()
            self._show()

    def replace(self, entries: Sequence[Entry[T]]) -> None:
        """Take a newer state of the same tree; folding and filter stay."""
        self.entries = entries
        self._parents, self._ends = _links(entries)
        self._show()

    def guide(self, position: int, columns: int) -> str:
        """The lines that lead from the ancestors to this entry, at most *columns* cells wide.

        Two cells a level. A chain deeper than there is room for loses its upper levels and says so with dots.
        """
        index = self.visible[position]
        depth = self.entries[index].depth
        if depth == 0:
            return ""
        room = max(1, columns // 2)
        parts = ["└" if self._lasts[index] else "├"]
        above = self._parents[index]
        for _ in range(min(depth - 1, room - 1)):
            parts.append("  " if self._lasts[above] else "│ ")
            above = self._parents[above]
        if depth > room:
            parts[-1] = "⋯ " if len(parts) > 1 else "⋯"
        return "".join(reversed(parts))

    def _index(self, key: str) -> int:
        return next((index for index, entry in enumerate(self.entries) if entry.key == key), -1)

    def _position(self, index: int) -> int | None:
        position = bisect_left(self.visible, index)
        return position if position < len(self.visible) and self.visible[position] == index else None

    def _show(self) -> None:
        if self.needle:
            self.visible = self._matching()
            self._lasts = _lasts(self.entries, self.visible)
        else:
            self.visible = self._unfolded(0, len(self.entries))
            self._lasts = _lasts(self.entries, range(len(self.entries)))

    def _unfolded(self, start: int, end: int) -> list[int]:
        """The indices of *start* to *end* that no folded ancestor inside of that range hides."""
        if not self.folded:
            return list(range(start, end))
        shown: list[int] = []
        index = start
        while index < end:
            shown.append(index)
            index = self._ends[index] if self.entries[index].key in self.folded else index + 1
        return shown

    def _matching(self) -> list[int]:
        shown: set[int] = set()
        for index, entry in enumerate(self.entries):
            if self.needle in entry.text.casefold():
                above = index
                while above >= 0 and above not in shown:
                    shown.add(above)
                    above = self._parents[above]
        return sorted(shown)


def _links(entries: Sequence[Entry[T]]) -> tuple[list[int], list[int]]:
    """For each entry the index of its parent (-1 for a root) and the end of its subtree (exclusive)."""
    parents: list[int] = []
    ends = [len(entries)] * len(entries)
    open_: list[int] = []
    for index, entry in enumerate(entries):
        while len(open_) > entry.depth:
            ends[open_.pop()] = index
        parents.append(open_[-1] if open_ else -1)
        open_.append(index)
    return parents, ends


def _lasts(entries: Sequence[Entry[T]], shown: Collection[int]) -> list[bool]:
    """Whether each shown entry is the last of its siblings among the shown ones."""
    lasts = [True] * len(entries)
    latest: list[int] = []
    for index in shown:
        depth = entries[index].depth
        del latest[depth + 1 :]
        if len(latest) > depth:
            lasts[latest[depth]] = False
            latest[depth] = index
        else:
            latest.append(index)
    return lasts
