"""Pane 3: what a container changed, or what a layer brought."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from engine.model import Change
from tui import change_rows as rows
from tui import format as fmt
from tui.change_rows import ChangeRow
from tui.outline import Entry, Outline
from tui.theme import Line, Span
from tui.widgets.flatlist import FlatList

TITLE = "3 Changes"


class Changes(FlatList[ChangeRow]):
    """A tree of added, modified and deleted paths with their sizes."""

    BORDER_TITLE = TITLE

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.empty = "select a container"
        self.subject = ""
        """The key of what the changes belong to: a container's or node's."""
        self.counts = rows.Summary(0, 0, 0, 0)

    def begin(self, subject: str, name: str, sentence: str) -> None:
        """Turn to something else, whose changes are not known yet; *sentence* stands there until they are."""
        self.border_title = Content(f"{TITLE} · {fmt.safe(name)}").markup
        if subject == self.subject:
            return
        self.subject = subject
        self.empty = sentence
        self.border_subtitle = ""
        self.set_outline(Outline())

    def show(
        self, subject: str, changes: Sequence[Change], entries: Sequence[Entry[ChangeRow]], *, fresh: bool
    ) -> None:
        """Draw the changes of the present subject; those of any other are late and are dropped.

        *entries* are `change_entries(changes)`, made where it does not hold up the screen. *fresh*: fold the
        big directories, as at the first sight.
        """
        if subject != self.subject:
            return
        self.empty = "nothing changed: as the image has it" if subject.startswith("c:") else "an empty layer"
        if fresh:
            self.set_outline(Outline(entries, rows.folded_at_first(entries)))
        else:
            self.set_entries(entries)
        self.counts = rows.summary(changes)
        self.border_subtitle = rows.summary_text(self.counts)

    def prefix(self, entry: Entry[ChangeRow]) -> Line:
        """The letter A, M or D."""
        change = entry.item.change
        if change is None:
            return (Span("  "),)
        return (Span(f"{rows.LETTERS[change.kind]} ", rows.change_role(entry.item)),)

    def describe(self, entry: Entry[ChangeRow], width: int) -> tuple[Line, Line]:
        """See `FlatList`."""
        return rows.change_line(entry.item)
