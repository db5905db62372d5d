"""Logs: followed until one scrolls up, bounded, searched, and harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import ComposeResult

from engine.model import LogLine
from tests.support.steps import steps
from tests.tui.samples import ThemedApp, title
from tui.widgets.logs import MOST, Logs, clean, marked


def said(*texts: str, stream: str = "stdout") -> list[LogLine]:
    return [
        LogLine("2026-01-01T12:04:31.118Z", "stderr" if stream == "stderr" else "stdout", text)
        for text in texts
    ]


class LogsApp(ThemedApp):
    CSS = ThemedApp.CSS + "Logs { height: 12; }"

    def compose(self) -> ComposeResult:
        yield Logs(classes="pane")

    @property
    def logs(self) -> Logs:
        return self.query_one(Logs)

    def lines(self) -> list[str]:
        height = self.logs.scrollable_content_region.height
        return [self.logs.render_line(y).text.rstrip() for y in range(height)]


async def test_streams_are_told_apart_and_times_can_be_hidden() -> None:
    app = LogsApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.logs.start("api")
        app.logs.append(said("hello") + said("oh no", stream="stderr"))
        await pilot.pause()
        stamp = app.lines()[0].split()[0]
        assert stamp.endswith("31.118")
        assert app.lines()[:2] == [f"{stamp}   hello", f"{stamp} ! oh no"]
        await pilot.press("t")
        assert app.lines()[:2] == ["  hello", "! oh no"]
        assert title(app.logs) == "5 Logs · api"


async def test_it_follows_until_one_scrolls_up_and_again_from_the_end() -> None:
    app = LogsApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.logs.start("api")
        app.logs.append(said(*(f"line {n}" for n in range(50))))
        await pilot.pause()
        assert app.lines()[-1].endswith("line 49")
        await pilot.press("k")
        assert not app.logs.following
        app.logs.append(said("line 50"))
        await pilot.pause()
        assert app.lines()[-1].endswith("line 48"), "the view stays where it was"
        assert app.logs.border_subtitle == "paused: G follows"
        await pilot.press("G")
        assert app.logs.following
        app.logs.append(said("line 51"))
        await pilot.pause()
        assert app.lines()[-1].endswith("line 51")
        assert app.logs.border_subtitle == ""


async def test_it_is_bounded_and_a_paused_view_keeps_its_lines_while_old_ones_go() -> None:
    app = LogsApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.logs.start("api")
        app.logs.append(said(*(f"line {n}" for n in range(MOST))))
        await pilot.pause()
        await pilot.press("k")
        top = app.lines()[0]
        app.logs.append(said(*(f"more {n}" for n in range(500))))
        await pilot.pause()
        assert app.logs.virtual_size.height == MOST
        assert app.lines()[0] == top


async def test_a_filter_shows_matching_lines_only_and_marks_them() -> None:
    app = LogsApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.logs.start("api")
        app.logs.append(said("GET /a", "POST /b", "get /c"))
        app.logs.filter("GET")
        app.logs.append(said("another get", "put"))
        await pilot.press("t")
        assert [line for line in app.lines() if line] == ["  GET /a", "  get /c", "  another get"]
        assert app.logs.border_subtitle == "3 of 5 lines"
        assert app.logs.needle == "get"
        app.logs.filter("")
        assert len([line for line in app.lines() if line]) == 5


async def test_a_search_goes_from_match_to_match() -> None:
    app = LogsApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.logs.start("api")
        app.logs.append(said(*("needle" if n % 40 == 0 else f"line {n}" for n in range(200))))
        await pilot.pause()
        assert not app.logs.search("nowhere")
        assert app.logs.search("needle")
        assert app.logs.scroll_offset.y == 160
        await pilot.press("N")
        assert app.logs.scroll_offset.y == 120
        await pilot.press("n")
        assert app.logs.scroll_offset.y == 160
        assert not app.logs.following


async def test_n_is_the_apps_while_nothing_is_searched_for() -> None:
    pressed: list[str] = []

    class Above(LogsApp):
        BINDINGS = [("n", "launch", "launch")]  # noqa: RUF012

        def action_launch(self) -> None:
            pressed.append("n")

    app = Above()
    async with app.run_test(size=(80, 24)) as pilot:
        app.logs.append(said("needle"))
        await pilot.press("n")
        assert pressed == ["n"]
        app.logs.search("needle")
        await pilot.press("n")
        assert pressed == ["n"]


async def test_a_text_takes_the_logs_place_and_gives_it_back() -> None:
    app = LogsApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.logs.start("api")
        app.logs.append(said("hello"))
        app.logs.show_text("Inspect · [api]", '{\n  "Id": "x"\n}')
        assert app.logs.showing_text
        app.logs.append(said("meanwhile"))
        await pilot.pause()
        assert app.lines()[:3] == ["{", '  "Id": "x"', "}"]
        assert app.logs.text == '{\n  "Id": "x"\n}'
        assert title(app.logs) == "Inspect · [api]"
        app.logs.show_log()
        assert app.logs.text == "hello\nmeanwhile"
        assert title(app.logs) == "5 Logs · api"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10%\r50%\r100%", "100%"),
        ("windows\r", "windows"),
        ("a\tb", "a       b"),
        ("bell\x07", "bell␇"),
        ("\x1b[", "␛["),
    ],
)
def test_a_line_cannot_touch_the_terminal(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text(st.characters(), max_size=80))
def test_no_line_ever_can(raw: str) -> None:
    assert not any(ord(sign) < 0x20 or 0x7F <= ord(sign) < 0xA0 for sign in clean(raw))


@given(st.text(max_size=30), st.text(min_size=1, max_size=3))
def test_marks_change_no_text(text: str, needle: str) -> None:
    assert "".join(span.text for span in marked(text, needle.lower(), "text")) == text


async def test_a_line_more_costs_no_more_after_ten_thousand() -> None:
    app = LogsApp()
    async with app.run_test(size=(200, 60)) as pilot:
        app.logs.start("api")
        lines = said(*(f"GET /v1/items?page={n} 200 9ms" for n in range(MOST)))
        app.lines()
        assert steps(lambda: app.logs.append(lines)) < 10 * MOST
        for _ in range(3):
            assert steps(lambda: app.logs.append(lines[:100])) < 20 * 100
            assert steps(app.lines) < 150 * 60, "only what is seen is drawn"
            await pilot.pause()


async def test_a_line_without_an_end_gives_way_to_what_it_becomes() -> None:
    app = LogsApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.logs.start("api")
        app.logs.append(said("one"), said("pass"))
        app.logs.append([], said("password: "))
        await pilot.press("t")
        assert [line for line in app.lines() if line] == ["  one", "  password:"]
        app.logs.filter("password")
        app.logs.append(said("password: secret"))
        assert [line for line in app.lines() if line] == ["  password: secret"]
        app.logs.filter("")
        assert [line for line in app.lines() if line] == ["  one", "  password: secret"]
        app.logs.append([], said("# "))
        app.logs.append(said("two"), said("# "))
        app.logs.start("other")
        app.logs.append(said("three"))
        assert [line for line in app.lines() if line] == ["  three"]
