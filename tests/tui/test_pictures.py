"""Whole screens, compared with pictures that somebody has looked at; ``--snapshot-update`` takes new ones."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from textual.pilot import Pilot

from tests.tui import records
from tests.tui.harness import DeskApp
from tests.tui.test_desk import settle
from tui.forest_rows import node_key

Snap = Callable[..., bool]
Before = Callable[[Pilot[None]], Awaitable[None]]
SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(autouse=True)
def _one_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def pressing(*keys: str) -> Before:
    """Everything is on the desk, then these keys are pressed; DIFF shows a diff."""

    async def before(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, DeskApp)
        await app.feed_figure()
        for key in keys:
            if key == "DIFF":
                await settle(pilot)
                app.feed_diff()
            else:
                await pilot.press(key)
                await pilot.pause()
        await settle(pilot)

    return before


@pytest.mark.parametrize("size", SIZES)
def test_the_desk(snap_compare: Snap, size: tuple[int, int]) -> None:
    assert snap_compare(DeskApp(), terminal_size=size, run_before=pressing("3", "j", "j", "j", "DIFF"))


@pytest.mark.parametrize("size", SIZES)
def test_one_pane_zoomed(snap_compare: Snap, size: tuple[int, int]) -> None:
    assert snap_compare(DeskApp(), terminal_size=size, run_before=pressing("1", "plus"))


@pytest.mark.parametrize("size", SIZES)
def test_resources_zoomed(snap_compare: Snap, size: tuple[int, int]) -> None:
    assert snap_compare(DeskApp(), terminal_size=size, run_before=pressing("4", "plus"))


@pytest.mark.parametrize("pane", ["2", "5"])
def test_what_is_behind_at_eighty_columns(snap_compare: Snap, pane: str) -> None:
    assert snap_compare(DeskApp(), terminal_size=SIZES[0], run_before=pressing(pane))


def test_without_colour(snap_compare: Snap) -> None:
    app = DeskApp("cowl-ansi")
    assert snap_compare(app, terminal_size=SIZES[1], run_before=pressing("3", "j", "DIFF"))


def test_on_a_light_ground(snap_compare: Snap) -> None:
    app = DeskApp("cowl-light")
    assert snap_compare(app, terminal_size=SIZES[1], run_before=pressing("3", "j", "DIFF"))


def test_nothing_at_all(snap_compare: Snap) -> None:
    async def before(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, DeskApp)
        app.feed([], [])
        await settle(pilot)

    assert snap_compare(DeskApp(), terminal_size=SIZES[1], run_before=before)


def test_a_chain_that_is_deeper_than_the_pane_is_wide(snap_compare: Snap) -> None:
    async def before(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, DeskApp)
        chain = [
            records.node(str(n), str(n - 1) if n else None, ("deep:128",) if n == 127 else (), by=f"step {n}")
            for n in range(128)
        ]
        app.feed(chain, [records.container("diver", "127", "paused", "deep:128")])
        app.desk.select(node_key(chain[-1].chain_id))
        await settle(pilot)

    assert snap_compare(DeskApp(), terminal_size=SIZES[0], run_before=before)
