"""What others take away while it is selected: the selection moves on, and no key acts on that unawares."""

from __future__ import annotations

import pytest

from engine.model import LaunchOptions
from tests.support.traces import Root
from tests.tui.workstation import notices, running, said, until
from tui.app import Workstation
from tui.dialogs.confirm import ConfirmScreen
from tui.forest_rows import container_key, node_key

pytestmark = pytest.mark.kernel


class Clock:
    """The desk's, which stands still."""

    def __init__(self, app: Workstation) -> None:
        self.now = 0.0
        app.desk.clock = lambda: self.now


def launch(app: Workstation, *names: str) -> list[str]:
    return [
        app.engine.containers.run(LaunchOptions("starter", ("sleep", "1000"), name=name)).id for name in names
    ]


def states(app: Workstation) -> set[str]:
    return {each.state for each in app.engine.containers.list()}


def selected(app: Workstation) -> str:
    return app.desk.container.name if app.desk.container else ""


@pytest.mark.parametrize("pane", ["1", "2", "3", "4"])
async def test_no_key_acts_on_what_took_the_place_of_the_selected(starter_images: Root, pane: str) -> None:
    pressed = ["s", "r", "p", "e", "a", "S", "u", "R", "d", "c", "C", "T", "n"]
    async with running(starter_images) as (app, pilot):
        Clock(app)
        names = [f"box{number}" for number in range(len(pressed) + 1)]
        made = launch(app, *names)
        await until(pilot, lambda: len(app.desk.containers) == len(made))
        await pilot.press(pane)
        app.desk.select(container_key(made[3]))
        for key in pressed:
            gone = selected(app)
            app.engine.containers.remove(gone, force=True)
            await until(pilot, lambda: selected(app) != gone)  # noqa: B023
            assert selected(app) in names, "another container"
            await pilot.press(key)
            told = f"{gone} is gone; {selected(app)} is selected now: press {key} again"
            await until(pilot, lambda: said(app) == told)  # noqa: B023
        assert states(app) == {"running"}
        assert (len(app.screen_stack), app.desk.command_line.asking, app.unfinished) == (1, False, [])
        assert notices(app) == []


async def test_the_key_acts_when_it_is_pressed_again_or_later_or_after_a_move(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        clock = Clock(app)
        made = launch(app, "one", "two", "three", "four")
        await until(pilot, lambda: len(app.desk.containers) == len(made))
        await pilot.press("2")
        app.desk.select(container_key(made[3]))

        async def lose() -> None:
            gone = selected(app)
            app.engine.containers.remove(gone, force=True)
            await until(pilot, lambda: selected(app) not in ("", gone))

        await lose()
        await pilot.press("p")
        await until(pilot, lambda: "press p again" in said(app))
        for state in ("paused", "running"):
            await pilot.press("p")
            await until(pilot, lambda: app.desk.container is not None and app.desk.container.state == state)  # noqa: B023

        await lose()
        await pilot.press("j", "k", "p")
        await until(pilot, lambda: said(app) == f"$ cowl pause {selected(app)}")

        await lose()
        clock.now += 1
        await pilot.press("p")
        await until(pilot, lambda: said(app) == f"$ cowl pause {selected(app)}")


async def test_where_the_user_removed_it_himself_the_next_key_acts(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        Clock(app)
        made = launch(app, "one", "two")
        await until(pilot, lambda: len(app.desk.containers) == len(made))
        await pilot.press("2")
        app.desk.select(container_key(made[1]))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("enter")
        await until(pilot, lambda: selected(app) == "one")
        await pilot.press("p")
        await until(pilot, lambda: said(app) == "$ cowl pause one")
        assert app.desk.leaving == set()


async def test_an_image_that_others_remove_is_no_other_image(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        Clock(app)
        gone = app.engine.images.resolve("starter")
        app.desk.select(node_key(gone.chain_id))
        await pilot.press("1")
        app.engine.images.remove(["starter"])
        await until(pilot, lambda: app.desk.subject not in ("", node_key(gone.chain_id)))
        await pilot.press("d")
        told = "starter:latest is gone; starter:base is selected now: press d again"
        await until(pilot, lambda: said(app) == told)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
