"""Graphs: every dot stands for a value, columns do not change once they are full, work ends at the edge."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from tui.theme import THEMES, Span
from tui.widgets.graph import (
    BLOCKS,
    Graph,
    Plot,
    braille,
    ceiling,
    columns,
    heights,
    sparkline,
)

VALUES = st.lists(st.floats(0, 1e12), max_size=80)


def dots(rows: Sequence[str]) -> list[int]:
    """How many dots each column has: the picture read back."""
    counts: list[int] = []
    for cells in zip(*rows, strict=True):
        patterns = [0 if cell == " " else ord(cell) - 0x2800 for cell in cells]
        counts.append(sum((pattern & 0x47).bit_count() for pattern in patterns))
        counts.append(sum((pattern & 0xB8).bit_count() for pattern in patterns))
    return counts


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(1, 20))
def test_braille_has_as_many_dots_as_the_heights_say(levels: list[int], cells: int) -> None:
    rows = [braille(levels, cells, row) for row in (2, 1, 0)]
    shown = levels[-2 * cells :]
    assert dots(rows) == [0] * (2 * cells - len(shown)) + shown
    assert all(len(row) == cells for row in rows)


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(1, 12))
def test_the_limit_is_a_line_that_hides_no_value(levels: list[int], mark: int) -> None:
    cells = 10
    plain = dots([braille(levels, cells, row) for row in (2, 1, 0)])
    lined = dots([braille(levels, cells, row, mark) for row in (2, 1, 0)])
    expected = [count + (index % 2 == 0 and count < mark) for index, count in enumerate(plain)]
    assert lined == expected


@given(VALUES, st.integers(1, 64), st.floats(0.001, 1e12))
def test_heights_stay_in_the_graph_and_nothing_vanishes(values: list[float], most: int, top: float) -> None:
    for value, height in zip(values, heights(values, most, top), strict=True):
        assert 0 <= height <= most
        assert (height > 0) == (value > 0)


@given(st.floats(1e-6, 1e15))
def test_the_scale_is_the_next_round_number(peak: float) -> None:
    top = ceiling(peak)
    assert peak <= top <= peak * 2.5 * (1 + 1e-9)


@given(VALUES, st.integers(1, 20), st.integers(1, 6))
def test_full_columns_never_change(values: list[float], count: int, step: int) -> None:
    before = columns(values, count, step, len(values))
    after = columns([*values, 7.0], count, step, len(values) + 1)
    assert len(after) <= count
    if len(values) % step == 0:
        kept = before[-(count - 1) :] if count > 1 else []
        assert after == [*kept, 7.0]
    else:
        assert after[:-1] == before[:-1]


@given(VALUES, st.integers(1, 20), st.integers(1, 6), st.integers(0, 500))
def test_a_ring_that_lost_its_beginning_keeps_its_columns(
    values: list[float], count: int, step: int, lost: int
) -> None:
    whole = columns([0.0] * lost + values, count, step)
    ring = columns(values, count, step, lost + len(values))
    complete = len(values) // step
    assert ring[-complete:] == whole[-complete:] if complete else True
    assert len(ring) <= count


def test_columns_show_the_peak_of_what_they_stand_for() -> None:
    assert columns([1, 9, 2, 3, 4], 3, 2) == [9, 3, 4]
    assert columns([1, 2, 3], 2) == [2, 3]
    assert columns([], 5) == []
    assert columns([1.0], 0) == []


def test_a_sparkline_is_as_wide_as_asked_and_told_by_level() -> None:
    line = sparkline([10, 65, 95], 5, 100)
    assert line == (Span("  "), Span(BLOCKS[1], "good"), Span(BLOCKS[5], "warning"), Span(BLOCKS[8], "bad"))


@given(VALUES, st.integers(0, 40), st.floats(0, 1e9, allow_subnormal=True))
def test_a_sparkline_never_spills(values: list[float], cells: int, limit: float) -> None:
    assert sum(len(span.text) for span in sparkline(values, cells, limit)) == cells


class GraphApp(App[None]):
    CSS = "Graph { width: 20; height: 5; }"

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(THEMES[0])
        self.theme = "cowl"

    def compose(self) -> ComposeResult:
        yield Graph()

    def rows(self) -> list[str]:
        graph = self.query_one(Graph)
        return [graph.render_line(y).text for y in range(5)]


async def test_a_graph_has_its_title_its_note_and_its_limit() -> None:
    app = GraphApp()
    async with app.run_test() as pilot:
        app.query_one(Graph).show(Plot([50.0] * 40, (Span("CPU 50%"),), (Span("peak 50%"),), limit=100.0))
        await pilot.pause()
        title, *rows = app.rows()
        assert title == "CPU 50%     peak 50%"
        counts = dots(rows)
        assert counts[1::2] == [7] * 20, "50 of a scale of 110 on 16 dots"
        assert counts[0::2] == [8] * 20, "and one more for the limit in every other column"


async def test_a_note_without_room_is_left_out() -> None:
    app = GraphApp()
    async with app.run_test():
        app.query_one(Graph).show(Plot([], (Span("IO r 1.2M w 100K"),), (Span("peak"),)))
        assert app.rows()[0].rstrip() == "IO r 1.2M w 100K"


class Watched(list[float]):
    """Values that count how many of them were looked at."""

    seen = 0

    def __getitem__(self, key):  # type: ignore[no-untyped-def]
        found = super().__getitem__(key)
        self.seen += len(found) if isinstance(key, slice) else 1
        return found

    def __iter__(self):  # type: ignore[no-untyped-def]
        raise AssertionError("a graph has no business with all values")


async def test_only_what_can_be_seen_is_looked_at() -> None:
    app = GraphApp()
    async with app.run_test():
        values = Watched([1.0] * 100_000)
        app.query_one(Graph).show(Plot(values, end=100_000))
        app.rows()
        assert values.seen <= 40
