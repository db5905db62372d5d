"""The frame that every dialog has: a bordered box in the middle, keys in its bottom border, Esc to leave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget

from tui import theme
from tui.theme import Line

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """A box with a title and the keys that it answers to. Subclasses give `body` and `submit`."""

    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 55%; }
    Dialog:ansi { background: transparent; }
    Dialog > .frame {
        width: 76; max-width: 100%; height: auto; max-height: 100%; padding: 0 1;
        background: $background; color: $foreground; border: round $border;
        border-title-color: $border; border-title-style: bold; border-subtitle-color: $text-muted;
        scrollbar-size-vertical: 1;
    }
    Dialog .gap { height: 1; }
    Dialog .note { height: auto; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False, id="dialog.cancel"),
        Binding("enter", "submit", "Accept", show=False, id="dialog.submit"),
        Binding("tab", "field(1)", "Next field", show=False, priority=True, id="dialog.next"),
        Binding("shift+tab", "field(-1)", "Previous field", show=False, priority=True, id="dialog.previous"),
    ]
    AUTO_FOCUS = "Input, Flag, Choice, .focus"

    heading = ""
    hints = "enter accept · esc cancel"

    def compose(self) -> ComposeResult:
        """The frame around `body`."""
        with VerticalScroll(classes="frame", can_focus=False) as frame:
            frame.border_title = Text(self.heading)
            frame.border_subtitle = Text(self.hints)
            yield from self.body()

    def body(self) -> Iterable[Widget]:
        """What stands in the frame."""
        return ()

    def look(self) -> None:
        """Show what follows from what stands in the fields."""

    def submit(self) -> None:
        """Answer the question, or say why it cannot be answered yet."""

    def on_mount(self) -> None:
        """Show what follows from what stands there already."""
        if self.is_attached:  # An app that is to end just now puts nothing into the frame any more.
            self.look()

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Give the answer and go.

        Once: what is pressed twice in a hurry comes twice, and the second time would take away what is below.
        """
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def action_submit(self) -> None:
        """Enter, from any field that has no use for it itself."""
        self.submit()

    def on_input_submitted(self) -> None:
        """Enter in a text field is Enter in the dialog."""
        self.submit()

    def action_field(self, step: int) -> None:
        """The next or previous field.

        At once, ahead of the keys that wait for the field before: what is typed after Tab belongs to the next
        field, however fast it comes.
        """
        if step > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_cancel(self) -> None:
        """Esc: no answer."""
        self.dismiss(None)

    def text(self, line: Line) -> Text:
        """A line of spans in the colours of the theme in use."""
        styles = theme.styles(self.app.theme)
        text = Text(overflow="ellipsis", no_wrap=True)
        for span in line:
            text.append(span.text, styles[span.role])
        return text
