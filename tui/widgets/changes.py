"""Pane 3: what a container changed, or what a layer brought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from textual.content import Content

from engine.model import Change
from tui import change_rows as rows
from tui import format as fmt
from tui.change_rows import ChangeRow
from tui.outline import Entry, Outline
from tui.staging import Staged
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
        self._changes: Sequence[Change] = ()
        self._staged: dict[str, Staged] = {}
        self._counts: Counter[str] = Counter()
        """By path, how many of the changes at and below it are staged; empty where nothing is."""

    @property
    def staged(self) -> Staged:
        """What of the present subject the next commit takes."""
        return self.staged_of(self.subject)

    def staged_of(self, subject: str) -> Staged:
        """What of *subject*, whatever is shown, the next commit takes."""
        return self._staged.get(subject, Staged())

    @property
    def about(self) -> str:
        """What the next commit takes, in a few words."""
        return rows.staged_text(self.staged, self._changes) or rows.summary_text(self.counts)

    def stage(self) -> None:
        """Have what is under the cursor go into the next commit, or no longer."""
        if self.current is not None:
            row = self.current.item
            goes_in = self._counts[row.path] < row.paths
            self._stage(self.staged.turned(row.path, goes_in=goes_in))
            self.action_move(1)

    def unstage_all(self, subject: str) -> None:
        """Have the next commit of *subject* take everything."""
        self._staged.pop(subject, None)
        if subject == self.subject:
            self._stage(Staged())

    def begin(self, subject: str, name: str, sentence: str) -> None:
        """Turn to something else, whose changes are not known yet; *sentence* stands there until they are."""
        self.border_title = Content(f"{TITLE} · {fmt.safe(name)}").markup
        if subject == self.subject:
            return
        self.subject = subject
        self._changes = ()
        self._counts = Counter()
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
        self._changes = changes
        self._stage(self.staged.pruned(changes) if self.staged.only else Staged())

    def prefix(self, entry: Entry[ChangeRow]) -> Line:
        """The letter A, M or D; before it, whether the next commit takes that, where it does not take all."""
        change = entry.item.change
        text = "  " if change is None else f"{rows.LETTERS[change.kind]} "
        letter = Span(text, rows.change_role(entry.item))
        if not self._counts:
            return (letter,)
        return Span(rows.staged_mark(entry.item, self._counts[entry.item.path]), "running"), letter

    def describe(self, entry: Entry[ChangeRow], width: int) -> tuple[Line, Line]:
        """See `FlatList`."""
        return rows.change_line(entry.item)

    def _stage(self, staged: Staged) -> None:
        self._counts = staged.counts(self._changes) if staged.only else Counter()
        if self._counts:
            self._staged[self.subject] = staged
        else:
            self._staged.pop(self.subject, None)
        self.border_subtitle = self.about
        self.refresh()
