"""Pane 5: what a container says, followed as it comes, or one text (an inspect document) in its place.

At most `MOST` lines are kept; only visible ones are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from pygments.lexer import Lexer
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.reactive import reactive

from engine.model import LogLine
from tui import format as fmt
from tui import syntax
from tui.theme import Line, Role, Span
from tui.widgets.lines import Lines

MOST = 10_000
TAB = 8
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_SEVERE = re.compile(r"\b(?:ERROR|FATAL|CRIT(?:ICAL)?|PANIC|EMERG|Traceback)\b")
_WARNING = re.compile(r"\bWARN(?:ING)?\b")


class Logs(Lines):
    """Lines of both streams; stderr has a mark of its own. It follows while its end is in view."""

    BORDER_TITLE: ClassVar[str] = "5 Logs"
    DEFAULT_CSS = "Logs { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "timestamps", "Timestamps on or off", show=False, id="logs.timestamps"),
        Binding("f", "follow", "Follow again", show=False, id="logs.follow"),
        Binding("n", "match(1)", "Next match", show=False, id="logs.next"),
        Binding("N", "match(-1)", "Previous match", show=False, id="logs.previous"),
    ]

    timestamps: reactive[bool] = reactive(True, init=False)
    following: reactive[bool] = reactive(True, init=False)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._lines: list[LogLine] = []
        self._kept: list[LogLine] = []
        """The lines that the filter lets through."""
        self._begun = 0
        """How many of the last lines have no end yet."""
        self._needle = ""
        self._search = ""
        self._text: list[str] | None = None
        self._text_of = ""
        self._lexer: Lexer | None = None
        self._widest = 0
        self._title = ""
        self._noted: tuple[str, str] | None = None

    # What comes in.

    def start(self, title: str) -> None:
        """Another container's log begins: what is shown goes."""
        self._lines, self._kept, self._begun, self._text = [], [], 0, None
        self._widest = 0
        self._title = title
        self.empty = "it has said nothing yet" if title else "select a container"
        self.following = True
        self._measure()

    def append(self, lines: Sequence[LogLine], begun: Sequence[LogLine] = ()) -> None:
        """More lines, oldest first. The view follows them, or stays on the lines it shows.

        Those that have *begun* and have no end yet stand at the end until the next call.
        """
        if not lines and not begun and not self._begun:
            return
        self._drop_begun()
        self._begun = len(begun)
        lines = (*lines[-MOST:], *begun)
        self._lines += lines[-MOST:]
        fresh = [line for line in lines[-MOST:] if self._passes(line)]
        self._kept += fresh
        dropped = len(self._lines) - MOST
        lost = 0
        if dropped > 0:
            lost = sum(self._passes(line) for line in self._lines[:dropped]) if self._needle else dropped
            del self._lines[:dropped]
            del self._kept[:lost]
        self._widest = max(self._widest, max((len(line.text) for line in fresh), default=0))
        if self._text is None:
            if lost and not self.following:
                self.scroll_to(y=max(0, self.scroll_offset.y - lost), animate=False, immediate=True)
            self._measure()

    def show_text(self, title: str, text: str) -> None:
        """One text, JSON or plain, instead of the log; `start` or `show_log` brings the log back."""
        self._text, self._text_of = text.split("\n"), title
        self._lexer = syntax.lexer_named("json") if text.lstrip()[:1] in ("{", "[") else None
        self._noted = None
        self.border_title = Content(fmt.safe(title))
        self.border_subtitle = ""
        self.resize(len(self._text), max(map(len, self._text)))
        self.scroll_to(0, 0, animate=False, immediate=True)

    def show_log(self) -> None:
        """The log again, after a text."""
        if self._text is not None:
            self._text = None
            self.following = True
            self._measure()

    def filter(self, needle: str) -> None:
        """Show only lines that contain this, whatever the case; "" shows all."""
        self._needle = needle.lower()
        self._kept = [line for line in self._lines if self._passes(line)]
        self._measure()

    def search(self, needle: str) -> bool:
        """Mark what contains this and go to the newest such line; False where there is none."""
        self._search = needle.lower()
        self.refresh()
        return bool(needle) and self._go_to_match(len(self._kept), -1)

    @property
    def showing_text(self) -> bool:
        """Whether a text stands in the log's place."""
        return self._text is not None

    @property
    def needle(self) -> str:
        """What the lines are filtered by."""
        return self._needle

    @property
    def text(self) -> str:
        """What is shown, as plain text: for copying."""
        return "\n".join(self._text if self._text is not None else (clean(line.text) for line in self._kept))

    @property
    def about(self) -> str:
        """What that text is, in a few words; "" where there is none."""
        if self._text is not None:
            return f"what is recorded of {self._text_of}"
        lines = f"{len(self._kept)} of {len(self._lines)} lines of " if self._needle else ""
        return f"{lines}the log of {self._title}" if self._title else ""

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """`n` and `N` are anybody's while nothing is searched for."""
        if action == "match":
            return bool(self._search)
        return super().check_action(action, parameters)

    def action_timestamps(self) -> None:
        """Show when each line was written, or do not."""
        self.timestamps = not self.timestamps

    def action_follow(self) -> None:
        """To the end, and on with it."""
        self.following = True
        self._to_end()

    def action_match(self, step: int) -> None:
        """The next line that matches the search, up or down."""
        self._go_to_match(self.scroll_offset.y, step)

    def watch_timestamps(self) -> None:
        """Draw again."""
        self.refresh()

    def watch_following(self) -> None:
        """Say so."""
        self._note()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Scrolled up: stop following; at the end: follow."""
        super().watch_scroll_y(old_value, new_value)
        if self._text is None:
            self.following = new_value >= self.max_scroll_y

    def on_resize(self, event: events.Resize) -> None:
        """The end stays in view."""
        super().on_resize(event)
        if self._text is None and self.following:
            self.call_after_refresh(self._to_end)

    # Drawing.

    def line(self, index: int) -> tuple[Line, Role | None]:
        """See `Lines`."""
        if self._text is not None:
            return syntax.spans(self._lexer, fmt.safe(self._text[index])), None
        entry = self._kept[index]
        text = clean(entry.text)
        role: Role = "bad" if _SEVERE.search(text) else "warning" if _WARNING.search(text) else "text"
        mark = Span("! ", "bad") if entry.stream == "stderr" else Span("  ")
        body = marked(text, self._search or self._needle, role)
        stamp = (Span(f"{fmt.clock(entry.time)} ", "muted"),) if self.timestamps else ()
        return (*stamp, mark, *body), None

    def _measure(self) -> None:
        self.resize(len(self._kept), self._widest + 16)
        if self.following:
            self._to_end()
        self._note()

    def _to_end(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True)

    def _note(self) -> None:
        if self._text is not None:
            return
        filtered = f"{len(self._kept)} of {len(self._lines)} lines" if self._needle else ""
        state = "" if self.following or not self._kept else "paused: G follows"
        note = (self._title, " · ".join(part for part in (filtered, state) if part))
        if note != self._noted:
            self._noted = note
            self.border_title = Content(f"5 Logs · {fmt.safe(note[0])}" if note[0] else "5 Logs")
            self.border_subtitle = note[1]

    def _drop_begun(self) -> None:
        if self._begun:
            passing = sum(map(self._passes, self._lines[-self._begun :]))
            del self._lines[-self._begun :]
            del self._kept[len(self._kept) - passing :]

    def _passes(self, line: LogLine) -> bool:
        return not self._needle or self._needle in line.text.lower()

    def _go_to_match(self, start: int, step: int) -> bool:
        index = start + step
        while 0 <= index < len(self._kept):
            if self._search in self._kept[index].text.lower():
                self.scroll_to(y=index, animate=False, immediate=True)
                return True
            index += step
        return False


def clean(text: str) -> str:
    """A log line without escape sequences, its carriage returns obeyed, everything else visible."""
    plain = _ESCAPE.sub("", text).rstrip("\r")
    return fmt.safe(plain.rpartition("\r")[2].expandtabs(TAB))


def marked(text: str, needle: str, role: Role) -> Line:
    """The text in a role, with every occurrence of the needle (lower case) marked."""
    if not needle:
        return (Span(text, role),)
    spans: list[Span] = []
    at, lower = 0, text.lower()
    while len(lower) == len(text) and (found := lower.find(needle, at)) >= 0:
        spans += [Span(text[at:found], role), Span(text[found : found + len(needle)], "match")]
        at = found + len(needle)
    return (*(span for span in spans if span.text), Span(text[at:], role))
