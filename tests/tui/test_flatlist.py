"""The virtual list answers keys and mouse, draws what is visible only, and stays quick when it is long."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from textual.app import App, ComposeResult

from tui.outline import Entry, Outline
from tui.theme import THEMES, Line, Span
from tui.widgets.flatlist import FlatList


class Numbers(FlatList[int]):
    drawn = 0

    def describe(self, entry: Entry[int], width: int) -> tuple[Line, Line]:
        self.drawn += 1
        return (Span(entry.text),), (Span(str(entry.item), "muted"),)


class ListApp(App[None]):
    CSS = "Numbers { border: round white; height: 1fr; }"

    def __init__(self, entries: Sequence[Entry[int]]) -> None:
        super().__init__()
        self.entries = entries
        self.seen: list[str | None] = []
        self.opened: list[str] = []
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = "cowl"

    def compose(self) -> ComposeResult:
        yield Numbers(id="list")

    def on_mount(self) -> None:
        self.list.set_entries(self.entries)
        self.list.focus()

    @property
    def list(self) -> Numbers:
        return self.query_one(Numbers)

    def on_flat_list_highlighted(self, event: FlatList.Highlighted) -> None:
        self.seen.append(event.entry.key if event.entry else None)

    def on_flat_list_activated(self, event: FlatList.Activated) -> None:
        assert event.entry is not None
        self.opened.append(event.entry.key)

    def lines(self) -> list[str]:
        return [
            self.list.render_line(y).text.rstrip() for y in range(self.list.scrollable_content_region.height)
        ]


def tree() -> list[Entry[int]]:
    depths = {"a": 0, "a1": 1, "a1x": 2, "a2": 1, "b": 0, "b1": 1, "c": 0}
    return [Entry(key, depth, f"name {key}", len(key)) for key, depth in depths.items()]


async def test_keys_move_fold_and_open() -> None:
    app = ListApp(tree())
    async with app.run_test(size=(24, 12)) as pilot:
        assert app.lines()[:7] == [
            "▾ name a             1",
            "├▾ name a1           2",
            "│ └─ name a1x        3",
            "└─ name a2           2",
            "▾ name b             1",
            "└─ name b1           2",
            "name c               1",
        ]
        await pilot.press("j", "h")
        assert app.list.outline.shown() == ["a", "a1", "a2", "b", "b1", "c"]
        await pilot.press("h")
        assert app.list.current is not None
        assert app.list.current.key == "a"
        await pilot.press("h")
        assert app.lines()[0] == "▸ name a             1"
        await pilot.press("G")
        assert app.list.current.key == "c"
        await pilot.press("enter")
        assert app.opened == ["c"]
        await pilot.press("g", "enter", "right", "l", "right")
        assert app.list.current.key == "a1x"
        assert app.seen[-1] == "a1x"


async def test_clicks_select_and_the_mark_folds() -> None:
    app = ListApp(tree())
    async with app.run_test(size=(24, 12)) as pilot:
        await pilot.click(Numbers, offset=(10, 4))
        assert app.list.current is not None
        assert app.list.current.key == "a2"
        await pilot.click(Numbers, offset=(1, 1))
        assert app.list.outline.shown() == ["a", "b", "b1", "c"]
        await pilot.click(Numbers, offset=(8, 3), times=2)
        assert app.opened == ["b1"]


async def test_a_refresh_keeps_the_cursor_on_its_entry() -> None:
    app = ListApp(tree())
    async with app.run_test(size=(24, 12)) as pilot:
        app.list.select("b1")
        await pilot.pause()
        app.seen.clear()
        app.list.set_entries([Entry("new", 0, "new", 0), *tree()])
        await pilot.pause()
        assert app.list.current is not None
        assert app.list.current.key == "b1"
        assert app.seen == []
        app.list.set_entries([entry for entry in tree() if entry.key not in ("b", "b1")])
        await pilot.pause()
        assert app.list.current.key == "c"
        assert app.seen == ["c"]
        app.list.set_outline(Outline())
        await pilot.pause()
        assert app.list.current is None
        assert app.seen[-1] is None


async def test_a_filter_shows_matches_with_what_they_hang_from() -> None:
    app = ListApp(tree())
    async with app.run_test(size=(24, 12)):
        app.list.filter("A1X")
        assert app.lines()[:4] == [
            "▾ name a             1",
            "└▾ name a1           2",
            "  └─ name a1x        3",
            "",
        ]
        app.list.filter("")
        assert len(app.list.outline) == 7


async def test_an_empty_list_says_why() -> None:
    app = ListApp([])
    async with app.run_test(size=(24, 12)) as pilot:
        app.list.empty = "nothing here"
        await pilot.press("j", "G", "enter", "h", "l")
        assert app.lines()[0] == "nothing here"


@pytest.mark.parametrize("depth", [1, 1200])
async def test_of_long_and_deep_lists_only_what_is_seen_is_drawn(depth: int) -> None:
    count = 50_000 if depth == 1 else depth
    entries = [Entry(str(n), n % 2 if depth == 1 else n, f"entry {n}", n) for n in range(count)]
    app = ListApp(entries)
    async with app.run_test(size=(80, 24)) as pilot:
        app.list.drawn = 0
        await pilot.press("G")
        assert app.list.current is not None
        assert app.list.current.item == count - 1
        assert app.list.drawn <= 60
        for key, most in (("k", 4), ("k", 4), ("pageup", 60), ("g", 60), ("h", 60), ("l", 60), ("j", 4)):
            app.list.drawn = 0
            await pilot.press(key)
            assert app.list.drawn <= most, key
        assert "entry" in app.lines()[0]
