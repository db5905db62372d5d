"""Keys on a real root that the newcomer's story does not press."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from engine.model import LaunchOptions
from tests.support.traces import Root
from tests.tui.workstation import notices, running, said, until
from tui.dialogs.commit import CommitScreen
from tui.dialogs.confirm import ConfirmScreen
from tui.dialogs.signals import SignalScreen
from tui.forest_rows import container_key, node_key
from tui.widgets.changes import Changes
from tui.widgets.logs import Logs
from tui.widgets.preview import Preview
from tui.widgets.usage import Usage

pytestmark = pytest.mark.kernel
IDLE = LaunchOptions("starter", ("sleep", "1000"), name="box")


async def test_commit_with_options_makes_the_image_as_asked(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        made = app.engine.containers.run(IDLE._replace(command=("sh", "-c", "echo hi > /new; sleep 1000")))
        app.desk.select(container_key(made.id))
        await until(pilot, lambda: len(app.desk.query_one(Changes).outline) == 1)
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, CommitScreen))
        await pilot.press(*"why not", "shift+tab", "ctrl+u", *"mine:7", "enter")
        await until(pilot, lambda: any("mine:7" in node.tags for node in app.desk.nodes))
        grown = next(node for node in app.desk.nodes if "mine:7" in node.tags)
        assert grown.comment == "why not"
        await until(pilot, lambda: app.desk.item == grown)
        assert notices(app) == []


async def test_copying_gives_the_terminal_the_id_and_the_path(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        made = app.engine.containers.run(IDLE._replace(command=("sh", "-c", "echo hi > /new; sleep 1000")))
        app.desk.select(container_key(made.id))
        await until(pilot, lambda: len(app.desk.query_one(Changes).outline) == 1)
        await pilot.press("2", "y")
        await until(pilot, lambda: app.clipboard == made.id)
        await pilot.press("3", "y")
        await until(pilot, lambda: app.clipboard == "/new")
        await until(pilot, lambda: said(app) == "copied /new")
        await pilot.press("4", "y")
        await until(pilot, lambda: said(app) == "copied the ID of box")


async def test_what_was_copied_is_told(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        script = "echo one; echo two; echo hi > /new; sleep 1000"
        made = app.engine.containers.run(IDLE._replace(command=("sh", "-c", script)))
        app.desk.select(container_key(made.id))
        logs, preview = app.desk.query_one(Logs), app.desk.query_one(Preview)
        await until(pilot, lambda: logs.text == "one\ntwo" and len(app.desk.query_one(Changes).outline) == 1)
        assert preview.about == "what is known of box"

        async def copied(*pressed: str) -> str:
            await pilot.press(*pressed)
            await until(pilot, lambda: app.desk.pane == (app.focused and app.focused.id))
            app.say("")
            await pilot.press("y")
            await until(pilot, lambda: said(app) != "")
            return said(app)

        assert await copied("5") == "copied the log of box"
        assert app.clipboard == "one\ntwo"
        assert await copied("slash", "w", "enter") == "copied 1 of 2 lines of the log of box"
        assert app.clipboard == "two"
        await pilot.press("escape", "i")
        await until(pilot, lambda: logs.showing_text)
        assert await copied() == "copied what is recorded of box"
        assert made.id in app.clipboard
        await pilot.press("3")
        await until(pilot, lambda: preview.about == "the preview of /new")
        assert await copied("tab") == "copied the preview of /new"
        assert "+hi" in app.clipboard
        used = app.engine.images.resolve("starter")
        app.desk.select(node_key(used.chain_id))
        assert await copied("1") == "copied the chain ID of starter:latest"
        assert app.clipboard == used.chain_id


async def test_restart_gives_another_process(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        made = app.engine.containers.run(IDLE._replace(stop_timeout=0.2))
        app.desk.select(container_key(made.id))
        await until(pilot, lambda: app.desk.container is not None and app.desk.container.state == "running")
        await pilot.press("r")
        await until(pilot, lambda: app.engine.containers.get("box").pid not in (None, made.pid))
        await until(pilot, lambda: said(app) == "$ cowl restart box")


async def test_a_signal_is_sent(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        script = "trap 'exit 9' HUP; echo ready; while :; do sleep 0.1; done"
        made = app.engine.containers.run(IDLE._replace(command=("sh", "-c", script)))
        app.desk.select(container_key(made.id))
        await until(pilot, lambda: app.desk.query_one(Logs).text == "ready")
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, SignalScreen))
        await pilot.press("j", "j", "j", "enter")
        await until(pilot, lambda: app.engine.containers.get("box").exit_code == 9)
        await until(pilot, lambda: said(app) == "$ cowl kill -s HUP box")


async def test_an_image_in_use_stays_and_a_free_one_goes(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        app.engine.containers.run(IDLE)
        used = app.engine.images.resolve("starter")
        app.desk.select(node_key(used.chain_id))
        await until(pilot, lambda: app.desk.item is not None and bool(app.desk.containers))
        await pilot.press("1", "d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("enter", "escape")
        assert app.engine.images.resolve("starter") is not None

        app.engine.containers.remove("box", force=True)
        await until(pilot, lambda: not app.desk.containers)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("enter")
        await until(pilot, lambda: all("starter:latest" not in node.tags for node in app.desk.nodes))
        await until(pilot, lambda: said(app).startswith("$ cowl rmi starter:latest"))


async def test_an_archive_is_loaded_and_a_missing_one_is_told(starter_images: Root, tmp_path: Path) -> None:
    async with running(starter_images) as (app, pilot):
        archive = tmp_path / "image.tar"
        app.engine.images.tag("starter", "packed:1")
        app.engine.images.save(["packed:1"], os.fspath(archive))
        app.engine.images.remove(["packed:1"])
        await until(pilot, lambda: all("packed:1" not in node.tags for node in app.desk.nodes))
        await pilot.press("L")
        await until(pilot, lambda: app.desk.command_line.asking)
        await pilot.press(*os.fspath(archive), "enter")
        await until(pilot, lambda: any("packed:1" in node.tags for node in app.desk.nodes))
        await pilot.press("L", *"/nowhere.tar", "enter")
        await until(pilot, lambda: any("/nowhere.tar" in each for each in notices(app)))


async def test_a_new_name_is_given(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        made = app.engine.containers.run(IDLE)
        app.desk.select(container_key(made.id))
        await until(pilot, lambda: app.desk.container is not None)
        await pilot.press("R", "ctrl+u", *"crate", "enter")
        await until(pilot, lambda: [each.name for each in app.desk.containers] == ["crate"])
        await until(pilot, lambda: said(app) == "$ cowl rename box crate")


async def test_what_is_removed_is_no_longer_shown(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        made = app.engine.containers.run(IDLE._replace(command=("sh", "-c", "echo hello; sleep 1000")))
        app.desk.select(container_key(made.id))
        logs, usage = app.desk.query_one(Logs), app.desk.query_one(Usage)
        await until(pilot, lambda: logs.text == "hello" and str(usage.border_title) == "box")
        app.engine.containers.remove("box", force=True)
        await until(pilot, lambda: logs.text == "" and str(usage.border_title) == "Usage")


async def test_d_among_changes_removes_nothing(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        made = app.engine.containers.run(IDLE)
        app.desk.select(container_key(made.id))
        await until(pilot, lambda: app.desk.container is not None)
        await pilot.press("3", "d")
        await until(pilot, lambda: "later" in said(app))
        assert not isinstance(app.screen, ConfirmScreen)


async def test_a_signal_to_the_app_ends_it_in_order(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        os.kill(os.getpid(), signal.SIGTERM)
        await until(pilot, lambda: app._exit)
        assert app.return_code == 128 + signal.SIGTERM
