"""A list that draws only what is visible, over an outline that may hold 50,000 entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.outline import Entry, Outline
from tui.theme import Line, Role, Span, styles
from tui.widgets.lines import strip

T = TypeVar("T")


class FlatList(ScrollView, Generic[T], can_focus=True):
    """A virtual list of tree entries with a cursor; subclasses say what a line shows.

    A line is the prefix, the tree's guides, what `describe` gives for the left (cut where it does not fit)
    and for the right edge.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Down", show=False, id="list.down"),
        Binding("k,up", "move(-1)", "Up", show=False, id="list.up"),
        Binding("g,home", "jump(0)", "First", show=False, id="list.first"),
        Binding("G,end", "jump(-1)", "Last", show=False, id="list.last"),
        Binding("pagedown,ctrl+d", "page(1)", "Page down", show=False, id="list.page_down"),
        Binding("pageup,ctrl+u", "page(-1)", "Page up", show=False, id="list.page_up"),
        Binding("h,left", "fold", "Fold", show=False, id="list.fold"),
        Binding("l,right", "unfold", "Unfold", show=False, id="list.unfold"),
        Binding("enter", "activate", "Open", show=False, id="list.open"),
    ]
    DEFAULT_CSS = "FlatList { overflow-x: hidden; overflow-y: auto; }"

    class Highlighted(Message):
        """The cursor came to another entry, or the list became empty (None)."""

        def __init__(self, flat_list: FlatList[Any], entry: Entry[Any] | None) -> None:
            super().__init__()
            self.flat_list = flat_list
            self.entry = entry

        @property
        def control(self) -> FlatList[Any]:
            """The list that sent it."""
            return self.flat_list

    class Activated(Highlighted):
        """Enter, or a double click, on an entry that has nothing to fold."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.outline: Outline[T] = Outline()
        self.cursor = 0
        self.moved = False
        """Whether the cursor has moved and nobody has looked where to yet: the message is on its way."""
        self.empty = ""
        """The sentence shown when there is nothing to list."""
        self._drawn: dict[int, Line] = {}
        """What each visible position showed when it was last drawn."""

    # What subclasses say.

    def prefix(self, entry: Entry[T]) -> Line:
        """What stands before the guides; of the same width in every line."""
        return ()

    def describe(self, entry: Entry[T], width: int) -> tuple[Line, Line]:
        """The left and the right part of a line with *width* cells in all."""
        return (Span(entry.text),), ()

    # The list as others see it.

    @property
    def current(self) -> Entry[T] | None:
        """The entry under the cursor."""
        return self.outline.at(self.cursor) if self.cursor < len(self.outline) else None

    def set_entries(self, entries: Sequence[Entry[T]]) -> None:
        """Show a newer state; the cursor stays on its entry, or near where it was."""
        before = self.current
        self.outline.replace(entries)
        self._after_change(before)

    def set_outline(self, outline: Outline[T]) -> None:
        """Show something else; the filter goes on, the cursor stays if its entry is there too."""
        before = self.current
        outline.filter(self.outline.needle)
        self.outline = outline
        self._after_change(before)

    def filter(self, needle: str) -> None:
        """Show only what matches; the empty string shows all."""
        before = self.current
        self.outline.filter(needle)
        self._after_change(before)

    def select(self, key: str, *, notify: bool = True) -> bool:
        """Put the cursor on *key*, unfolding what hides it; False when it is not in the list."""
        position = self.outline.reveal(key)
        if position is None:
            return False
        self._resize()
        self._put(position, notify=notify)
        self._show_context()
        self.refresh()
        return True

    # Keys and mouse.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Let `l` go on to the app where there is nothing to unfold."""
        if action == "unfold":
            return self.cursor < len(self.outline) and self.outline.has_children(self.cursor)
        return True

    def action_move(self, lines: int) -> None:
        """Move the cursor."""
        self._put(self.cursor + lines)

    def action_jump(self, position: int) -> None:
        """Go to the first (0) or the last (-1) line."""
        self._put(len(self.outline) - 1 if position < 0 else position)

    def action_page(self, pages: int) -> None:
        """Move by what is visible less one line."""
        self._put(self.cursor + pages * max(1, self.scrollable_content_region.height - 1))

    def action_fold(self) -> None:
        """Fold, or go to the parent where there is nothing to fold."""
        if self.current is None:
            return
        if self.outline.fold(self.cursor):
            self._redraw()
        elif (parent := self.outline.parent(self.cursor)) is not None:
            self._put(parent)

    def action_unfold(self) -> None:
        """Unfold, or go to the first child where that is done."""
        if self.current is None:
            return
        if self.outline.unfold(self.cursor):
            self._redraw()
        elif self.outline.has_children(self.cursor):
            self._put(self.cursor + 1)

    def action_activate(self) -> None:
        """Toggle what can be folded; say so to the app for anything else."""
        entry = self.current
        if entry is None:
            return
        if self.outline.unfold(self.cursor) or self.outline.fold(self.cursor):
            self._redraw()
        else:
            self.post_message(self.Activated(self, entry))

    def on_click(self, event: events.Click) -> None:
        """Select; a click on the fold mark or a second click opens."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        position = offset.y + self.scroll_offset.y
        if position >= len(self.outline):
            return
        self._put(position)
        lead = _width(self.prefix(self.outline.at(position))) + len(self._lead(position)) + 1
        if event.chain == 2 or (offset.x <= lead and self.outline.has_children(position)):
            self.action_activate()

    def on_focus(self) -> None:
        """The cursor's colour says where the keys go."""
        self.refresh()

    def on_blur(self) -> None:
        """See `on_focus`."""
        self.refresh()

    def on_resize(self) -> None:
        """Keep the virtual width equal to the visible one."""
        self._resize()
        self._show_cursor()
        self._show_context()

    # Drawing.

    def render_line(self, y: int) -> Strip:
        """One visible line (Textual's line API)."""
        width = self.scrollable_content_region.width
        position = y + self.scroll_offset.y
        look = styles(self.app.theme)
        if position >= len(self.outline):
            text = self.empty if y == 0 and not len(self.outline) else ""
            return strip((Span(text, "muted"),), look, width, self.rich_style)
        ground: Role | None = None
        if position == self.cursor:
            ground = "cursor" if self.has_focus else "cursor_dim"
        line = self._drawn[position] = self.spans(position, width)
        return strip(line, look, width, self.rich_style, ground=ground)

    def refresh_changed(self) -> None:
        """Draw the visible lines anew whose text is another one by now: ages, rates."""
        width = self.scrollable_content_region.width
        top = self.scroll_offset.y
        bottom = min(top + self.scrollable_content_region.height, len(self.outline))
        before, self._drawn = self._drawn, {}
        for position in range(top, bottom):
            line = self._drawn[position] = self.spans(position, width)
            if line != before.get(position):
                self.refresh_line(position)

    def spans(self, position: int, width: int) -> Line:
        """One line as text with roles, exactly *width* cells wide."""
        entry = self.outline.at(position)
        lead = self._lead(position, width)
        start = (*self.prefix(entry), Span(lead, "guide"))
        left, right = self.describe(entry, max(0, width - _width(start)))
        return justify((*start, *left), right, width)

    def _lead(self, position: int, width: int = 0) -> str:
        width = width or self.scrollable_content_region.width
        guide = self.outline.guide(position, max(4, width * 2 // 5))
        if self.outline.has_children(position):
            return f"{guide}{'▸' if self.outline.is_folded(position) else '▾'} "
        return f"{guide}─ " if guide else ""

    def _after_change(self, before: Entry[T] | None) -> None:
        found = self.outline.find(before.key) if before else None
        self.cursor = max(0, min(self.cursor if found is None else found, len(self.outline) - 1))
        self._redraw()
        after = self.current
        if (before and before.key) != (after and after.key):
            self._tell_moved(after)

    def _put(self, position: int, *, notify: bool = True) -> None:
        position = max(0, min(position, len(self.outline) - 1))
        if position == self.cursor:
            self._show_cursor()
            return
        self.refresh_line(self.cursor)
        self.cursor = position
        self.refresh_line(position)
        self._show_cursor()
        if notify:
            self._tell_moved(self.current)

    def _tell_moved(self, entry: Entry[T] | None) -> None:
        self.moved = True
        self.post_message(self.Highlighted(self, entry))

    def _redraw(self) -> None:
        self._resize()
        self._show_cursor()
        self.refresh()

    def _resize(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self.outline))

    def _show_cursor(self) -> None:
        if len(self.outline):
            self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True)

    def _show_context(self) -> None:
        """Show the list from its top where that leaves the cursor in view: what is above explains it."""
        if self.cursor < self.scrollable_content_region.height - 1:
            self.scroll_to(y=0, animate=False, force=True)


def justify(left: Sequence[Span], right: Sequence[Span], width: int) -> Line:
    """*left* and *right* at the edges of *width* cells, *left* cut with "…" where both do not fit."""
    taken = _width(right)
    if taken > width or (taken and width - taken < 4):
        right, taken = (), 0
    room = width - taken - (1 if taken else 0)
    kept = clip_spans(left, room)
    gap = width - taken - _width(kept)
    return (*kept, Span(" " * gap), *right) if gap > 0 else (*kept, *right)


def clip_spans(spans: Sequence[Span], width: int) -> Line:
    """As many cells of *spans* as fit in *width*, ending in "…" where something is lost."""
    if _width(spans) <= width:
        return tuple(spans)
    kept: list[Span] = []
    room = width - 1
    for span in spans:
        cells = cell_len(span.text)
        if cells > room:
            role: Role = span.role
            kept.append(Span(set_cell_size(span.text, max(0, room)), role))
            kept.append(Span("…" if width > 0 else "", role if role != "guide" else "muted"))
            break
        kept.append(span)
        room -= cells
    return tuple(kept)


def _width(spans: Sequence[Span]) -> int:
    return sum(cell_len(span.text) for span in spans)


__all__ = ["FlatList", "clip_spans", "justify"]
