"""How the apps of these tests end, and when what a test did is done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

ROUNDS = 5
"""Turns of the loop without any message after which none is on its way."""
AT_MOST = 2000
"""Turns of the loop: threads may have something to tell all the time."""


@pytest.fixture(autouse=True)
def ended_as_in_earnest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every app that a test runs ends as `App.run` ends it: first what handles messages, then the screens.

    `App.run_test` takes the screens away while keys, timers and threads are still listened to.
    """
    shutdown = App._shutdown

    async def ended(app: App[Any]) -> None:
        if not app._exit:
            app.exit()
        if app._task is not None and app._task is not asyncio.current_task():
            await asyncio.wait([app._task])
        await shutdown(app)

    monkeypatch.setattr(App, "_shutdown", ended)


@pytest.fixture(autouse=True)
def done_when_nothing_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """`press` and `pause` go on when all messages are handled, those that they led to included.

    Textual's own go on when the process has computed nothing for 20 ms, as where others have the processor,
    and each widget has handled what it had then: but a key goes up through five of them, one after the other.
    """
    wait_for_screen = Pilot._wait_for_screen

    async def settled(pilot: Pilot[Any], timeout: float = 30.0) -> bool:
        waited = await wait_for_screen(pilot, timeout)
        quiet = 0
        for _ in range(AT_MOST):
            await asyncio.sleep(0)
            pumps = (pilot.app, *pilot.app._registry)
            quiet = quiet + 1 if all(pump._message_queue.empty() for pump in pumps) else 0
            if quiet == ROUNDS:
                break
        return waited

    async def press(pilot: Pilot[Any], *keys: str) -> None:
        for key in keys:
            await press_some(pilot, key)

    press_some = Pilot.press
    monkeypatch.setattr(Pilot, "_wait_for_screen", settled)
    monkeypatch.setattr(Pilot, "press", press)
