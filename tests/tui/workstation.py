"""The whole app on a real root, and what can be seen of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from engine import Engine
from tests.support.traces import Root
from tui.app import Workstation
from tui.dialogs.welcome import WelcomeScreen
from tui.widgets.flatlist import FlatList


@asynccontextmanager
async def running(
    root: Root, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[Workstation, Pilot[None]]]:
    """The app on *root*, its first look taken."""
    with Engine(root.path, cgroup_parent=root.cgroup_parent, launcher=True) as engine:
        app = Workstation(engine, no_color=False)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: bool(app.desk.nodes) or isinstance(app.screen, WelcomeScreen))
            try:
                yield app, pilot
            finally:
                for watch in app.watches:
                    watch.stop()
        # As at the end of the app: what is being done ends before the engine does.
        await asyncio.get_running_loop().shutdown_default_executor()


async def until(pilot: Pilot[None], condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to be seen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.03)
    await pilot.pause()


def listed(app: Workstation, kind: type[FlatList[object]]) -> list[str]:
    pane = app.desk.query_one(kind)
    return ["".join(span.text for span in pane.spans(n, 60)).rstrip() for n in range(len(pane.outline))]


def notices(app: Workstation) -> list[str]:
    return [f"{notice.title}: {notice.message}" for notice in app._notifications]


def said(app: Workstation) -> str:
    return "".join(span.text for span in app.desk.command_line._line)
