"""The desk without an engine, fed with records: for pictures that are the same every time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, NamedTuple

from textual.app import App, ComposeResult
from textual.binding import BindingType

from engine.model import Change, Container, FileDiff, HostFigures, LogLine, Node
from tests.tui import records
from tui import keys
from tui.change_rows import change_entries
from tui.desk import Desk
from tui.forest_rows import container_key
from tui.messages import ChangesRead, LogsRead, Sampled, StoreRead
from tui.theme import THEMES
from tui.widgets.preview import Preview

DIFF = "\n".join(
    (
        "@@ -11,6 +11,6 @@ def load(env):",
        "     import os",
        "     root = Path(env['ROOT'])",
        " ",
        "-DEBUG = True",
        "+DEBUG = False",
        " TIMEOUT = 30",
        " WORKERS = int(env['N'])",
        "",
    )
)


class Rings(NamedTuple):
    """A history as the engine keeps it."""

    cpu: Sequence[float]
    memory: Sequence[float]
    io: Sequence[float]
    pids: Sequence[float]


class DeskApp(App[None]):
    """The app's desk, keys for panes and nothing behind it."""

    CSS_PATH = "../../tui/app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings()
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-medium"), (50, "-tall")]  # noqa: RUF012

    def __init__(self, theme: str = "cowl") -> None:
        super().__init__(ansi_color=theme == "cowl-ansi")
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme
        self.selections: list[str] = []
        self.paths: list[str | None] = []

    def compose(self) -> ComposeResult:
        yield Desk("/var/lib/cowl")

    @property
    def desk(self) -> Desk:
        return self.screen_stack[0].query_one(Desk)

    def on_desk_selected(self) -> None:
        self.selections.append(self.desk.subject)

    def on_desk_path_selected(self, message: Desk.PathSelected) -> None:
        self.paths.append(message.path)

    def action_pane(self, name: str) -> None:
        self.desk.show_pane(name)

    def action_next_pane(self, step: int) -> None:
        self.desk.next_pane(step)

    def action_zoom(self, zoomed: bool) -> None:
        self.desk.zoom(zoomed)

    async def settled(self) -> None:
        """Until the detail has followed the selection."""
        await asyncio.sleep(0)
        while self.desk._turning is not None:
            await asyncio.sleep(0.01)

    def feed(self, nodes: Sequence[Node], containers: Sequence[Container]) -> None:
        """Show a forest."""
        self.desk.show_store(StoreRead(nodes, containers))

    def feed_changes(self, changes: Sequence[Change], *, fresh: bool = True) -> None:
        """Show changes of what is selected."""
        entries = change_entries(changes)
        self.desk.show_changes(ChangesRead(self.desk.subject, changes, entries, fresh=fresh))

    def feed_samples(self, containers: Sequence[Container], tick: int = 1) -> None:
        """Show one tick of samples, with two minutes of history."""
        alive = [each for each in containers if each.state in ("running", "paused")]
        samples = [
            records.sample(each, cpu=0.0 if each.state == "paused" else 82.4 + 20 * index, tick=tick)
            for index, each in enumerate(alive)
        ]
        histories = {each.id: rings(index) for index, each in enumerate(alive)}
        self.desk.show_samples(Sampled(HOST, samples, histories))

    async def feed_figure(self) -> None:
        """Everything, as on a busy afternoon."""
        nodes, containers = records.figure()
        started = stamp(time.time() - 2 * 3600 - 60)
        containers = [each._replace(started=started if each.started else None) for each in containers]
        self.feed(nodes, containers)
        self.desk.select(container_key(containers[0].id))
        await self.settled()
        self.feed_changes(records.changes())
        for tick in range(1, 4):
            self.feed_samples(containers, tick)
        lines = [
            LogLine(f"2026-01-01T12:04:3{n}.{118 + n}000000Z", "stderr" if n == 2 else "stdout", text)
            for n, text in enumerate(
                (
                    "GET /v1/items 200 12ms",
                    "GET /v1/items?page=2 200 9ms",
                    "WARN slow query 1,204 rows in 803ms",
                    "POST /v1/items 201 31ms",
                )
            )
        ]
        self.desk.show_log(LogsRead(self.desk.subject, lines))

    def feed_diff(self) -> None:
        """A text diff in the preview."""
        diff = FileDiff("/srv/app/settings.py", "modified", False, DIFF, 1, 1, False)
        self.desk.query_one(Preview).show_diff(diff)


HOST = HostFigures(61.0, 3_300_000_000, 25_700_000_000, 1.2, 64_000_000, None)


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def rings(phase: int) -> Rings:
    wave = [0.5 + 0.5 * math.sin((n + 9 * phase) / 7) for n in range(120)]
    return Rings(
        [140 * each for each in wave],
        [(300 << 20) + (150 << 20) * each for each in wave],
        [2_000_000 * each for each in wave],
        [10 + 8 * each for each in wave],
    )
