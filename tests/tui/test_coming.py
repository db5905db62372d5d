"""Questions that take a moment to be made: asked once, and answered by what is pressed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.errors import CowlError
from engine.model import LaunchOptions
from tests.support.traces import Root
from tests.tui.test_surprise import Clock, launch, selected
from tests.tui.workstation import notices, running, said, until
from tui.app import Workstation
from tui.dialogs.commit import CommitScreen
from tui.dialogs.confirm import ConfirmScreen
from tui.dialogs.launch import LaunchScreen
from tui.forest_rows import container_key, node_key
from tui.widgets.containers import Containers

pytestmark = pytest.mark.kernel


class Gate(threading.Event):
    """What calls wait for, and how many of them have begun and ended."""

    begun = 0
    ended = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            self.begun += 1
            assert self.wait(60)
            try:
                return function(*arguments, **options)
            finally:
                self.ended += 1

        return call


@contextmanager
def held(facade: object, name: str) -> Iterator[Gate]:
    """Within it, calls of a function of the façade wait for the gate that it gives."""
    gate = Gate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(facade), name, gate.around(getattr(type(facade), name)))
        try:
            yield gate
        finally:
            gate.set()


async def box_selected(app: Workstation, pilot: Pilot[None]) -> None:
    """Once a container, box, runs, is known to run, and is selected."""
    (box,) = launch(app, "box")
    app.desk.select(container_key(box))
    await until(pilot, lambda: [each.state for each in app.desk.containers] == ["running"])
    await until(pilot, lambda: selected(app) == "box")


@pytest.mark.parametrize(
    ("key", "function", "dialog"),
    [("d", "removal_effect", ConfirmScreen), ("C", "propose_name", CommitScreen)],
)
async def test_what_is_pressed_twice_asks_once(
    starter_images: Root, key: str, function: str, dialog: type[ConfirmScreen | CommitScreen]
) -> None:
    async with running(starter_images) as (app, pilot):
        clock = Clock(app)
        await box_selected(app, pilot)
        with held(app.engine.containers if key == "d" else app.engine.changes, function) as gate:
            await pilot.press(key, key)
            clock.now += 1  # so late it is no answer, and asks again
            await pilot.press(key)
            gate.set()
            await until(pilot, lambda: isinstance(app.screen, dialog))
            await until(pilot, lambda: gate.ended == gate.begun == 2)
        await pilot.pause()
        assert len(app.screen_stack) == 2
        await pilot.press("escape")
        assert len(app.screen_stack) == 1


@pytest.mark.parametrize("answer", ["y", "n"])
async def test_the_answer_may_come_before_the_question(starter_images: Root, answer: str) -> None:
    async with running(starter_images) as (app, pilot):
        Clock(app)
        await box_selected(app, pilot)
        with held(app.engine.containers, "removal_effect") as gate:
            await pilot.press("d", answer)
            assert len(app.screen_stack) == 1
            gate.set()
            await until(pilot, lambda: app._coming is None and len(app.screen_stack) == 1)
        if answer == "y":
            await until(pilot, lambda: said(app) == "$ cowl rm -f box")
        else:
            assert [each.state for each in app.engine.containers.list()] == ["running"]
        assert "copied" not in said(app)


async def test_a_question_is_about_what_is_so_when_it_is_asked(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        box = app.engine.containers.create(LaunchOptions("starter", ("sleep", "1000"), name="box"))
        app.desk.select(container_key(box.id))
        await until(pilot, lambda: selected(app) == "box")
        with held(app.engine.containers, "removal_effect") as gate:
            await pilot.press("d")
            app.engine.containers.start("box")
            gate.set()
            await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: said(app) == "$ cowl rm -f box")


async def test_a_commit_takes_two_keys_however_fast_they_come(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        await box_selected(app, pilot)
        for key in ("c", "enter"):
            app.simulate_key(key)
        await until(pilot, lambda: any("box:1" in node.tags for node in app.desk.nodes))


async def test_what_is_typed_for_a_shell_is_no_command(
    starter_images: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(starter_images) as (app, pilot):
        Clock(app)
        await box_selected(app, pilot)
        lent: list[tuple[str, ...]] = []
        monkeypatch.setattr(app, "_lend", lambda words, sentence: lent.append(words))
        with held(app.engine.containers, "exec") as gate:
            await pilot.press("e", "e", "l", "s")
            gate.set()
            await until(pilot, lambda: bool(lent))
        await pilot.pause()
        assert lent == [("exec", "-it", "box", "bash")]
        assert (said(app), app.desk.pane, app.unfinished) == ("", "forest", [])


async def test_a_late_question_is_not_asked_over_another(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        clock = Clock(app)
        await box_selected(app, pilot)
        with held(app.engine.containers, "removal_effect") as gate:
            await pilot.press("d")
            clock.now += 1
            await pilot.press("n")
            await until(pilot, lambda: isinstance(app.screen, LaunchScreen) and app.focused is not None)
            gate.set()
            await until(pilot, lambda: app._coming is None)
        await pilot.press("y")
        assert isinstance(app.screen, LaunchScreen)
        assert app.screen.query_one("#command", Input).value == "y"
        assert app.unfinished == []


async def test_where_no_question_comes_keys_mean_what_they_always_do(
    starter_images: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> object:
        raise CowlError("it cannot be told what would go", "a disk is gone", "")

    async with running(starter_images) as (app, pilot):
        Clock(app)
        await box_selected(app, pilot)
        monkeypatch.setattr(type(app.engine.containers), "removal_effect", refused)
        await pilot.press("d")
        await until(pilot, lambda: bool(notices(app)) and app._coming is None)
        await pilot.press("y")
        await until(pilot, lambda: said(app) == "copied the ID of box")


async def test_the_key_after_that_of_a_pane_is_for_that_pane(starter_images: Root) -> None:
    async with running(starter_images, (80, 24)) as (app, pilot):
        launch(app, "one", "two", "three")
        containers = app.desk.query_one(Containers)
        await until(pilot, lambda: [each.state for each in app.desk.containers] == ["running"] * 3)
        second = containers.outline.at(1).item.name
        await pilot.press("1", "g")
        for key in ("2", "g", "j", "p"):  # As fast as keys can come.
            app.simulate_key(key)
        await until(pilot, lambda: said(app).startswith("$ cowl pause"))
        assert [each.name for each in app.engine.containers.list() if each.state == "paused"] == [second]
        assert app.desk.pane == "containers"


async def test_an_end_of_work_takes_no_letter_from_an_answer(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        await box_selected(app, pilot)
        with held(app.engine.changes, "commit") as gate:
            await pilot.press("2", "c")
            await until(pilot, lambda: app.desk.command_line.asking)
            await pilot.press("enter", "R", "s")
            await until(pilot, lambda: app.desk.command_line._input.value == "boxs")
            gate.set()
            await until(pilot, lambda: any("box:1" in node.tags for node in app.desk.nodes))
            grown = app.engine.images.resolve("box:1")
            await until(pilot, lambda: app.desk.subject == node_key(grown.chain_id))
        await pilot.press("d", "enter")
        await until(pilot, lambda: said(app) == "$ cowl rename box boxsd")


async def test_of_a_group_of_jobs_the_newest_counts(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        begun, gate, done = threading.Event(), threading.Event(), list[str]()

        def old() -> str:
            begun.set()
            assert gate.wait(60)
            return "old"

        app.job("", old, done=done.append, group="one")
        await until(pilot, begun.is_set)
        app.job("", lambda: "new", done=done.append, group="one")
        await until(pilot, lambda: bool(done))
        gate.set()
        ended = threading.Event()
        app.job("", ended.set, done=lambda _: done.append("after"))
        await until(pilot, lambda: "after" in done)
        await pilot.pause()
        assert done == ["new", "after"]


async def test_much_that_takes_long_leaves_room_for_what_does_not(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        gate, done = threading.Event(), list[str]()
        try:
            for _ in range(40):
                app.job("", lambda: gate.wait(60))
            app.job("", lambda: "seen", done=done.append)
            await until(pilot, lambda: bool(done))
        finally:
            gate.set()
