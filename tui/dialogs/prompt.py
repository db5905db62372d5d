"""One line of text: a tag, a name, a path, a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual import on
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.dialogs.fields import Field
from tui.dialogs.frame import Dialog
from tui.theme import Span

Check = Callable[[str], str]
"""Says what is wrong with a text, "" when nothing is."""


class PromptScreen(Dialog[str]):
    """Asks for a line; `check` is called as it is typed and keeps a wrong one from being given."""

    DEFAULT_CSS = """
    PromptScreen > .frame { width: 66; }
    """

    def __init__(
        self,
        title: str,
        label: str,
        value: str = "",
        *,
        placeholder: str = "",
        note: str = "",
        check: Check | None = None,
    ) -> None:
        super().__init__()
        self.heading = title
        self.note = note
        self.check = check or (lambda text: "")
        self.field = Field(label, value, name="value", placeholder=placeholder)

    def body(self) -> Iterable[Widget]:
        """The field and a line below it for what is to be said about it."""
        yield self.field
        yield Static(self.text((Span(self.note, "muted"),)), id="say")

    def submit(self) -> None:
        """The line, if nothing is wrong with it."""
        if not self.check(self.field.value):
            self.dismiss(self.field.value)

    @on(Input.Changed)
    def judge(self) -> None:
        """Say at once what is wrong."""
        wrong = self.check(self.field.value) if self.field.value else ""
        self.field.set_class(bool(wrong), "-wrong")
        line = (Span(wrong, "bad"),) if wrong else (Span(self.note, "muted"),)
        self.query_one("#say", Static).update(self.text(line))
