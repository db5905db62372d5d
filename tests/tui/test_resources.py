"""The live table: fixed columns, a cursor that follows its container, work only for what changed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from rich.cells import cell_len
from textual.app import ComposeResult
from textual.geometry import Region

from engine.model import Pressure, Sample
from tests.support.steps import steps
from tests.tui.samples import SECOND, Rings, ThemedApp, busy, histories, sample
from tui.figures import figures
from tui.widgets.graph import Graph
from tui.widgets.resource_columns import ORDERS, Row, layout
from tui.widgets.resources import Resources
from tui.widgets.usage import Usage, span


class TableApp(ThemedApp):
    """A table of some height."""

    def __init__(self, height: int = 12) -> None:
        super().__init__()
        self.height = height
        self.selected: list[str] = []

    def compose(self) -> ComposeResult:
        table = Resources(classes="pane")
        table.styles.height = self.height
        yield table

    def on_resources_selected(self, message: Resources.Selected) -> None:
        self.selected.append(message.container_id)

    @property
    def table(self) -> Resources:
        return self.query_one(Resources)

    def lines(self) -> list[str]:
        return [self.table.render_line(y).text for y in range(self.table.content_size.height)]

    def names(self) -> list[str]:
        return [line.split()[0] for line in self.lines()[1 : 1 + len(self.table.rows)] if line.strip()]


def numbered(count: int, tick: int = 1) -> list[Sample]:
    return [
        sample(
            container=f"id{n:03}", name=f"c{n:03}", monotonic_ns=tick * SECOND, cpu_percent=float(count - n)
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("width", range(20, 160, 7))
@pytest.mark.parametrize("with_pressure", [True, False])
def test_columns_always_fit_and_the_name_stays(width: int, with_pressure: bool) -> None:
    fitting = layout(width, 30, with_pressure=with_pressure)
    assert sum(column.width for column in fitting.columns) + fitting.gap * (len(fitting.columns) - 1) <= width
    titles = [column.title for column in fitting.columns]
    assert titles[:2] == ["NAME", "CPU%"]
    assert with_pressure or "PSI" not in titles


def test_all_columns_of_the_drawing_fit_80x24() -> None:
    titles = [column.title for column in layout(76, 12, with_pressure=True).columns]
    assert titles == ["NAME", "CPU%", "30 s", "MEMORY", "IO r/w", "NET", "PID", "THR", "PSI"]


@pytest.mark.parametrize("width", [30, 76, 120])
def test_every_line_has_the_same_width_whatever_it_shows(width: int) -> None:
    fitting = layout(width, 12, with_pressure=True)
    huge = sample(cpu_percent=6400.0, pids=99_999, memory_bytes=1 << 59)
    rows = [Row(now, figures(None, now), histories().get(now.container), 120) for now in [*busy(2), huge]]
    drawn = [fitting.headings(ORDERS[0]), *(fitting.cells(row) for row in rows)]
    widths = {cell_len("".join(span.text for span in fitting.joined(cells))) for cells in drawn}
    assert len(widths) == 1
    assert widths.pop() <= width


async def test_the_table_says_what_the_drawing_says() -> None:
    app = TableApp()
    async with app.run_test(size=(80, 24)):
        for tick in (1, 2):
            app.table.show(busy(tick), histories(), "id-api")
        line = next(line for line in app.lines() if line.startswith("api"))
        assert line.split()[:2] == ["api", "150.0"]
        assert line.split()[-6:] == ["412M/512M", "1.2M/9.0K", "12K/80K", "14", "30%", "21"]
        text = "\n".join(app.lines())
        assert "throttled 30% of periods: quota 1.5 CPUs, it wants about 2.1" in text
        assert "OOM killed 2 times" in text
        assert "% of one core" in str(app.table.border_subtitle)
        assert "1.2G/∞" in text


async def test_the_cursor_stays_on_its_container_when_the_order_changes() -> None:
    app = TableApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.table.show(numbered(4), {}, "id002")
        before = app.names()
        turned = [
            each._replace(cpu_percent=100 - each.cpu_percent, monotonic_ns=2 * SECOND) for each in numbered(4)
        ]
        app.table.show(turned, {})
        assert app.names() == before[::-1]
        assert app.table.selected == "id002"
        await pilot.press("j")
        assert app.selected == ["id001"]
        await pilot.press("G")
        assert app.selected[-1] == "id000"
        await pilot.press("g")
        assert app.selected[-1] == "id003"


async def test_o_sorts_by_one_column_after_the_other() -> None:
    app = TableApp()
    async with app.run_test(size=(80, 24)) as pilot:
        for tick in (1, 2):
            app.table.show(busy(tick), histories())
        seen = {}
        for _ in ORDERS:
            seen[app.table.order.name] = app.names()
            await pilot.press("o")
        assert app.table.order is ORDERS[0]
        assert seen["memory"] == ["notebook", "api", "batch-import", "worker"]
        assert seen["processes"] == ["notebook", "api", "batch-import", "worker"]
        assert seen["IO"] == ["notebook", "api", "batch-import", "worker"]
        assert seen["name"] == sorted(seen["name"])
        assert seen["network"][0] == "api"


async def test_a_click_on_a_heading_sorts_and_on_a_line_selects() -> None:
    app = TableApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.table.show(busy(1), histories())
        await pilot.click(Resources, offset=(2 + app.lines()[0].index("MEMORY"), 1))
        assert app.table.order.name == "memory"
        await pilot.click(Resources, offset=(4, 3))
        assert app.selected == ["id-api"]


async def test_a_low_table_shows_containers_before_sentences_and_scrolls_with_its_cursor() -> None:
    app = TableApp(height=6)
    async with app.run_test(size=(80, 24)) as pilot:
        app.table.show(numbered(20), {}, "id000")
        assert app.names() == ["c000", "c001", "c002"]
        for _ in range(5):
            await pilot.press("j")
        assert "c005" in app.names()
        assert len(app.names()) == 3
        assert "20 running" in str(app.table.border_subtitle)


async def test_an_empty_table_says_what_to_do() -> None:
    app = TableApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.table.show([], {})
        assert "nothing is running" in app.lines()[0]
        await pilot.press("j", "G", "o")
        assert app.selected == []


class Counting(Resources):
    """A table that tells which regions it had drawn anew."""

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self.whole = 0
        super().__init__(classes="pane")

    def refresh(self, *regions: Region, **more: bool) -> Resources:  # type: ignore[override]
        self.regions += regions
        self.whole += not regions and not more
        return super().refresh(*regions, **more)


class CountingApp(ThemedApp):
    def compose(self) -> ComposeResult:
        yield Counting()


async def test_a_tick_refreshes_changed_cells_of_visible_lines_only() -> None:
    app = CountingApp()
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.query_one(Counting)
        table.show(numbered(200), {}, "id000")
        await pilot.pause()
        table.regions, table.whole = [], 0
        changed = [
            each._replace(monotonic_ns=2 * SECOND, pids=7 if each.name in ("c001", "c150") else each.pids)
            for each in numbered(200)
        ]
        table.show(changed, {}, "id000")
        assert table.whole == 0
        assert [(region.y, region.width) for region in table.regions] == [(2, 4)]
        table.regions = []
        table.show([each._replace(monotonic_ns=3 * SECOND) for each in changed], {}, "id000")
        assert table.regions == []


async def test_a_tick_of_fifty_containers_is_little_work_however_long_their_history() -> None:
    async def work(history: int) -> int:
        app = TableApp(height=20)
        async with app.run_test(size=(200, 60)):
            rings = {f"id{n:03}": Rings(*([float(n)] * history for _ in range(4))) for n in range(50)}
            app.table.show(numbered(50, 1), rings)
            ticks = [numbered(50, tick) for tick in range(2, 6)]
            return min(steps(lambda: app.table.show(tick, rings)) for tick in ticks)  # noqa: B023

    short, long = await work(60), await work(600)
    assert short < 400 * 50
    assert long < 1.1 * short


class UsageApp(ThemedApp):
    def __init__(self, height: int) -> None:
        super().__init__()
        self.height = height

    def compose(self) -> ComposeResult:
        usage = Usage(classes="pane")
        usage.styles.height = self.height
        yield usage

    @property
    def usage(self) -> Usage:
        return self.query_one(Usage)

    def shown(self) -> list[str]:
        return ["".join(span.text for span in graph.plot.title) for graph in visible(self.query(Graph))]


def visible(graphs: Iterable[Graph]) -> list[Graph]:
    return [graph for graph in graphs if graph.has_class("-shown")]


async def test_the_detail_says_what_is_used_of_what() -> None:
    app = UsageApp(11)
    async with app.run_test(size=(46, 24)) as pilot:
        for tick in (1, 2):
            app.usage.show("api", busy(tick)[0], histories()["id-api"])
            await pilot.pause()
        assert app.shown() == ["CPU 150/150%", "Mem 412M/512M", "IO r 1.2M w 9.0K", "Pids 14/50"]
        assert str(app.usage.border_title) == "api"
        assert app.usage.border_subtitle == "2 min"
        limits = [graph.plot.limit for graph in visible(app.query(Graph))]
        assert limits == [150.0, 512 << 20, None, 50]


async def test_pressure_has_a_graph_where_there_is_room_and_a_kernel_that_tells() -> None:
    app = UsageApp(20)
    async with app.run_test(size=(46, 24)) as pilot:
        app.usage.show("api", busy(1)[0], histories()["id-api"])
        await pilot.pause()
        assert app.shown()[-1] == "PSI cpu 21 mem 0 io 4%"
        silent = sample(container="other", name="other")
        app.usage.show("other", silent, histories()["id-worker"])
        assert len(app.shown()) == 4
        app.usage.show("other", silent._replace(pressure=Pressure(1, 2, 3)), histories()["id-worker"])
        assert len(app.shown()) == 5


async def test_what_does_not_run_has_no_graph() -> None:
    app = UsageApp(11)
    async with app.run_test(size=(46, 24)):
        app.usage.show("api", busy(1)[0], histories()["id-api"])
        app.usage.show("cache", None, None)
        assert app.shown() == ["not running", "", "", ""]
        assert str(app.usage.border_title) == "cache"


def test_spans_of_time_read_as_people_say_them() -> None:
    assert [span(36), span(120), span(136)] == ["36 s", "2 min", "2 min"]
