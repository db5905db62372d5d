"""How the apps of these tests end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.app import App


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
