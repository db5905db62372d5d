"""The desk: what can be seen at which size, where the keys go, and that selection drives the detail."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from tests.tui import records
from tests.tui.harness import DeskApp
from tui import desk
from tui.forest_rows import container_key, node_key
from tui.widgets.changes import Changes
from tui.widgets.containers import Containers
from tui.widgets.forest import Forest
from tui.widgets.logs import Logs
from tui.widgets.preview import Preview

SIZES = [(80, 24), (120, 40), (200, 60)]
NARROW, NORMAL, WIDE = SIZES


def visible(app: DeskApp) -> set[str]:
    """The panes of which anything can be seen, all of them inside of the screen."""
    shown = {pane for pane in app.query(".pane") if pane.region.area and pane.is_on_screen}
    for pane in shown:
        assert app.screen.region.contains_region(pane.region), pane
    return {pane.id or "" for pane in shown}


async def settle(pilot: Pilot[None]) -> None:
    """Until the detail has followed the selection."""
    app = pilot.app
    assert isinstance(app, DeskApp)
    await pilot.pause()
    await app.settled()
    await pilot.pause()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (NARROW, {"forest", "changes", "resources"}),
        (NORMAL, {"forest", "containers", "changes", "preview", "resources", "usage", "logs"}),
        (WIDE, {"forest", "containers", "changes", "preview", "resources", "usage", "logs"}),
    ],
)
async def test_each_size_shows_what_it_has_room_for(size: tuple[int, int], expected: set[str]) -> None:
    app = DeskApp()
    async with app.run_test(size=size) as pilot:
        await app.feed_figure()
        await settle(pilot)
        assert visible(app) == expected
        for line in ("top", "command", "keys"):
            assert app.query_one(f"#{line}").region.height == 1


@pytest.mark.parametrize("size", SIZES)
async def test_numbers_and_tab_bring_every_pane_to_the_front(size: tuple[int, int]) -> None:
    app = DeskApp()
    async with app.run_test(size=size) as pilot:
        await app.feed_figure()
        await settle(pilot)
        for key, name in zip("12345", ("forest", "containers", "changes", "resources", "logs"), strict=True):
            await pilot.press(key)
            await settle(pilot)
            assert app.focused is not None
            assert app.focused.id == name
            assert name in visible(app)
        seen = []
        for _ in range(6):
            await pilot.press("tab")
            await settle(pilot)
            assert app.focused is not None
            seen.append(app.focused.id)
            assert app.focused.id in visible(app)
        assert seen == ["forest", "containers", "changes", "preview", "resources", "logs"]
        await pilot.press("shift+tab")
        await settle(pilot)
        assert app.desk.pane == "resources"


@pytest.mark.parametrize("size", SIZES)
async def test_zoom_gives_the_desk_to_one_pane(size: tuple[int, int]) -> None:
    app = DeskApp()
    async with app.run_test(size=size) as pilot:
        await app.feed_figure()
        await settle(pilot)
        before = visible(app)
        for name in ("forest", "preview", "logs"):
            app.desk.show_pane(name)
            await settle(pilot)
            await pilot.press("plus")
            await settle(pilot)
            assert visible(app) == {name}
            assert app.query_one(f"#{name}").region.size == (size[0], size[1] - 3)
        app.desk.show_pane("resources")
        await settle(pilot)
        assert visible(app) == {"resources", "usage"}
        heights = [app.query_one(f"#{name}").region.height for name in ("resources", "usage")]
        assert sum(heights) == size[1] - 3
        assert app.query_one("#resources").region.width == size[0]
        await pilot.press("3")
        await settle(pilot)
        assert visible(app) == {"changes"}
        await pilot.press("underscore", "1")
        await settle(pilot)
        for key in ("5", "plus"):  # As fast as a hand types: the zoom is for the pane just named.
            app.simulate_key(key)
        await settle(pilot)
        assert visible(app) == {"logs"}
        await pilot.press("1", "4", "underscore")
        await settle(pilot)
        assert visible(app) - {"changes", "preview"} == before - {"changes", "preview"}


async def test_a_container_selected_in_one_list_is_selected_in_all() -> None:
    app = DeskApp()
    async with app.run_test(size=NORMAL) as pilot:
        nodes, containers = records.figure()
        app.feed(nodes, containers)
        await settle(pilot)
        assert app.desk.container == containers[0]
        await pilot.press("2", "j")
        await settle(pilot)
        listed = app.query_one(Containers).current
        assert listed is not None
        assert app.desk.item == listed.item
        assert app.query_one(Forest).current.key == listed.key  # type: ignore[union-attr]
        assert listed.item.name in str(app.query_one(Changes).border_title)
        app.desk.show_pane("forest")
        await settle(pilot)
        await pilot.press("g")
        await settle(pilot)
        assert app.desk.item == nodes[0]
        assert app.selections[-1] == node_key(nodes[0].chain_id)


async def test_a_refresh_keeps_what_is_selected_and_shows_its_new_state() -> None:
    app = DeskApp()
    async with app.run_test(size=NORMAL) as pilot:
        nodes, containers = records.figure()
        app.feed(nodes, containers)
        app.desk.select(container_key(containers[1].id))
        await settle(pilot)
        app.selections.clear()
        later = [containers[0], containers[1]._replace(state="running"), *containers[2:]]
        app.feed([*nodes, records.node("new", "4", ("mine:1",))], later)
        await settle(pilot)
        assert app.desk.container == later[1]
        assert app.selections == []
        app.feed(nodes, [each for each in later if each.name != "worker"])
        await settle(pilot)
        assert app.desk.item is not None
        assert app.desk.subject in app.query_one(Forest).outline.shown()
        assert app.selections != []


async def test_what_is_not_there_yet_is_selected_when_it_comes() -> None:
    app = DeskApp()
    async with app.run_test(size=NORMAL) as pilot:
        nodes, containers = records.figure()
        app.feed(nodes, containers)
        grown = records.node("grown", "4", ("mine:1",))
        app.desk.select(node_key(grown.chain_id))
        await settle(pilot)
        assert app.desk.container == containers[0]
        app.feed([*nodes, grown], containers)
        await settle(pilot)
        assert app.desk.item == grown
        app.feed([*nodes, grown], containers[1:])
        await settle(pilot)
        assert app.desk.item == grown


async def test_late_changes_of_something_else_are_dropped() -> None:
    app = DeskApp()
    async with app.run_test(size=NORMAL) as pilot:
        nodes, containers = records.figure()
        app.feed(nodes, containers)
        await settle(pilot)
        app.feed_changes(records.changes())
        old = app.desk.subject
        await settle(pilot)
        assert "125 A" in str(app.query_one(Changes).border_subtitle)
        await pilot.press("2", "j")
        await settle(pilot)
        assert app.desk.subject != old
        assert len(app.query_one(Changes).outline) == 0
        app.query_one(Changes).show(old, [], [], fresh=True)
        assert app.query_one(Changes).empty != "nothing changed: as the image has it"


async def test_a_path_is_told_only_while_the_keys_go_to_the_changes() -> None:
    app = DeskApp()
    async with app.run_test(size=NORMAL) as pilot:
        await app.feed_figure()
        await settle(pilot)
        assert app.paths == []
        await pilot.press("3", "j", "j")
        await settle(pilot)
        assert app.paths[-1] == "/etc/nginx/api.conf"
        await pilot.press("enter")
        await settle(pilot)
        assert app.desk.pane == "preview"


async def test_big_new_directories_stay_folded_and_a_refresh_keeps_what_was_unfolded() -> None:
    app = DeskApp()
    async with app.run_test(size=NORMAL) as pilot:
        await app.feed_figure()
        await settle(pilot)
        changes = app.query_one(Changes)
        assert "/srv/app/cache" in changes.outline.folded
        changes.select("/srv/app/cache/0001.bin")
        app.feed_changes([*records.changes(), records.change("/zzz", size=1)], fresh=False)
        await settle(pilot)
        assert changes.current is not None
        assert changes.current.key == "/srv/app/cache/0001.bin"
        assert "126 A" in str(changes.border_subtitle)


async def test_there_and_back_at_once_keeps_the_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "TURN_DELAY", 1.0)  # so that it is at once however slow the machine is
    app = DeskApp()
    async with app.run_test(size=NORMAL) as pilot:
        await app.feed_figure()
        await settle(pilot)
        await pilot.press("2")
        await settle(pilot)
        shown = app.desk.query_one(Logs).text
        read = len(app.selections)
        there = app.desk.subject
        await pilot.press("j")
        assert app.desk.subject != there
        await pilot.press("k")
        assert app.desk.subject == there
        await settle(pilot)
        assert app.desk.query_one(Logs).text == shown != ""
        assert len(app.selections) == read
        await pilot.press("j")
        await settle(pilot)
        assert app.desk.query_one(Logs).text == ""
        assert len(app.selections) == read + 1


@pytest.mark.parametrize("pane", ["changes", "preview", "logs"])
async def test_what_is_gone_leaves_nothing_in_the_preview(pane: str) -> None:
    app = DeskApp()
    async with app.run_test(size=NORMAL) as pilot:
        await app.feed_figure()
        await settle(pilot)
        gone = app.desk.container
        assert gone is not None
        app.desk.show_pane(pane)
        await settle(pilot)
        assert gone.name in app.desk.query_one(Preview).text
        app.feed(app.desk.nodes, [each for each in app.desk.containers if each != gone])
        await settle(pilot)
        assert app.desk.container != gone
        assert gone.id[:12] not in app.desk.query_one(Preview).text
        assert app.desk.pane == pane
