"""The preview: a changed file as a unified diff, a binary as a hex dump, anything else as a sentence or text.

The text is cut into lines once; colours are found for visible lines only.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import ClassVar

from pygments.lexer import Lexer
from textual import events
from textual.content import Content

from engine.model import FileDiff
from tui import difftext, syntax
from tui import format as fmt
from tui.difftext import DiffLine
from tui.theme import Line, Role, Span
from tui.widgets.lines import Lines

TAB = 4
KEPT = 1000
"""Lines whose colours are remembered."""
_DUMP = re.compile(r"([0-9a-fA-F]{4,16}:?)(\s+)((?:[0-9a-fA-F]{2,4} {1,2})+)(\s*)(.*)$")


class Preview(Lines):
    """One file or text. Its title stands in the border, what it is about in its first line."""

    BORDER_TITLE: ClassVar[str] = "Preview"
    DEFAULT_CSS = "Preview { height: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._head: list[Line] = []
        self._diff: list[DiffLine] = []
        self._text: list[str] = []
        self._sentence = ""
        self._lexer: Lexer | None = None
        self._digits = 1
        self._made: dict[int, tuple[Line, Role | None]] = {}
        self._shown: object = None

    def show_diff(self, diff: FileDiff) -> None:
        """A changed path. The view stays where it is when the same path is shown again."""
        again = isinstance(self._shown, FileDiff) and self._shown.path == diff.path
        if self._shown == diff:
            return
        self._clear(diff, "Hex" if diff.binary else "Diff", keep_place=again)
        self._head = [_heading(diff)]
        self._lexer = syntax.lexer_for(diff.path)
        if diff.binary:
            self._text = _lines(diff.text)
        elif "@@" in diff.text:
            self._diff = difftext.parse(diff.text)
            self._digits = len(str(max((line.number for line in self._diff), default=1)))
        else:
            self._sentence = diff.text.strip()
        if diff.truncated:
            self.border_subtitle = "only the beginning is shown"
        self._measure()

    def show_text(self, title: str, text: str) -> None:
        """A text; JSON and what the title's suffix tells are coloured."""
        if self._shown == (title, text):
            return
        self._clear((title, text), title)
        self._text = _lines(text)
        json = text.lstrip()[:1] in ("{", "[")
        self._lexer = syntax.lexer_named("json") if json else syntax.lexer_for(title)
        self._measure()

    def show_lines(self, title: str, lines: Sequence[Line]) -> None:
        """Lines that are made already: what is known of a node or a container."""
        shown = (title, tuple(lines))
        if self._shown == shown:
            return
        again = isinstance(self._shown, tuple) and self._shown[0] == title
        self._clear(shown, title, keep_place=again)
        self._head = list(lines)
        self._measure()

    @property
    def text(self) -> str:
        """What is shown, as plain text: for copying."""
        if isinstance(self._shown, FileDiff):
            return self._shown.text
        return "\n".join(
            "".join(span.text for span in self.line(at)[0]) for at in range(self.virtual_size.height)
        )

    @property
    def about(self) -> str:
        """What that text is, in a few words; "" where there is nothing to see."""
        if isinstance(self._shown, FileDiff):
            return f"the preview of {self._shown.path}"
        return f"what is known of {self._shown[0]}" if isinstance(self._shown, tuple) else ""

    def show_nothing(self, sentence: str) -> None:
        """Nothing to see, and why."""
        if self._shown == sentence:
            return
        self._clear(sentence, self.BORDER_TITLE)
        self._sentence = sentence
        self._measure()

    def line(self, index: int) -> tuple[Line, Role | None]:
        """See `Lines`."""
        made = self._made.get(index)
        if made is None:
            if len(self._made) >= KEPT:
                self._made.clear()
            made = self._made[index] = self._make(index)
        return made

    def on_resize(self, event: events.Resize) -> None:
        """Sentences are wrapped to the width."""
        super().on_resize(event)
        if self._sentence:
            self._measure()

    def _make(self, index: int) -> tuple[Line, Role | None]:
        if index < len(self._head):
            return self._head[index], None
        at = index - len(self._head)
        if self._diff:
            return self._diff_line(self._diff[at])
        if isinstance(self._shown, FileDiff) and self._shown.binary:
            return dump_line(self._text[at]), None
        if self._sentence:
            return (Span(self._text[at], "muted"),), None
        return syntax.spans(self._lexer, fmt.safe(self._text[at])), None

    def _diff_line(self, line: DiffLine) -> tuple[Line, Role | None]:
        if line.kind == "hunk":
            place, _, context = line.text.rpartition("@@")
            return (Span(f"{place}@@", "hunk"), Span(fmt.safe(context), "muted")), None
        if line.kind == "remark":
            return (Span(" " * (self._digits + 3)), Span(fmt.safe(line.text), "muted")), None
        number = Span(f"{line.number:>{self._digits}} ", "muted")
        text = _plain(line.text)
        if line.kind == "same":
            return (number, Span(" "), *syntax.spans(self._lexer, text)), None
        sign, role, ground, word = SIGNS[line.kind]
        spans = syntax.spans(self._lexer, text) if self._coloured() else (Span(text, role),)
        if line.mate >= 0:
            spans = emphasise(spans, *difftext.changed_part(text, _plain(self._diff[line.mate].text)), word)
        return (number, Span(sign, role), *spans), ground

    def _coloured(self) -> bool:
        """Whether the theme has grounds for lines, so that the text may have its language's colours."""
        return not self.app.native_ansi_color

    def _clear(self, shown: object, title: str, *, keep_place: bool = False) -> None:
        self._shown = shown
        self._head, self._diff, self._text, self._sentence, self._lexer = [], [], [], "", None
        self._made.clear()
        self.border_title = Content(fmt.safe(title))
        self.border_subtitle = ""
        if not keep_place:
            self.scroll_to(0, 0, animate=False, immediate=True)

    def _measure(self) -> None:
        if self._sentence:
            width = max(10, self.scrollable_content_region.width)
            self._text = textwrap.wrap(fmt.safe(self._sentence), width)
            self._made.clear()
        body = [line.text for line in self._diff] or self._text
        head = (sum(len(span.text) for span in line) for line in self._head)
        widest = max((len(text) for text in body), default=0) + (self._digits + 2 if self._diff else 0)
        self.resize(len(self._head) + len(body), 1 if self._sentence else max(widest, *head, 1))

    def notify_style_update(self) -> None:
        """Another theme may have no grounds for lines."""
        self._made.clear()
        super().notify_style_update()


SIGNS: dict[str, tuple[str, Role, Role, Role]] = {
    "added": ("+", "added", "added_line", "added_word"),
    "removed": ("-", "deleted", "deleted_line", "deleted_word"),
}


def emphasise(line: Line, start: int, stop: int, role: Role) -> Line:
    """The line with the characters from `start` to `stop` in that role."""
    if start >= stop:
        return line
    spans: list[Span] = []
    at = 0
    for span in line:
        before = max(0, min(len(span.text), start - at))
        after = max(before, min(len(span.text), stop - at))
        parts = (
            Span(span.text[:before], span.role),
            Span(span.text[before:after], role),
            Span(span.text[after:], span.role),
        )
        spans += [part for part in parts if part.text]
        at += len(span.text)
    return tuple(spans)


def dump_line(text: str) -> Line:
    """A line of a hex dump: offset, bytes (zeros faint) and characters told apart."""
    found = _DUMP.match(text)
    if found is None:
        return (Span(fmt.safe(text), "muted"),)
    offset, gap, data, blanks, characters = found.groups()
    spans = [Span(offset + gap, "muted")]
    for part in re.split(r"((?:00 {1,2})+)", data):
        if part:
            spans.append(Span(part, "faint" if part.strip("0 ") == "" else "text"))
    return (*spans, Span(blanks), Span(fmt.safe(characters), "good"))


def _heading(diff: FileDiff) -> Line:
    kind: Role = diff.kind
    letter = Span(f"{diff.kind[0].upper()} ", kind)
    path = Span(fmt.safe(diff.path.lstrip("/")), "title")
    if diff.binary or not (diff.added or diff.removed):
        return (letter, path)
    return (letter, path, Span(f"  +{diff.added}", "added"), Span(f" −{diff.removed}", "deleted"))


def _plain(text: str) -> str:
    return fmt.safe(text.expandtabs(TAB))


def _lines(text: str) -> list[str]:
    lines = text.expandtabs(TAB).split("\n")
    return lines[:-1] if lines and not lines[-1] else lines
