"""The columns of the resource table: what each shows, how wide it is, which go first where room is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.model import Sample
from tui import format as fmt
from tui import theme
from tui.figures import Figures, memory_share, pressure
from tui.series import History
from tui.theme import Line, Role, Span
from tui.widgets import graph

SPARK = "30 s"
PEAK = "PEAK"
PSI = "PSI"
LEAST_NAME = 8
MOST_NAME = 24
CALM = 10
"""Sorting by CPU looks at the mean of so many ticks, so that lines do not jump about."""
FULL_CORE = 100.0


class Row(NamedTuple):
    """One container as the table sees it."""

    sample: Sample
    figures: Figures
    history: History | None
    tick: int
    """How many samples there have been: buckets of the sparkline are cut by it."""
    paused: bool = False


class Column(NamedTuple):
    """A column of fixed width. Priority 0 always stays; the highest goes first where room is short."""

    title: str
    width: int
    priority: int
    cell: Callable[[Row, int], Line]
    left: bool = False


class Order(NamedTuple):
    """A way to sort: the column that tells it, and a key of which the smallest comes first."""

    name: str
    column: str
    key: Callable[[Row], float | str]


class Layout(NamedTuple):
    """The columns that fit a width, and the blanks between them."""

    columns: tuple[Column, ...]
    gap: int

    def spans(self) -> list[tuple[int, int]]:
        """Where each column begins and how wide it is."""
        found, x = [], 0
        for column in self.columns:
            found.append((x, column.width))
            x += column.width + self.gap
        return found

    def cells(self, row: Row) -> list[Line]:
        """One container's cells."""
        return [column.cell(row, column.width) for column in self.columns]

    def headings(self, order: Order) -> list[Line]:
        """The titles; the one that is sorted by stands out."""
        headings: list[Line] = []
        for column in self.columns:
            role: Role = "accent" if column.title == order.column else "muted"
            place = fmt.fit if column.left else fmt.fit_right
            headings.append((Span(place(column.title, column.width), role),))
        return headings

    def joined(self, cells: Sequence[Line]) -> Line:
        """Cells side by side as one line."""
        spans: list[Span] = []
        for cell in cells:
            spans += cell
            spans.append(Span(" " * self.gap))
        return tuple(spans[:-1])


def layout(width: int, longest_name: int, *, with_pressure: bool) -> Layout:
    """Which columns fit `width` cells, and how wide they are."""
    columns = [column for column in COLUMNS if with_pressure or column.title != PSI]
    while len(columns) > 2 and total(columns, 1) > width:
        columns.remove(max(columns, key=lambda column: column.priority))
    if total(columns, 2) > width:
        columns = [column for column in columns if column.title != PEAK]
    gap = 2 if total(columns, 2) + max(0, min(longest_name, 12) - LEAST_NAME) <= width else 1
    name = min(MOST_NAME, max(LEAST_NAME, longest_name), LEAST_NAME + max(0, width - total(columns, gap)))
    columns[0] = columns[0]._replace(width=name)
    spark = next((at for at, column in enumerate(columns) if column.title == SPARK), None)
    if spark is not None:
        room = width - total(columns, gap) + columns[spark].width
        best = next((cells for cells in (30, 15) if cells <= room), columns[spark].width)
        columns[spark] = columns[spark]._replace(width=best)
    return Layout(tuple(columns), gap)


def total(columns: Sequence[Column], gap: int) -> int:
    """The cells that these columns take."""
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _right(text: str, width: int, role: Role = "text") -> Line:
    return (Span(fmt.fit_right(text, width), role),)


def _pair(first: str, second: str, width: int, role: Role = "text") -> Line:
    return _right(f"{first}/{second}", width, "faint" if first == second == "0" else role)


def _name(row: Row, width: int) -> Line:
    return (Span(fmt.fit(fmt.safe(row.sample.name), width), "paused" if row.paused else "running"),)


def _cpu(row: Row, width: int) -> Line:
    if row.paused:
        return _right("paused", width, "paused")
    limit = row.sample.cpu_limit
    role: Role = "text"
    if limit is not None and row.sample.cpu_percent >= 90.0 * limit:
        role = "warning"
    return _right(fmt.percent(row.sample.cpu_percent), width, role)


def _spark(row: Row, width: int) -> Line:
    if row.history is None:
        return (Span(" " * width),)
    limit = (row.sample.cpu_limit or 0.0) * 100
    step = max(1, 30 // width)
    shown = graph.columns(row.history.cpu, width, step, row.tick)
    return graph.sparkline(shown, width, limit or max(FULL_CORE, *shown, 0.0))


def _memory(row: Row, width: int) -> Line:
    sample = row.sample
    limit = fmt.short_size(sample.memory_limit_bytes) if sample.memory_limit_bytes else "∞"
    share = memory_share(sample)
    role: Role = "text" if share is None or share < 0.6 else theme.level(share)
    return _right(f"{fmt.short_size(sample.memory_bytes)}/{limit}", width, role)


def _peak(row: Row, width: int) -> Line:
    return _right(fmt.size(row.sample.memory_peak_bytes), width, "muted")


def _io(row: Row, width: int) -> Line:
    return _pair(fmt.short_size(row.figures.io_read), fmt.short_size(row.figures.io_write), width)


def _net(row: Row, width: int) -> Line:
    return _pair(fmt.short_size(row.figures.net_rx), fmt.short_size(row.figures.net_tx), width)


def _pids(row: Row, width: int) -> Line:
    limit = row.sample.pids_limit
    return _right(str(row.sample.pids), width, "bad" if limit and row.sample.pids >= 0.9 * limit else "text")


def _throttled(row: Row, width: int) -> Line:
    share = row.figures.throttled
    if share is None:
        return _right("-", width, "faint")
    return _right(f"{share:.0%}", width, "faint" if share < 0.005 else "warning" if share < 0.1 else "bad")


def _psi(row: Row, width: int) -> Line:
    worst = pressure(row.sample)
    if worst is None:
        return _right("-", width, "faint")
    return _right(f"{worst:.0f}", width, "faint" if worst < 0.5 else "bad" if worst >= 20 else "text")


COLUMNS = (
    Column("NAME", LEAST_NAME, 0, _name, left=True),
    Column("CPU%", 6, 0, _cpu),
    Column(SPARK, 10, 4, _spark, left=True),
    Column("MEMORY", 9, 1, _memory),
    Column(PEAK, 5, 9, _peak),
    Column("IO r/w", 9, 3, _io),
    Column("NET", 9, 5, _net),
    Column("PID", 4, 2, _pids),
    Column("THR", 4, 6, _throttled),
    Column(PSI, 3, 7, _psi),
)


def _recent_cpu(row: Row) -> float:
    recent = row.history.cpu[-CALM:] if row.history is not None else ()
    return -(sum(recent) / len(recent) if recent else row.sample.cpu_percent)


ORDERS = (
    Order("CPU", "CPU%", _recent_cpu),
    Order("memory", "MEMORY", lambda row: -row.sample.memory_bytes),
    Order("IO", "IO r/w", lambda row: -(row.figures.io_read + row.figures.io_write)),
    Order("network", "NET", lambda row: -(row.figures.net_rx + row.figures.net_tx)),
    Order("processes", "PID", lambda row: -row.sample.pids),
    Order("name", "NAME", lambda row: row.sample.name),
)
