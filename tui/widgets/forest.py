"""Pane 1: the image forest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from textual.content import Content

from engine.model import Container, Node
from tui import forest_rows as rows
from tui.forest_rows import ForestItem
from tui.outline import Entry
from tui.theme import Line
from tui.widgets.flatlist import FlatList


class Forest(FlatList[ForestItem]):
    """All nodes, linked child to parent, with their tags, sizes and containers."""

    BORDER_TITLE = "1 Forest"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.empty = "no image yet"
        self._sizes: Mapping[str, int] = {}

    def show(self, nodes: Sequence[Node], containers: Sequence[Container]) -> None:
        """Draw a new state of the store."""
        self.set_entries(rows.forest_entries(nodes, containers))
        self.border_subtitle = Content(rows.total_text(rows.total(nodes))).markup

    def show_sizes(self, sizes: Mapping[str, int]) -> None:
        """Draw how much the read-write layers add, by container ID, where that is known."""
        self._sizes = dict(sizes)
        self.refresh_changed()

    def describe(self, entry: Entry[ForestItem], width: int) -> tuple[Line, Line]:
        """See `FlatList`."""
        return rows.forest_line(entry.item, self._sizes, time.time())
