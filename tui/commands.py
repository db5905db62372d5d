"""The palette: every key's action by name, and a way to every image and container."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, cast

from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.events import Mount
from textual.message import Message
from textual.widgets import Input, OptionList

from tui import facts, keys
from tui.base import Base
from tui.forest_rows import container_key, node_key, state_text

HIDDEN = ("command_palette", "next_pane(1)", "next_pane(-1)", "leave")


class Command(NamedTuple):
    """One line of the palette."""

    text: str
    help: str
    run: Callable[[], object]


class Palette(CommandPalette):
    """Textual's palette, for hasty fingers."""

    def on_mount(self, event: Mount) -> None:
        """Look for nothing where an app that is to end just now has put no list for it."""
        if not self.is_attached:
            event.prevent_default()

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Go, once: as every `Dialog` does."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    async def _on_message(self, message: Message) -> None:
        if isinstance(message, Input.Submitted | OptionList.OptionSelected) and not self.is_active:
            return  # Enter pressed twice: what was chosen is done once.
        await super()._on_message(message)

    def _action_command_list(self, action: str) -> None:
        if action.startswith("page") and not self.query_one(CommandList).size:
            return  # A page of a list that is not on the screen yet.
        super()._action_command_list(action)


class PaletteCommands(Provider):
    """What the palette finds."""

    async def discover(self) -> Hits:
        """Without a word typed: the actions."""
        for command in self._actions():
            yield DiscoveryHit(command.text, command.run, help=command.help)

    async def search(self, query: str) -> Hits:
        """Actions, images and containers that match."""
        matcher = self.matcher(query)
        for command in (*self._actions(), *self._places()):
            score = matcher.match(command.text)
            if score > 0:
                yield Hit(score, matcher.highlight(command.text), command.run, help=command.help)

    def _actions(self) -> Iterable[Command]:
        app = cast("Base", self.app)
        for key in keys.KEYS:
            if key.action not in HIDDEN:
                run = partial(app.run_action, key.action)
                yield Command(f"{key.group}: {key.what}", f"key {keys.shown(key.keys)}", run)

    def _places(self) -> Iterable[Command]:
        desk = cast("Base", self.app).desk
        for container in desk.containers:
            run = partial(desk.select, container_key(container.id))
            yield Command(f"Go to container {container.name}", state_text(container, 0.0), run)
        for node in desk.nodes:
            for tag in node.tags or (facts.name_of(node),):
                run = partial(desk.select, node_key(node.chain_id))
                yield Command(f"Go to image {tag}", node.created_by, run)
