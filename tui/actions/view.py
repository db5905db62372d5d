"""Look around: panes, zoom, filter, copy, help."""

from __future__ import annotations

from functools import partial

from engine.model import Container, FileDiff
from tui import facts, keys
from tui.base import Base
from tui.commands import Palette
from tui.desk import Desk
from tui.dialogs.help import HelpScreen
from tui.widgets.changes import Changes
from tui.widgets.flatlist import FlatList
from tui.widgets.logs import Logs
from tui.widgets.preview import Preview

DIFF_DELAY = 0.05
"""Seconds that the cursor must stay on a path before its diff is read."""


class ViewActions(Base):
    """The keys that change nothing but the screen."""

    _path: str | None = None

    def action_pane(self, name: str) -> None:
        """Go to a pane."""
        self.desk.show_pane(name)

    def action_next_pane(self, step: int) -> None:
        """Go to the next pane, or the one before."""
        self.desk.next_pane(step)

    def action_zoom(self, zoomed: bool) -> None:
        """One pane on the whole screen, or all."""
        self.desk.zoom(zoomed)

    def action_leave(self) -> None:
        """Leave what is in the way: the filter, the zoom, the preview."""
        desk = self.desk
        pane = desk.query_one(f"#{desk.pane}")
        if (isinstance(pane, FlatList) and pane.outline.needle) or (isinstance(pane, Logs) and pane.needle):
            pane.filter("")
        elif desk.has_class("-zoom"):
            desk.zoom(False)
        elif desk.pane == "preview":
            desk.show_pane("changes")

    def action_filter(self) -> None:
        """Show only what matches, while it is typed; Esc brings back what was."""
        pane = self.desk.query_one(f"#{self.desk.pane}")
        if not isinstance(pane, FlatList | Logs):
            self.say("nothing to filter in this pane")
            return
        before = pane.outline.needle if isinstance(pane, FlatList) else pane.needle
        self.desk.command_line.ask("/", before, partial(self._filtered, pane, before), pane.filter)

    def action_copy(self) -> None:
        """Copy what the pane is about, by OSC 52: a path, an ID, a text."""
        text, what = self._copied()
        if text:
            self.copy_to_clipboard(text)
            self.say(f"copied {what}")
        else:
            self.say("nothing to copy here")

    def action_command_palette(self) -> None:
        """Everything by name."""
        self.push_screen(Palette(id="--command-palette"))

    def action_help(self) -> None:
        """Every key."""
        self.push_screen(HelpScreen(keys.help_groups()))

    def on_desk_path_selected(self, message: Desk.PathSelected) -> None:
        """Read the diff of a path, once the cursor rests on it."""
        message.stop()
        self._path = message.path
        if message.path is None:
            self.desk.show_facts()
        else:
            self.set_timer(DIFF_DELAY, partial(self._read_diff, message.path))

    # What follows.

    def _filtered(self, pane: FlatList[object] | Logs, before: str, text: str | None) -> None:
        pane.filter(before if text is None else text)

    def _read_diff(self, path: str) -> None:
        desk = self.desk
        if self._path != path or desk.item is None:
            return
        item = desk.item
        name = item.id if isinstance(item, Container) else item.chain_id
        work = partial(self.engine.changes.diff, name, path)
        self.job("", work, done=partial(self._show_diff, desk.subject), group="diff")

    def _show_diff(self, subject: str, diff: FileDiff) -> None:
        if self.desk.subject == subject and self._path == diff.path:
            self.desk.query_one(Preview).show_diff(diff)

    def _copied(self) -> tuple[str, str]:
        """The text to copy, and what it is called."""
        desk = self.desk
        if desk.pane == "changes":
            entry = desk.query_one(Changes).current
            return (entry.item.path, entry.item.path) if entry is not None else ("", "")
        if desk.pane in ("preview", "logs"):
            pane = desk.query_one(f"#{desk.pane}")
            assert isinstance(pane, Preview | Logs)
            return (pane.text, pane.about) if pane.about else ("", "")
        item = desk.item
        if item is None:
            return "", ""
        return (
            (item.id, f"the ID of {item.name}")
            if isinstance(item, Container)
            else (item.chain_id, f"the chain ID of {facts.name_of(item)}")
        )
