"""The workstation: the desk on top of the engine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.command import Provider
from textual.worker import Worker, WorkerState

from engine.model import Node
from tui import keys
from tui.actions.containers import ContainerActions
from tui.actions.entering import EnteringActions
from tui.actions.images import ImageActions
from tui.actions.view import ViewActions
from tui.commands import PaletteCommands
from tui.desk import BIG_LAYER, Desk
from tui.forest_rows import ForestItem
from tui.messages import ChangesRead, LogsRead, Sampled, SizeRead, StoreRead
from tui.theme import THEMES
from tui.watch import Subject, Watch

if TYPE_CHECKING:
    from engine import Engine

REST = 2.0
"""Seconds after which a watch that broke is started again."""
THREADS = 64
"""How many things may be done at a time: few processors are no reason for a diff to wait for three stops."""


class Workstation(ContainerActions, EnteringActions, ImageActions, ViewActions):
    """cowl in a terminal."""

    TITLE = "cowl"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings()
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {PaletteCommands}
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-medium"), (50, "-tall")]  # noqa: RUF012

    def __init__(self, engine: Engine, *, no_color: bool | None = None) -> None:
        plain = "NO_COLOR" in os.environ if no_color is None else no_color
        super().__init__(engine, no_color=plain)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = "cowl-ansi" if plain else THEMES[0].name
        self._welcomed_once = False

    def compose(self) -> ComposeResult:
        """One desk."""
        yield Desk(self.engine.root)

    def on_mount(self) -> None:
        """Paint first, then look: the threads start once there is a screen."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "cowl"))
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Without a handler the process ends at once, and the terminal stays as the app had it.
            leave = partial(self.exit, return_code=128 + number)
            asyncio.get_running_loop().add_signal_handler(number, leave)
        for watch in self.watches:
            self._look(watch)

    def on_unmount(self) -> None:
        """Let the threads end."""
        for watch in self.watches:
            watch.stop()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A watch that broke looks again after a while; `Base` has said why it broke."""
        for watch in self.watches:
            if event.state == WorkerState.ERROR and event.worker.group == type(watch).__name__:
                self.set_timer(REST, partial(self._look, watch))

    def _look(self, watch: Watch) -> None:
        group = type(watch).__name__
        self.run_worker(
            watch.run, thread=True, exclusive=True, group=group, exit_on_error=False, description=watch.doing
        )

    def on_store_read(self, message: StoreRead) -> None:
        """The records moved."""
        self.desk.show_store(message)
        self.size_watch.follow(message.containers)
        if not message.nodes and not message.containers and not self._welcomed_once:
            self._welcomed_once = True
            self.welcome()

    def on_sampled(self, message: Sampled) -> None:
        """A tick."""
        self.desk.show_samples(message)

    def on_changes_read(self, message: ChangesRead) -> None:
        """The changes of the selected thing moved."""
        self.desk.show_changes(message)

    def on_size_read(self, message: SizeRead) -> None:
        """A container's read-write layer was read that is not selected."""
        self.desk.show_size(message.container, message.size)

    def on_logs_read(self, message: LogsRead) -> None:
        """The selected container said something."""
        self.desk.show_log(message)

    def on_desk_selected(self, message: Desk.Selected) -> None:
        """Follow something else."""
        message.stop()
        self.subject_watch.turn_to(_subject(message.item, self.desk))


def _subject(item: ForestItem | None, desk: Desk) -> Subject | None:
    """What to read about the selected thing; big layers only when the keys go to their changes."""
    if item is None:
        return None
    if isinstance(item, Node):
        wanted = item.file_count <= BIG_LAYER or desk.pane == "changes"
        return Subject("node", item.chain_id, desk.subject) if wanted else None
    return Subject("container", item.id, desk.subject)
