"""Every key of the app in one table: bindings, help and the key bar are made of it.

Each has an id, so that a keymap can move it. No `ctrl+m/i/h/j/[`: many terminals send Enter, Tab, Backspace,
newline and Escape for those.
"""

from __future__ import annotations

from typing import NamedTuple

from textual.binding import Binding, BindingType

from engine.model import State


class Key(NamedTuple):
    """One thing that the app does at a key."""

    id: str
    keys: str
    """Textual's key names, separated by commas."""
    action: str
    what: str
    """A word or two for the key bar, the palette and help."""
    group: str


KEYS: tuple[Key, ...] = (
    Key("container.launch", "n", "launch", "launch", "Containers"),
    Key("container.toggle", "s", "start_stop", "start / stop", "Containers"),
    Key("container.restart", "r", "restart", "restart", "Containers"),
    Key("container.pause", "p", "pause", "pause / go on", "Containers"),
    Key("container.shell", "e", "shell", "shell", "Containers"),
    Key("container.shell_full", "E", "shell", "shell, full screen", "Containers"),
    Key("container.attach", "a", "attach", "attach", "Containers"),
    Key("container.logs", "l", "logs", "logs", "Containers"),
    Key("container.inspect", "i", "inspect", "inspect", "Containers"),
    Key("container.signal", "S", "signal", "send a signal", "Containers"),
    Key("container.update", "u", "update", "change limits", "Containers"),
    Key("container.rename", "R", "rename", "rename", "Containers"),
    Key("container.remove", "d", "remove", "remove", "Containers"),
    Key("changes.stage", "space", "stage", "stage for the commit", "Changes and images"),
    Key("changes.commit", "c", "commit", "commit", "Changes and images"),
    Key("changes.commit_with", "C", "commit_with", "commit with options", "Changes and images"),
    Key("image.load", "L", "load", "load an archive", "Changes and images"),
    Key("image.tag", "T", "tag", "tag", "Changes and images"),
    Key("pane.forest", "1", "pane('forest')", "forest", "Panes"),
    Key("pane.containers", "2", "pane('containers')", "containers", "Panes"),
    Key("pane.changes", "3", "pane('changes')", "changes", "Panes"),
    Key("pane.resources", "4", "pane('resources')", "resources", "Panes"),
    Key("pane.logs", "5", "pane('logs')", "logs", "Panes"),
    Key("pane.next", "tab", "next_pane(1)", "next pane", "Panes"),
    Key("pane.previous", "shift+tab", "next_pane(-1)", "previous pane", "Panes"),
    Key("pane.zoom", "plus", "zoom(True)", "zoom the pane", "Panes"),
    Key("pane.unzoom", "underscore", "zoom(False)", "all panes again", "Panes"),
    Key("pane.back", "escape", "leave", "back", "Panes"),
    Key("app.filter", "slash", "filter", "filter the pane", "Everywhere"),
    Key("app.copy", "y", "copy", "copy", "Everywhere"),
    Key("app.palette", "colon,ctrl+p", "command_palette", "palette", "Everywhere"),
    Key("app.help", "question_mark", "help", "help", "Everywhere"),
    Key("app.quit", "q,ctrl+q", "quit", "quit", "Everywhere"),
)
CHANGING = frozenset(
    key.action
    for key in KEYS
    if key.group in ("Containers", "Changes and images")
    and key.action not in ("logs", "inspect", "stage", "load")
)
"""The actions that change what is selected, or begin to: it must be what somebody has selected."""
MOVES: tuple[tuple[str, str], ...] = (
    ("j k ↓ ↑", "move"),
    ("g G", "first, last"),
    ("PgDn PgUp", "by the page"),
    ("h l ← →", "fold, unfold"),
    ("Enter", "open: fold a branch, read a file"),
)
"""What every list answers to, for the help page."""
SHORT = {
    "container.toggle": "stop",
    "container.pause": "pause",
    "changes.stage": "stage",
    "changes.commit_with": "with options",
    "app.filter": "filter",
    "pane.zoom": "zoom",
}
"""Shorter words for the key bar."""
NAMES = {
    "slash": "/",
    "plus": "+",
    "underscore": "_",
    "question_mark": "?",
    "colon": ":",
    "escape": "Esc",
    "tab": "Tab",
    "shift+tab": "Shift-Tab",
    "enter": "Enter",
    "space": "Space",
    "ctrl+p": "Ctrl-P",
    "ctrl+q": "Ctrl-Q",
}


def bindings() -> list[BindingType]:
    """The app's bindings."""
    return [
        Binding(key.keys, key.action, key.what, id=key.id, show=False)
        for key in KEYS
        if not key.action.startswith("next_pane")  # The screen has a Tab of its own: the desk binds these.
    ]


def first_of(action: str) -> str:
    """The key of an action, as it is printed on keyboards: of several the first."""
    return shown(next(key.keys for key in KEYS if key.action == action).split(",")[0])


def shown(keys: str) -> str:
    """Key names as they are printed on keyboards: `: Ctrl-P`."""
    return " ".join(NAMES.get(key, key) for key in keys.split(","))


def help_groups() -> list[tuple[str, list[tuple[str, str]]]]:
    """The help page: headings with their keys."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for key in KEYS:
        groups.setdefault(key.group, []).append((shown(key.keys), key.what))
    return [("Lists", list(MOVES)), *groups.items()]


def bar(pane: str, state: State | None) -> list[tuple[str, str]]:
    """What the key bar offers in a pane, with a container in that state selected (None: a node)."""
    ids: tuple[str, ...]
    if pane == "changes" and state:
        ids = (
            "changes.stage",
            "changes.commit",
            "changes.commit_with",
            "container.shell",
            "container.toggle",
            "app.copy",
        )
    elif pane in ("preview", "logs"):
        ids = ("pane.back", "app.copy", "container.shell", "changes.commit")
    elif state:
        ids = (
            "container.shell",
            "changes.commit",
            "container.toggle",
            "container.pause",
            "container.launch",
            "container.logs",
            "container.remove",
        )
    else:
        ids = ("container.launch", "image.tag", "container.inspect", "container.remove", "app.copy")
    return [_entry(each, state) for each in (*ids, "app.help", "app.filter", "pane.zoom", "app.quit")]


def _entry(key_id: str, state: State | None) -> tuple[str, str]:
    key = next(key for key in KEYS if key.id == key_id)
    what = SHORT.get(key_id, key.what)
    if key_id == "container.toggle" and state not in ("running", "paused", "restarting"):
        what = "start"
    elif key_id == "container.pause" and state == "paused":
        what = "go on"
    return shown(key.keys.split(",")[0]), what
