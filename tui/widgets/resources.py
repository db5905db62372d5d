"""Pane 4: what every running container uses, one line each, and a plain sentence where a number needs one.

The table is drawn line by line from cells of fixed width; a tick refreshes only the cells whose text changed,
and only of the lines that can be seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.model import Sample
from tui import format as fmt
from tui import theme
from tui.figures import figures, sentences
from tui.series import History
from tui.theme import Line, Role, Span
from tui.widgets.lines import strip
from tui.widgets.resource_columns import ORDERS, Layout, Row, layout

SAID_AT_MOST = 3
LEAST_HEIGHT = 5
"""Lines of a table that is so low that all containers go before sentences about one."""


class Resources(Widget, can_focus=True):
    """The live table. `show` it samples; it posts `Selected` when its cursor comes to another container."""

    BORDER_TITLE = "4 Resources"
    DEFAULT_CSS = "Resources { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Down", show=False, id="resources.down"),
        Binding("k,up", "move(-1)", "Up", show=False, id="resources.up"),
        Binding("g,home", "edge(0)", "First", show=False, id="resources.first"),
        Binding("G,end", "edge(-1)", "Last", show=False, id="resources.last"),
        Binding("o", "sort", "Sort by the next column", show=False, id="resources.sort"),
    ]

    class Selected(Message):
        """The cursor came to a container."""

        def __init__(self, container_id: str) -> None:
            super().__init__()
            self.container_id = container_id

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.rows: list[Row] = []
        self.order = ORDERS[0]
        self.selected: str | None = None
        self.moved = False
        """Whether the cursor has moved and nobody has looked where to yet: the message is on its way."""
        self._latest: dict[str, Row] = {}
        self._top = 0
        self._layout = Layout((), 1)
        self._drawn: dict[int, list[Line]] = {}
        """The cells of each line as they stand on the screen."""
        self._said: list[Line] = []
        self._base = Style.null()
        self._note()

    # What comes in.

    def show(
        self,
        samples: Sequence[Sample],
        histories: Mapping[str, History],
        selected: str | None = None,
        paused: Collection[str] = (),
    ) -> None:
        """A tick: newer samples. The cursor stays on its container, or goes to `selected`.

        *paused*: the IDs of the containers that are frozen.
        """
        self._latest = {
            sample.container: self._row(sample, histories.get(sample.container))._replace(
                paused=sample.container in paused
            )
            for sample in samples
        }
        if selected is not None:
            self.selected = selected
        self._arrange()

    def select(self, container_id: str | None) -> None:
        """Put the cursor on a container, without saying so."""
        if container_id != self.selected:
            self.selected = container_id
            self._redraw()

    def _row(self, sample: Sample, history: History | None) -> Row:
        last = self._latest.get(sample.container)
        if last is None:
            return Row(sample, figures(None, sample), history, len(history.cpu) if history is not None else 0)
        if last.sample.monotonic_ns == sample.monotonic_ns:
            return last._replace(history=history)
        return Row(sample, figures(last.sample, sample), history, last.tick + 1)

    # Keys and mouse.

    def action_move(self, lines: int) -> None:
        """The next or previous line."""
        self._go(self._cursor() + lines)

    def action_edge(self, line: int) -> None:
        """The first or last line."""
        self._go(line if line >= 0 else len(self.rows) - 1)

    def action_sort(self) -> None:
        """Sort by the next of the columns."""
        self._sort_by(ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)].column)

    def on_click(self, event: events.Click) -> None:
        """A click on a heading sorts by it, on a line selects it."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if 0 < offset.y <= self._visible():
            self._go(self._top + offset.y - 1)
        elif offset.y == 0:
            for column, (x, width) in zip(self._layout.columns, self._layout.spans(), strict=True):
                if x <= offset.x < x + width:
                    self._sort_by(column.title)

    def on_mouse_scroll_down(self) -> None:
        """The wheel moves the view."""
        self._scroll(1)

    def on_mouse_scroll_up(self) -> None:
        """The wheel moves the view."""
        self._scroll(-1)

    def on_focus(self) -> None:
        """The cursor shows where the keys go."""
        self._redraw()

    def on_blur(self) -> None:
        """The cursor fades."""
        self._redraw()

    def on_resize(self, event: events.Resize) -> None:
        """Other columns may fit."""
        self._redraw()

    # Drawing.

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw a region, its colours found once."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """The headings, a container, or a sentence about one."""
        width = self.content_size.width
        styles = theme.styles(self.app.theme)
        line, ground = self._line(y)
        return strip(line, styles, width, self._base, ground=ground)

    def _line(self, y: int) -> tuple[Line, Role | None]:
        if not self.rows:
            empty = Span("nothing is running: n on an image launches a container", "muted")
            return ((empty,) if y == 0 else (), None)
        if y == 0:
            return self._layout.joined(self._layout.headings(self.order)), None
        index = self._top + y - 1
        if y <= self._visible() and index < len(self.rows):
            if y not in self._drawn:
                self._drawn[y] = self._layout.cells(self.rows[index])
            here = self.rows[index].sample.container == self.selected
            return self._layout.joined(self._drawn[y]), self._cursor_role() if here else None
        at = y - self._said_from()
        return (self._said[at] if 0 <= at < len(self._said) else ()), None

    def _cursor_role(self) -> Role:
        return "cursor" if self.has_focus else "cursor_dim"

    def _arrange(self) -> None:
        """Sort, and refresh the cells that changed; everything, where lines or columns themselves did."""
        before = self._shown()
        self.rows = sorted(self._latest.values(), key=lambda row: (self.order.key(row), row.sample.name))
        top = self._top
        self._reveal()
        said = self._sentences()
        moved = self._shown() != before or top != self._top or len(said) != len(self._said)
        if moved or self._fitting() != self._layout:
            self._redraw()
            return
        regions: list[Region] = []
        for y, row in enumerate(self.rows[self._top : self._top + self._visible()], 1):
            fresh = self._layout.cells(row)
            for (x, width), was, new in zip(
                self._layout.spans(), self._drawn.get(y, fresh), fresh, strict=True
            ):
                if was != new:
                    regions.append(Region(x, y, width, 1))
            self._drawn[y] = fresh
        if said != self._said:
            self._said = said
            regions.append(Region(0, self._said_from(), self.content_size.width, len(said)))
        if regions:
            self.refresh(*regions)

    def _redraw(self) -> None:
        self._layout = self._fitting()
        self._said = self._sentences()
        self._reveal()
        self._drawn.clear()
        self._note()
        self.refresh()

    def _fitting(self) -> Layout:
        longest = max((len(row.sample.name) for row in self.rows), default=0)
        pressed = any(row.sample.pressure is not None for row in self.rows)
        return layout(self.content_size.width, longest, with_pressure=pressed)

    def _note(self) -> None:
        hidden = len(self.rows) - self._visible()
        more = f"{len(self.rows)} running · " if hidden > 0 else ""
        if not self.rows:
            self.border_subtitle = ""
            return
        self.border_subtitle = f"{more}by {self.order.name} · 1 s · % of one core"

    def _sort_by(self, column: str) -> None:
        self.order = next((order for order in ORDERS if order.column == column), self.order)
        self._arrange()
        self._redraw()

    def _visible(self) -> int:
        """How many containers can be seen, between the headings and the sentences."""
        return max(0, self.content_size.height - 1 - len(self._said))

    def _shown(self) -> list[str]:
        return [row.sample.container for row in self.rows[self._top : self._top + self._visible()]]

    def _said_from(self) -> int:
        """The line of the first sentence: a blank line below the table, or as far down as there is room."""
        return min(self.content_size.height - len(self._said), len(self.rows) + 2)

    def _sentences(self) -> list[Line]:
        """About the selected container first, then about the others, in at most a third of the room."""
        height, width = self.content_size.height - 1, self.content_size.width
        room = min(SAID_AT_MOST, max(0, height) // 3)
        if height < LEAST_HEIGHT and len(self.rows) >= height:
            return []
        said: list[Line] = []
        for row in sorted(self.rows, key=lambda row: row.sample.container != self.selected):
            if len(said) == room:
                break
            if words := sentences(row.sample, row.figures):
                name = fmt.clip(fmt.safe(row.sample.name), 20)
                sentence = fmt.clip(" · ".join(words), width - len(name) - 3)
                said.append((Span(f" {name} ", "badge"), Span(f" {sentence}")))
        return said

    # The cursor.

    def _cursor(self) -> int:
        found = (index for index, row in enumerate(self.rows) if row.sample.container == self.selected)
        return next(found, -1)

    def _go(self, line: int) -> None:
        if self.rows:
            container = self.rows[max(0, min(line, len(self.rows) - 1))].sample.container
            if container != self.selected:
                self.select(container)
                self.moved = True
                self.post_message(self.Selected(container))

    def _reveal(self) -> None:
        cursor, visible = self._cursor(), self._visible()
        self._top = max(0, min(self._top, len(self.rows) - visible))
        if cursor >= 0 and visible > 0:
            self._top = min(max(self._top, cursor - visible + 1), cursor)

    def _scroll(self, lines: int) -> None:
        top = max(0, min(self._top + lines, len(self.rows) - self._visible()))
        if top != self._top:
            self._top = top
            self._drawn.clear()
            self.refresh()
