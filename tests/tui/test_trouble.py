"""What goes wrong while the whole app runs on a real root: it is told, and the app goes on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from engine.model import LaunchOptions
from tests.support.roots import Run
from tests.support.traces import Root
from tests.tui.workstation import listed, notices, running, until
from tui.messages import LogsRead
from tui.widgets.forest import Forest

pytestmark = pytest.mark.kernel


async def test_an_engine_error_becomes_a_notice(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        await pilot.press("T")
        await until(pilot, lambda: app.desk.command_line.asking)
        await pilot.press("ctrl+u", *"Not A Name", "enter")
        await until(pilot, lambda: bool(notices(app)))
        assert app.is_running
        options = LaunchOptions("starter", ("no-such-command",), name="bad")
        app._launch(options)
        await until(pilot, lambda: len(notices(app)) == 2)
        assert "no-such-command" in notices(app)[1]


async def test_a_watch_that_breaks_is_told_and_looks_again(
    starter_images: Root, cowl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(starter_images) as (app, pilot):

        def broken() -> object:
            raise ValueError("a defect")

        with monkeypatch.context() as patch:
            patch.setattr(app.engine, "revision", broken)
            await until(pilot, lambda: any("watching the store" in each for each in notices(app)))
        cowl("tag", "starter", "later:1", check=True)
        await until(pilot, lambda: "later:1" in "".join(listed(app, Forest)))


async def test_what_threads_say_while_the_app_closes_is_not_shown(starter_images: Root) -> None:
    async with running(starter_images) as (app, _):
        subject = app.desk.subject

        def talk() -> None:
            while app.post_message(LogsRead(subject, [])):
                time.sleep(0.0002)

        talker = threading.Thread(target=talk)
        talker.start()
        await asyncio.sleep(0.1)
    talker.join(60)
    assert not talker.is_alive()
