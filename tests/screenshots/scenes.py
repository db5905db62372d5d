"""What is photographed: keys pressed in the real app, and what must be seen before the shutter."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from textual.pilot import Pilot

from tests.screenshots import picture
from tui.widgets.flatlist import FlatList

APP = Pilot[Any]
WAIT_SECONDS = 60.0


class Scene(NamedTuple):
    """One picture."""

    name: str
    play: Callable[[APP], Awaitable[None]]


async def expect(pilot: APP, *words: str) -> None:
    """Wait until all of *words* are on the screen. Raises TimeoutError, with the screen."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        seen = picture.text(pilot.app.export_screenshot())
        if all(word in seen for word in words):
            return
        if time.monotonic() > deadline:
            lines = "\n".join(line for line in seen.splitlines() if line.strip())
            raise TimeoutError(f"{words} never came:\n{lines}")
        await pilot.pause(0.1)


async def choose(pilot: APP, pane: str, word: str) -> None:
    """Go to the pane by its key and put the cursor on the first line that begins with *word*."""
    await pilot.press("escape", pane)
    flat_list = pilot.app.focused
    assert isinstance(flat_list, FlatList), flat_list
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for position in range(len(flat_list.outline)):
            entry = flat_list.outline.at(position)
            if word in entry.text.split():
                flat_list.select(entry.key)
                await pilot.pause()
                return
        await pilot.pause(0.1)
    raise TimeoutError(f"no {word} in pane {pane}")


async def forest(pilot: APP) -> None:
    """A layer that was committed, and what it brought."""
    await choose(pilot, "1", "api:1")
    await expect(pilot, "settings.py")


async def changes(pilot: APP) -> None:
    """A running container's changes, and the diff of one file."""
    await choose(pilot, "2", "api")
    await expect(pilot, "api.conf")
    await choose(pilot, "3", "/srv/app/settings.py")
    if pilot.app.size.width < 100:
        await pilot.press("enter")
    await expect(pilot, "DEBUG")


async def resources(pilot: APP) -> None:
    """What everything uses, and the histories of one container with its limits."""
    await choose(pilot, "2", "api")
    await pilot.press("4")
    await expect(pilot, "notebook")


async def launch(pilot: APP) -> None:
    """The launch form, half filled."""
    await choose(pilot, "1", "api:2")
    await pilot.press("n")
    await expect(pilot, "Launch a container")
    await type_into(pilot, command="sh -c 'exec /srv/app/run.sh'", name="shop", cpus="1.5", memory="256m")
    await expect(pilot, "cowl run")


async def commit(pilot: APP) -> None:
    """Commit with options."""
    await choose(pilot, "2", "api")
    await pilot.press("C")
    await expect(pilot, "Commit api")
    await type_into(pilot, message="production settings", CMD="/srv/app/run.sh")
    await expect(pilot, "cowl commit")


async def figure(pilot: APP) -> None:
    """The source document's own figure."""
    await choose(pilot, "1", "ubuntu:14.04")
    if pilot.app.size.height < 50:
        await pilot.press("plus")
    await expect(pilot, "ubuntu:12.04", "redis:2.8", "shop")


async def type_into(pilot: APP, **fields: str) -> None:
    """Fill fields of a dialog by typing."""
    for name, value in fields.items():
        pilot.app.screen.query_one(f"#{name}").focus()
        await pilot.pause()
        await pilot.press(*(KEYS.get(character, character) for character in value))


KEYS = {" ": "space", "'": "apostrophe", "/": "slash", ".": "full_stop", "-": "minus"}
"""Textual's names of keys that are not letters."""

WORKDAY = (
    Scene("forest", forest),
    Scene("changes", changes),
    Scene("resources", resources),
    Scene("launch", launch),
    Scene("commit", commit),
)
FIGURE = (Scene("figure", figure),)
