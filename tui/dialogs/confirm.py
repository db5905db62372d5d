"""Before anything goes: what exactly, how many bytes come free, or why it cannot be done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from engine.model import Removal
from tui import format as fmt
from tui.dialogs.frame import Dialog
from tui.theme import Line, Span


class ConfirmScreen(Dialog[bool]):
    """Shows the effect of a removal. Enter or y does it, n or Esc does not; a blocked one is only left."""

    DEFAULT_CSS = """
    ConfirmScreen > .frame { width: 66; border: round $warning; border-title-color: $warning; }
    ConfirmScreen.-blocked > .frame { border: round $error; border-title-color: $error; }
    ConfirmScreen .effect { height: auto; max-height: 14; scrollbar-size-vertical: 1; }
    ConfirmScreen .effect > Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "submit", "Yes", show=False, id="confirm.yes"),
        Binding("n", "cancel", "No", show=False, id="confirm.no"),
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
    ]

    def __init__(self, title: str, removal: Removal, verb: str = "remove") -> None:
        super().__init__(classes="-blocked" if removal.blocked_by else "")
        self.heading = title
        self.removal = removal
        self.verb = verb
        self.hints = "esc back" if removal.blocked_by else f"enter/y {verb} · esc/n keep"

    def body(self) -> Iterable[Widget]:
        """What goes, what comes free, what stands in the way."""
        styled = [self.text(line) for line in effect(self.removal)]
        with VerticalScroll(classes="effect", can_focus=False):
            yield from (Static(text) for text in styled)
        yield Static("", classes="gap")
        yield Static(self.text(verdict(self.removal, self.verb)))

    def submit(self) -> None:
        """Yes, where it can be done at all."""
        if not self.removal.blocked_by:
            self.dismiss(True)

    def action_cancel(self) -> None:
        """No."""
        self.dismiss(False)

    def action_move(self, lines: int) -> None:
        """A long list scrolls."""
        self.query_one(".effect").scroll_relative(y=lines, animate=False)


def effect(removal: Removal) -> list[Line]:
    """One line for each thing that goes or stands in the way."""
    blocked: list[Line] = [(Span(" ! ", "bad"), Span(fmt.safe(reason))) for reason in removal.blocked_by]
    return blocked + [(Span(" − ", "deleted"), Span(fmt.safe(thing))) for thing in removal.what]


def verdict(removal: Removal, verb: str) -> Line:
    """The sentence under the list."""
    if removal.blocked_by:
        return (Span(f"Cannot {verb}", "bad"), Span(" while this stands in the way.", "muted"))
    counts = [
        f"{len(removal.nodes)} node{'s' if len(removal.nodes) != 1 else ''}" if removal.nodes else "",
        f"{len(removal.containers)} container{'s' if len(removal.containers) != 1 else ''}"
        if removal.containers
        else "",
    ]
    summary = " and ".join(part for part in counts if part)
    freed = Span(fmt.size(removal.size), "number")
    return (Span(f"{summary} · " if summary else "", "muted"), freed, Span(" come free", "muted"))
