"""Lines of spans on the screen: one as a strip, and a view of very many that makes only the visible ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import theme
from tui.theme import Line, Role, Span


def strip(
    line: Line,
    styles: Mapping[Role, Style],
    cells: int,
    base: Style,
    *,
    skip: int = 0,
    ground: Role | None = None,
) -> Strip:
    """One line in exactly that many cells, on `base`, its first `skip` cells scrolled away to the left.

    `ground` is a role that lies under the whole line, to its end; where that is reverse video (a theme
    without backgrounds), it is all that is seen.
    """
    under = base + styles[ground] if ground else base
    plain = under.reverse
    drawn = Strip([Segment(span.text, under if plain else under + styles[span.role]) for span in line])
    return drawn.crop_extend(skip, skip + cells, under)


class Lines(ScrollView, can_focus=True):
    """Many lines; subclasses give `line` and call `resize` when their number or width changes."""

    DEFAULT_CSS = """
    Lines { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; overflow-x: auto; overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll(1, 0)", "Down", show=False, id="lines.down"),
        Binding("k,up", "scroll(-1, 0)", "Up", show=False, id="lines.up"),
        Binding("right", "scroll(0, 8)", "Right", show=False, id="lines.right"),
        Binding("left", "scroll(0, -8)", "Left", show=False, id="lines.left"),
        Binding("g,home", "edge(False)", "First", show=False, id="lines.first"),
        Binding("G,end", "edge(True)", "Last", show=False, id="lines.last"),
        Binding("pagedown,ctrl+d", "page(1)", "Page down", show=False, id="lines.page_down"),
        Binding("pageup,ctrl+u", "page(-1)", "Page up", show=False, id="lines.page_up"),
    ]

    def line(self, index: int) -> tuple[Line, Role | None]:
        """The line of that number and the role that lies under it; each view has its own."""
        return (), None

    def resize(self, lines: int, cells: int) -> None:
        """There are so many lines now, the longest of so many cells."""
        if self.virtual_size != (cells, lines):
            self.virtual_size = Size(cells, lines)
        self.refresh()

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.base = Style.null()
        """What lies under everything: the widget's own colours, found once for all lines."""
        self.empty = ""
        """The sentence that stands where there are no lines."""

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw the visible lines of a region."""
        self.base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Draw one visible line."""
        scroll_x, scroll_y = self.scroll_offset
        index = y + scroll_y
        width = self.scrollable_content_region.width
        styles = theme.styles(self.app.theme)
        if index >= self.virtual_size.height:
            empty = self.empty if index == 0 else ""
            return strip((Span(empty, "muted"),), styles, width, self.base)
        line, ground = self.line(index)
        return strip(line, styles, width, self.base, skip=scroll_x, ground=ground)

    def action_scroll(self, lines: int, cells: int) -> None:
        """Move the view."""
        self.scroll_relative(x=cells, y=lines, animate=False, immediate=True)

    def action_page(self, pages: int) -> None:
        """Move by what is visible less one line."""
        self.action_scroll(pages * max(1, self.scrollable_content_region.height - 1), 0)

    def action_edge(self, last: bool) -> None:
        """Go to the first or the last line."""
        bottom = self.max_scroll_y if last else 0
        self.scroll_to(y=bottom, animate=False, immediate=True)

    def notify_style_update(self) -> None:
        """Another theme: everything is drawn again."""
        super().notify_style_update()
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        """Another size: everything is drawn again."""
        self.refresh()
