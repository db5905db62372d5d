"""Pictures of the widgets and dialogs with fixed records, at the three sizes that are designed for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.pilot import Pilot
from textual.screen import ModalScreen

from engine.model import FileDiff, HostFigures, Limits, LogLine, Pressure, Progress, Removal
from tests.tui.records import container
from tests.tui.samples import ThemedApp, busy, histories
from tui.dialogs.commit import CommitScreen
from tui.dialogs.confirm import ConfirmScreen
from tui.dialogs.help import HelpScreen
from tui.dialogs.launch import LaunchScreen
from tui.dialogs.limits import LimitsScreen
from tui.dialogs.prompt import PromptScreen
from tui.dialogs.signals import SignalScreen
from tui.dialogs.welcome import WelcomeScreen
from tui.widgets.commandline import CommandLine, KeyBar
from tui.widgets.header import TopBar
from tui.widgets.logs import Logs
from tui.widgets.preview import Preview
from tui.widgets.resources import Resources
from tui.widgets.usage import Usage

Compare = Callable[..., bool]
SIZES = [(80, 24), (120, 40), (200, 60)]
GIB = 1 << 30
DIFF = """@@ -11,7 +11,7 @@ def load(env):
     import os
     root = Path(env['ROOT'])

-DEBUG = True
+DEBUG = False
 TIMEOUT = 30
 WORKERS = int(env['N'])  # how many

@@ -40,3 +40,4 @@ class Server:
     def run(self):
+        \"\"\"Serve until told otherwise.\"\"\"
         log.info("up")
"""
DUMP = "".join(
    f"{16 * n:08x}  7f 45 4c 46 02 01 01 00  00 00 00 00 00 00 41 42  |.ELF..........AB|\n" for n in range(9)
)
SAID = [
    LogLine(f"2026-01-01T12:04:3{n}.118000000Z", "stderr" if n == 2 else "stdout", text)
    for n, text in enumerate(
        ("GET /v1/items 200 12ms", "GET /v1/items?page=2", "WARN slow query", "POST /v1/items 201 31ms")
    )
]
KEYS = (
    ("c", "commit"),
    ("d", "discard"),
    ("e", "shell"),
    ("s", "stop"),
    ("n", "launch"),
    ("/", "filter"),
    ("?", "help"),
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log times are local: here is Greenwich."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Gallery(ThemedApp):
    """All widgets on one screen."""

    CSS = (
        ThemedApp.CSS
        + """
    #upper { height: 1fr; }
    #lower { height: 13; }
    #resources { width: 2fr; }
    #usage, Preview { width: 1fr; }
    Logs { height: 6; }
    """
    )

    def compose(self) -> ComposeResult:
        yield TopBar()
        with Horizontal(id="upper"):
            yield Preview(id="diff", classes="pane")
            yield Preview(id="dump", classes="pane")
        with Horizontal(id="lower"):
            yield Resources(id="resources", classes="pane")
            yield Usage(id="usage", classes="pane")
        yield Logs(classes="pane")
        yield CommandLine()
        yield KeyBar()

    async def fill(self, pilot: Pilot[Any]) -> None:
        host = HostFigures(0, 3 * GIB, 24 * GIB, 1.2, 61 << 20, Pressure(1.0, 0.0, 4.0))
        for percent in (5, 20, 40, 38, 61, 92, 70, 61):
            self.query_one(TopBar).show(
                "/var/lib/cowl", {"running": 2, "paused": 1, "exited": 1}, host._replace(cpu_percent=percent)
            )
        self.query_one("#diff", Preview).show_diff(
            FileDiff("/srv/app.py", "modified", False, DIFF, 2, 1, False)
        )
        self.query_one("#dump", Preview).show_diff(FileDiff("/bin/ls", "added", True, DUMP, 0, 0, True))
        await pilot.pause()
        for tick in (1, 2):
            self.query_one(Resources).show(busy(tick), histories(), "id-api")
            self.query_one(Usage).show("api", busy(tick)[0], histories()["id-api"])
            await pilot.pause()
        self.query_one(Logs).start("api")
        self.query_one(Logs).append(SAID)
        self.query_one(CommandLine).show("cowl commit api api:1", "z undoes")
        self.query_one(KeyBar).show(KEYS)
        self.query_one(Resources).focus()
        await pilot.pause()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_widgets(snap_compare: Compare, size: tuple[int, int]) -> None:
    app = Gallery()
    assert snap_compare(app, terminal_size=size, run_before=app.fill)


@pytest.mark.parametrize("theme", ["cowl-light", "cowl-ansi"])
def test_the_widgets_in_other_themes(snap_compare: Compare, theme: str) -> None:
    app = Gallery(theme)
    assert snap_compare(app, terminal_size=(120, 40), run_before=app.fill)


def launch() -> LaunchScreen:
    return LaunchScreen("ubuntu:14.04", "sh -c 'while :; do :; done'", "api", taken=("api",))


def welcome() -> WelcomeScreen:
    screen = WelcomeScreen("/var/lib/cowl")
    screen.call_later(lambda: screen.progress(Progress("starter:base", 30 << 20, 70 << 20)))
    return screen


DIALOGS: dict[str, Callable[[], ModalScreen[Any]]] = {
    "launch": launch,
    "commit": lambda: CommitScreen("api", "api:2", "1,211 paths · 3.2M"),
    "confirm": lambda: ConfirmScreen(
        "Remove ubuntu:12.04", Removal(("tag ubuntu:12.04", "node 8a1f03c2"), ("a",), (), 74 << 20, ())
    ),
    "blocked": lambda: ConfirmScreen(
        "Remove py:3.11", Removal(("tag py:3.11",), (), (), 0, ("container notebook uses py:3.11",))
    ),
    "limits": lambda: LimitsScreen(container("api", "base", limits=Limits(cpus=0.5, memory=64 << 20))),
    "signal": lambda: SignalScreen("api"),
    "prompt": lambda: PromptScreen("Tag 8a1f03c2", "name", "api:2", note="a second name for the same node"),
    "help": lambda: HelpScreen(
        [(name, [(key, f"does {key}") for key in "abcdefg"]) for name in ("Everywhere", "Forest", "Changes")]
    ),
    "welcome": welcome,
}


@pytest.mark.parametrize("name", DIALOGS)
@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_dialogs(snap_compare: Compare, name: str, size: tuple[int, int]) -> None:
    async def ask(pilot: Pilot[Any]) -> None:
        await pilot.app.push_screen(DIALOGS[name]())
        for each in pilot.app.screen.query("Input"):
            each.cursor_blink = False
        await pilot.pause()

    assert snap_compare(ThemedApp(), terminal_size=size, run_before=ask)
