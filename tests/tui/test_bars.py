"""The lines at the top and bottom: what matters most is there at every width; questions answered by keys."""

from __future__ import annotations

import pytest
from textual.app import ComposeResult
from textual.events import Key
from textual.widgets import Button, Input

from engine.model import HostFigures, Pressure, Progress
from tests.tui.samples import ThemedApp
from tui.widgets.commandline import CommandLine, KeyBar, places, progress_line
from tui.widgets.header import TopBar, cells

GIB = 1 << 30
HOST = HostFigures(61.0, 3 * GIB, 24 * GIB, 1.2, 61 << 20, Pressure(1.0, 0.0, 4.0))
KEYS = (("space", "stage"), ("c", "commit"), ("d", "discard"), ("e", "shell"), ("?", "help"))


class BarsApp(ThemedApp):
    def __init__(self) -> None:
        super().__init__()
        self.pressed: list[str] = []
        self.answers: list[str | None] = []
        self.typed: list[str] = []

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Button("elsewhere")
        yield CommandLine()
        yield KeyBar()

    def on_key(self, event: object) -> None:
        self.pressed.append(getattr(event, "key", ""))

    def ask(self) -> None:
        self.query_one(CommandLine).ask("commit as", "api:1", self.answers.append, self.typed.append)

    def said(self) -> str:
        return str(self.query_one(CommandLine).query_one(".said").render())


@pytest.mark.parametrize("width", range(30, 200, 3))
def test_the_top_bar_fits_every_width_and_always_says_what_runs(width: int) -> None:
    bar = TopBar()
    bar._root, bar._states, bar._host = "/var/lib/cowl", {"running": 2, "paused": 1, "dead": 1}, HOST
    bar._cpu.extend([5, 20, 40, 61])
    line = bar.line(width)
    text = "".join(span.text for span in line)
    assert cells(line) <= width
    for mark in ("cowl", "● 2", "◐ 1", "○ 1"):
        assert mark in text
    if width >= 78:
        for part in ("/var/lib/cowl", "CPU", "61%", "3.0G/24G", "cowl 1.2% 61M"):
            assert part in text
    if width >= 120:
        assert "PSI io 4%" in text


async def test_the_top_bar_remembers_the_machines_cpu_a_tick_at_a_time() -> None:
    app = BarsApp()
    async with app.run_test(size=(120, 10)):
        bar = app.query_one(TopBar)
        first = HOST._replace(cpu_percent=99.0)
        bar.show("/r", {}, first)
        bar.show("/r", {"running": 1}, first)
        bar.show("/r", {"running": 1}, HOST._replace(cpu_percent=3.0))
        assert list(bar._cpu) == [99.0, 3.0]
        assert "█▁ 3%" in bar.render_line(0).text


@pytest.mark.parametrize("width", range(5, 60))
def test_keys_are_cut_between_entries(width: int) -> None:
    found = places(KEYS, width)
    assert [entry[:2] for entry in found] == list(KEYS[: len(found)])
    assert all(end <= width for *_, end in found)


async def test_a_click_on_a_key_presses_it() -> None:
    app = BarsApp()
    async with app.run_test(size=(80, 10)) as pilot:
        app.query_one(KeyBar).show(KEYS)
        text = app.query_one(KeyBar).render_line(0).text
        for word in ("discard", "help"):
            await pilot.click(KeyBar, offset=(1 + text.index(word), 0))
        await pilot.pause()
        assert app.pressed == ["d", "question_mark"]


async def test_the_command_just_done_is_shown_as_it_would_be_typed() -> None:
    app = BarsApp()
    async with app.run_test(size=(80, 10)) as pilot:
        app.query_one(CommandLine).show("cowl commit api '[b]x'", "z undoes")
        await pilot.pause()
        assert app.said() == "$ cowl commit api '[b]x'   z undoes"
        app.query_one(CommandLine).say("nothing\x1b to do", "warning")
        assert app.said() == "nothing␛ to do"


async def test_enter_answers_and_the_focus_goes_back() -> None:
    app = BarsApp()
    async with app.run_test(size=(80, 10)) as pilot:
        app.query_one(Button).focus()
        await pilot.pause()
        app.ask()
        await pilot.press("backspace", "2", "enter")
        assert app.typed == ["api:", "api:2"]
        assert app.answers == ["api:2"]
        assert app.focused is app.query_one(Button)
        assert not app.query_one(CommandLine).asking


async def test_escape_answers_nothing_and_ctrl_u_clears() -> None:
    app = BarsApp()
    async with app.run_test(size=(80, 10)) as pilot:
        app.ask()
        await pilot.press("ctrl+u", "x", "escape")
        assert app.typed == ["", "x"]
        assert app.answers == [None]


async def test_the_next_key_is_the_answers_first_however_fast_it_comes() -> None:
    app = BarsApp()
    async with app.run_test(size=(80, 10)) as pilot:
        app.query_one(Button).focus()
        await pilot.pause()
        app.ask()
        for key in ("x", "enter"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        assert app.answers == ["api:1x"]


async def test_keys_are_taken_in_their_order_however_fast_they_come() -> None:
    app = BarsApp()
    async with app.run_test(size=(80, 10)) as pilot:
        app.ask()
        await pilot.pause()
        for key in ("backspace", "2", "ctrl+u", "a", "b", "left", "c", "end", "d", "enter", "e"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        assert app.answers == ["acbd"]


async def test_going_elsewhere_and_asking_again_answer_nothing() -> None:
    app = BarsApp()
    async with app.run_test(size=(80, 10)) as pilot:
        app.query_one(Button).focus()
        await pilot.pause()
        app.ask()
        app.ask()
        assert app.answers == [None]
        await pilot.pause()
        assert isinstance(app.focused, Input)
        app.query_one(Button).focus()
        await pilot.pause()
        assert app.answers == [None, None]
        assert app.focused is app.query_one(Button)


async def test_asking_while_a_question_is_open_asks() -> None:
    app = BarsApp()
    async with app.run_test(size=(80, 10)) as pilot:
        app.query_one(Button).focus()
        await pilot.pause()
        app.ask()
        await pilot.pause()
        app.ask()
        await pilot.pause()
        assert app.answers == [None]
        await pilot.press("x", "enter")
        assert app.answers == [None, "api:1x"]
        assert app.focused is app.query_one(Button)


@pytest.mark.parametrize("done", [0, 1, 50, 100, 130])
def test_progress_never_leaves_its_bar(done: int) -> None:
    line = progress_line(Progress("loading", done, 100), 24)
    assert sum(len(span.text) for span in line if "━" in span.text) == 24
    assert f"{min(done, 100)}%" in "".join(span.text for span in line)


def test_progress_without_a_total_says_how_much() -> None:
    text = "".join(span.text for span in progress_line(Progress("reading", 5 << 20, None), 24))
    assert text == "reading  5.0M"
