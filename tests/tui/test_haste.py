"""Keys that come as fast as keys can: none is lost, and none means anything else for that."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Callable
from functools import wraps

import pytest
from textual.command import CommandList
from textual.widgets import Input, Static

from engine import Engine
from engine.model import LaunchOptions, Limits, Progress
from tests.support.traces import Root
from tests.tui.workstation import running, said, until
from tui.commands import Palette
from tui.dialogs.launch import LaunchScreen
from tui.dialogs.welcome import WelcomeScreen
from tui.forest_rows import container_key
from tui.messages import Advanced
from tui.theme import Line
from tui.widgets.containers import Containers
from tui.widgets.flatlist import FlatList
from tui.widgets.resources import Resources

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("pane", ["1", "2", "4"])
async def test_a_key_means_what_the_cursor_is_on_however_soon_it_is_pressed(
    starter_images: Root, pane: str
) -> None:
    async with running(starter_images) as (app, pilot):
        made = [
            app.engine.containers.run(LaunchOptions("starter", ("sleep", "1000"), name=name))
            for name in ("one", "two", "three")
        ]
        await until(pilot, lambda: len(app.desk.query_one(Resources).rows) == len(made))
        await pilot.press(pane)
        await until(pilot, lambda: app.focused is not None and app.desk.pane == app.focused.id)
        there, back = ("g", "G") if pane == "1" else ("G", "g")
        await pilot.press(there)  # Where the cursor is depends on which containers were seen first.
        before = app.desk.container
        await pilot.press(back)
        await until(pilot, lambda: app.desk.container is not None and app.desk.container != before)
        first = app.desk.container
        for key in ("k" if pane == "1" else "j", "p"):  # As fast as keys can come.
            app.simulate_key(key)
        await until(pilot, lambda: said(app).startswith("$ cowl pause"))
        paused = [each.name for each in app.engine.containers.list() if each.state == "paused"]
        assert app.desk.container is not None
        assert paused == [app.desk.container.name]
        assert first is not None
        assert paused != [first.name]


async def test_an_answer_that_is_typed_at_once_is_no_command(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        made = app.engine.containers.run(LaunchOptions("starter", ("sleep", "1000"), name="box"))
        app.desk.select(container_key(made.id))
        await until(pilot, lambda: app.desk.container is not None)
        for key in ("R", "p", "s", "d"):  # As fast as keys can come.
            app.simulate_key(key)
        await until(pilot, lambda: app.desk.command_line._input.value == "boxpsd")
        await pilot.press("enter")
        await until(pilot, lambda: said(app) == "$ cowl rename box boxpsd")
        assert [each.state for each in app.engine.containers.list()] == ["running"]
        for key in ("slash", "s", "p"):
            app.simulate_key(key)
        await until(pilot, lambda: app.desk.command_line._input.value == "sp")
        assert [each.state for each in app.engine.containers.list()] == ["running"]


async def test_the_palette_takes_hasty_keys(starter_images: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(starter_images) as (app, pilot):
        copied: list[bool] = []
        monkeypatch.setattr(app, "action_copy", lambda: copied.append(True))
        for key in ("colon", "pagedown", "pageup"):
            app.simulate_key(key)
        await until(pilot, lambda: isinstance(app.screen, Palette))
        await pilot.press(*"copy")
        found = app.screen.query_one(CommandList)
        await until(
            pilot, lambda: found.option_count > 0 and "copy" in str(found.get_option_at_index(0).prompt)
        )
        for _ in range(4):
            app.simulate_key("enter")
        await until(pilot, lambda: bool(copied) and not isinstance(app.screen, Palette))
        await pilot.pause(0.1)
        assert copied == [True]
        assert len(app.screen_stack) == 1


async def test_answers_may_come_before_a_dialog_is_made(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        form = LaunchScreen("starter:latest")
        app.push_screen(form)
        app._propose(form, "sh -c 'sleep 1'")
        await until(pilot, lambda: form.is_mounted)
        await until(pilot, lambda: form.query_one("#command", Input).placeholder == "sh -c 'sleep 1'")
        form.dismiss(None)
        app._propose(form, "too late")

        welcome = WelcomeScreen(app.engine.root)
        app.push_screen(welcome)
        app.on_advanced(Advanced(Progress("gathering", 1, 2)))
        await until(pilot, lambda: welcome.is_mounted)
        await until(pilot, lambda: "gathering" in str(welcome.query_one("#state", Static).render()))
        welcome.dismiss(None)
        again = WelcomeScreen(app.engine.root)
        app.push_screen(again)
        app._refused()
        await until(pilot, lambda: again.is_mounted)
        await until(pilot, lambda: "did not work" in str(again.query_one("#state", Static).render()))


async def test_fifty_containers_leave_the_loop_to_the_keys(
    starter_images: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a key takes is what is seen of it: the loop asks the engine nothing, and draws nothing else."""
    with Engine(starter_images.path, cgroup_parent=starter_images.cgroup_parent) as engine:
        for number in range(50):
            options = LaunchOptions("starter", ("sleep", "1000"), name=f"box{number}", limits=Limits(pids=20))
            engine.containers.run(options)
    async with running(starter_images) as (app, pilot):
        await until(pilot, lambda: len(app.desk.query_one(Resources).rows) == 50)
        await pilot.press("2", "g")
        await pilot.pause(0.5)
        asked = asked_by_this_thread(app.engine, monkeypatch)
        drawn = drawn_lines(monkeypatch)
        containers = app.desk.query_one(Containers)
        for number in range(40):
            app.simulate_key("j")
            await until(pilot, lambda: containers.cursor == number + 1)  # noqa: B023
        assert asked == []
        assert drawn[True] > 0
        assert drawn[False] == 0


def asked_by_this_thread(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on, the name of every function of the façade that this thread calls."""
    asked: list[str] = []
    here = threading.get_ident()

    def noted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        @wraps(function)
        def call(*arguments: object, **options: object) -> object:
            if threading.get_ident() == here:
                asked.append(name)
            return function(*arguments, **options)

        return call

    for kind in map(type, (engine, engine.images, engine.containers, engine.changes, engine.stats)):
        for name, function in list(vars(kind).items()):
            if inspect.isfunction(function) and not name.startswith("_"):
                monkeypatch.setattr(kind, name, noted(f"{kind.__name__}.{name}", function))
    return asked


def drawn_lines(monkeypatch: pytest.MonkeyPatch) -> Counter[bool]:
    """From now on, how many lines of lists are drawn that are seen, and that are not."""
    drawn: Counter[bool] = Counter()
    spans = FlatList.spans

    def counted(self: FlatList[object], position: int, width: int) -> Line:
        drawn[0 <= position - self.scroll_offset.y < self.size.height] += 1
        return spans(self, position, width)

    monkeypatch.setattr(FlatList, "spans", counted)
    return drawn
