"""Histories as pictures: eighth blocks in one line, braille dots in several, with the limit drawn.

Braille cells hold two values side by side, four dots high (Unicode, "Braille Patterns", U+2800). Nothing here
looks at more values than there are cells to show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui import theme
from tui.theme import Line, Role, Span
from tui.widgets.lines import strip

BLOCKS = " ▁▂▃▄▅▆▇█"
LEFT = (0x00, 0x40, 0x44, 0x46, 0x47)
RIGHT = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
LEFT_DOT = (0x40, 0x04, 0x02, 0x01)
"""One dot in the left column, from the bottom up."""
Roles: TypeAlias = tuple[Role, Role, Role]
"""Below 60%, below 90%, and from 90% of the limit on."""
LEVELS: Roles = ("good", "warning", "bad")


def columns(values: Sequence[float], count: int, step: int = 1, end: int | None = None) -> list[float]:
    """The newest values, oldest first, as at most `count` columns: each the largest of `step` values.

    `end` is how many values there have ever been: buckets are cut at multiples of `step` of that count, so
    that a column never changes once it is full.
    """
    if count <= 0 or not values:
        return []
    if step <= 1:
        return list(values[max(0, len(values) - count) :])
    total = len(values) if end is None else max(end, len(values))
    newest = (total - 1) // step
    first = max(total - len(values), (newest - count + 1) * step)
    offset = total - len(values)
    found: list[float] = []
    for bucket in range(first // step, newest + 1):
        start = max(first, bucket * step) - offset
        found.append(max(values[start : min((bucket + 1) * step - offset, len(values))]))
    return found


def ceiling(peak: float) -> float:
    """The next of 1, 2, 5, 10, 20… that is not below the peak: a scale that seldom changes."""
    if peak <= 0:
        return 1.0
    unit = 1.0
    while unit * 10 < peak:
        unit *= 10
    while unit > peak:
        unit /= 10
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= peak)


def heights(values: Sequence[float], dots: int, top: float) -> list[int]:
    """How many of `dots` each value is high; anything above nothing is at least one."""
    if top <= 0:
        return [0] * len(values)
    return [
        dots if value >= top else max(1, round(value / top * dots)) if value > 0 else 0 for value in values
    ]


def sparkline(values: Sequence[float], cells: int, limit: float, roles: Roles = LEVELS) -> Line:
    """The newest values in that many cells, a cell each, on the right; coloured by their share of `limit`."""
    shown = columns(values, cells)
    pairs = [
        (BLOCKS[height], role_of(value, limit, roles))
        for value, height in zip(shown, heights(shown, 8, limit), strict=True)
    ]
    spans = [
        Span("".join(block for block, _ in run), role) for role, run in groupby(pairs, lambda pair: pair[1])
    ]
    empty = cells - len(shown)
    return (Span(" " * empty), *spans) if empty > 0 else tuple(spans)


def braille(levels: Sequence[int], cells: int, row: int, mark: int | None = None) -> str:
    """One row of cells, the row counted from the bottom; `levels` are dot heights, two a cell, at the right.

    `mark` is the height of a dotted line, drawn where no column reaches it.
    """
    padded = [0] * (2 * cells - len(levels)) + list(levels[max(0, len(levels) - 2 * cells) :])
    floor = 4 * row
    line = LEFT_DOT[mark - 1 - floor] if mark is not None and floor < mark <= floor + 4 else 0
    text: list[str] = []
    for left, right in zip(padded[::2], padded[1::2], strict=True):
        pattern = LEFT[max(0, min(4, left - floor))] | RIGHT[max(0, min(4, right - floor))]
        text.append(chr(0x2800 + (pattern | line)) if pattern | line else " ")
    return "".join(text)


def role_of(value: float, limit: float, roles: Roles = LEVELS) -> Role:
    """The role of a value by its share of the limit."""
    share = value / limit if limit > 0 else 0.0
    return roles[2] if share >= 0.9 else roles[1] if share >= 0.6 else roles[0]


class Plot(NamedTuple):
    """What a graph shows."""

    values: Sequence[float] = ()
    """Oldest first."""
    title: Line = ()
    note: Line = ()
    """At the right of the title, where there is room."""
    limit: float | None = None
    floor: float = 1.0
    """The scale's least top where there is no limit."""
    roles: Roles = LEVELS
    step: int = 1
    end: int | None = None


class Graph(Widget):
    """A title line and a braille history below it, the limit a dotted line through it."""

    DEFAULT_CSS = "Graph { height: 1fr; width: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.plot = Plot()
        self._base = Style.null()
        self._levels: tuple[tuple[int, int], list[int], float, float, int | None] | None = None

    def show(self, plot: Plot) -> None:
        """Draw this from now on."""
        if plot != self.plot:
            self.plot = plot
            self._levels = None
            self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw a region, its colours found once."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """The title, or one row of dots."""
        width, height = self.size
        styles = theme.styles(self.app.theme)
        if y == 0:
            return strip(self._heading(width), styles, width, self._base)
        rows = height - 1
        levels, top, peak, mark = self._measure(width, rows)
        row = height - 1 - y
        limit = self.plot.limit or top
        reached = any(level > 4 * row for level in levels)
        value = min(peak, (4 * row + 2) / (4 * rows) * top)
        role = role_of(value, limit, self.plot.roles) if reached else "limit"
        return strip((Span(braille(levels, width, row, mark), role),), styles, width, self._base)

    def _heading(self, width: int) -> Line:
        title = sum(len(span.text) for span in self.plot.title)
        note = sum(len(span.text) for span in self.plot.note)
        if not note or title + note + 2 > width:
            return self.plot.title
        return (*self.plot.title, Span(" " * (width - title - note)), *self.plot.note)

    def _measure(self, width: int, rows: int) -> tuple[list[int], float, float, int | None]:
        """Dot heights, the scale's top, the peak and the limit's height; made once for a plot and a size."""
        if self._levels is not None and self._levels[0] == (width, rows):
            return self._levels[1:]
        plot = self.plot
        shown = columns(plot.values, 2 * width, plot.step, plot.end)
        peak = max(shown, default=0.0)
        dots = 4 * rows
        if plot.limit:
            top = max(plot.limit * 1.1, peak)
            mark: int | None = max(1, min(dots, round(plot.limit / top * dots)))
        else:
            top, mark = ceiling(max(peak, plot.floor)), None
        self._levels = ((width, rows), heights(shown, dots, top), top, peak, mark)
        return self._levels[1:]
