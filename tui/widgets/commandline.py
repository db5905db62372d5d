"""The two lines at the bottom: the command just done (or a question, or progress), and the keys that work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events, on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.model import Progress
from tui import format as fmt
from tui import keys, theme
from tui.theme import Line, Role, Span
from tui.widgets.entry import Entry
from tui.widgets.lines import strip

BAR = 24
PRESSED = {shown: key for key, shown in keys.NAMES.items()}
"""Textual's names of the keys that are shown by another one."""
Done = Callable[[str | None], None]
Changed = Callable[[str], None]


class CommandLine(Horizontal):
    """`$ cowl commit api api:1`: what was just done, as the command line would have it; or a question."""

    DEFAULT_CSS = """
    CommandLine { height: 1; padding: 0 1; background: $background; }
    CommandLine > Static { height: 1; width: auto; }
    CommandLine > .said { width: 1fr; }
    CommandLine > .label { padding: 0 1 0 0; color: $border; text-style: bold; }
    CommandLine > Input { width: 1fr; height: 1; border: none; padding: 0; }
    CommandLine > Input, CommandLine > Input:focus { border: none; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "Cancel", show=False, id="question.cancel"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._said = Static("", classes="said")
        self._label = Static("", classes="label")
        self._input = Entry(compact=True, select_on_focus=False)
        self._line: Line = ()
        self._question: tuple[Done, Changed | None] | None = None
        self._focus_before: Widget | None = None
        self._turn(asking=False)

    def compose(self) -> Iterable[Widget]:
        """What is said, and the question that takes its place."""
        yield self._said
        yield self._label
        yield self._input

    @property
    def asking(self) -> bool:
        """Whether a question is open."""
        return self._question is not None

    def show(self, command: str, note: str = "") -> None:
        """The command that does what was just done."""
        self._draw(
            (Span("$ ", "muted"), Span(fmt.safe(command)), Span(f"   {note}" if note else "", "muted"))
        )

    def say(self, text: str, role: Role = "muted") -> None:
        """A sentence."""
        self._draw((Span(fmt.safe(text), role),))

    def progress(self, progress: Progress) -> None:
        """How far a long operation is."""
        self._draw(progress_line(progress, BAR))

    def ask(self, label: str, value: str, done: Done, changed: Changed | None = None) -> None:
        """Turn into an input: Enter gives `done` the text, Esc gives it None, each key gives it to `changed`.

        Focus goes back to where it was before `done` is called.
        """
        if self._question is None:
            self._focus_before = self.screen.focused
        else:
            self._finish(None)
        self._question = (done, changed)
        self._label.update(Text(label))
        with self.prevent(Input.Changed):
            self._input.value = value
        self._input.cursor_position = len(value)
        self._turn(asking=True)
        self.screen.set_focus(self._input)

    def action_give_up(self) -> None:
        """Esc: no answer."""
        self._finish(None)

    @on(Input.Submitted)
    def answer(self, event: Input.Submitted) -> None:
        """Enter: the answer."""
        event.stop()
        self._finish(event.value)

    @on(Input.Changed)
    def look(self, event: Input.Changed) -> None:
        """A key was typed."""
        event.stop()
        if self._question is not None and self._question[1] is not None:
            self._question[1](event.value)

    def on_descendant_blur(self) -> None:
        """Going elsewhere is no answer either; that the terminal lost the focus is not going elsewhere."""
        if self._question is not None and self.app.app_focus and self.screen.focused is not self._input:
            self._focus_before = self.screen.focused
            self._finish(None)

    def notify_style_update(self) -> None:
        """Another theme: the same in its colours."""
        super().notify_style_update()
        if self.is_mounted:
            self._draw(self._line)

    def _finish(self, answer: str | None) -> None:
        if self._question is None:
            return
        done = self._question[0]
        self._question = None
        self._turn(asking=False)
        self.screen.set_focus(self._focus_before)
        done(answer)

    def _turn(self, *, asking: bool) -> None:
        """Show the question or what is said; at once, so that the very next key is the answer's first."""
        self._said.display = not asking
        self._label.display = self._input.display = asking

    def _draw(self, line: Line) -> None:
        self._line = line
        styles = theme.styles(self.app.theme)
        text = Text(no_wrap=True, overflow="ellipsis")
        for span in line:
            text.append(span.text, styles[span.role])
        self._said.update(text)


class KeyBar(Widget):
    """The keys that work where the focus is, as many as fit; a click on one is that key."""

    DEFAULT_CSS = "KeyBar { height: 1; padding: 0 1; background: $surface; color: $foreground; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._keys: tuple[tuple[str, str], ...] = ()

    def show(self, entries: Sequence[tuple[str, str]]) -> None:
        """Pairs of a key and what it does; those that matter most first."""
        if tuple(entries) != self._keys:
            self._keys = tuple(entries)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """`c commit  d remove …`, cut between entries."""
        width = self.content_size.width
        spans: list[Span] = []
        for key, what, _, _ in places(self._keys, width):
            spans += [Span(key, "key"), Span(f" {what}  ", "muted")]
        styles = theme.styles(self.app.theme)
        return strip(tuple(spans) if y == 0 else (), styles, width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        """Press the key that was clicked."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        for key, _, start, end in places(self._keys, self.content_size.width):
            if start <= offset.x < end:
                self.app.simulate_key(PRESSED.get(key, key.lower() if len(key) > 1 else key))


def places(entries: Iterable[tuple[str, str]], width: int) -> list[tuple[str, str, int, int]]:
    """The entries that fit whole, each with the cells from where to where it stands."""
    found: list[tuple[str, str, int, int]] = []
    x = 0
    for key, what in entries:
        end = x + cell_len(key) + 1 + cell_len(what)
        if end > width:
            break
        found.append((key, what, x, end))
        x = end + 2
    return found


def progress_line(progress: Progress, cells: int) -> Line:
    """A bar of that many cells with figures; without a total, the figures alone."""
    done = Span(fmt.size(progress.done), "number")
    step = Span(f"{fmt.safe(progress.step)}  ")
    if not progress.total:
        return (step, done) if progress.done else (step,)
    share = min(1.0, progress.done / progress.total)
    full = int(share * cells)
    bar = (Span("━" * full, "graph"), Span("━" * (cells - full), "faint"))
    return (step, *bar, Span(f" {share:4.0%} "), done, Span(f"/{fmt.size(progress.total)}", "muted"))
