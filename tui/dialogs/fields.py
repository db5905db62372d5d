"""The fields of a form, one line high: text with a label, yes or no, one of a few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Label

from tui import theme
from tui.widgets.entry import Entry


class Field(Horizontal):
    """A label and a line of text. `field.value` is what stands in it; `input_id` names the Input inside."""

    DEFAULT_CSS = """
    Field { height: 1; width: 1fr; }
    Field > Label { width: 11; color: $text-muted; }
    Field > Label.-short { width: auto; padding: 0 1 0 2; }
    Field.-focused > Label { color: $border; text-style: bold; }
    Field.-wrong > Label { color: $error; text-style: bold; }
    Field > Input { width: 1fr; height: 1; border: none; padding: 0 1; background: $surface; }
    Field > Input:focus { border: none; background: $surface; }
    """

    def __init__(
        self, label: str, value: str = "", *, name: str, placeholder: str = "", short: bool = False
    ) -> None:
        super().__init__(name=name, id=f"field-{name}")
        self._label = Label(label, classes="-short" if short else "")
        self.input = Entry(value, placeholder=placeholder, id=name, compact=True, select_on_focus=False)

    @property
    def value(self) -> str:
        """The text, without the blanks around it."""
        return self.input.value.strip()

    def on_descendant_focus(self) -> None:
        """The label of the field that is being typed into stands out."""
        self.add_class("-focused")

    def on_descendant_blur(self) -> None:
        """And only that one."""
        self.remove_class("-focused")

    def compose(self) -> ComposeResult:
        """Label and input, side by side."""
        yield self._label
        yield self.input


class Flag(Widget, can_focus=True):
    """Yes or no: space turns it."""

    DEFAULT_CSS = """
    Flag { height: 1; width: auto; margin: 0 3 0 0; }
    Flag:focus { background: $block-cursor-background; text-style: $block-cursor-text-style; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "turn", "Turn", show=False)]

    value = reactive(False, layout=False)

    class Changed(Message):
        """The flag was turned."""

    def __init__(self, label: str, value: bool = False, *, name: str) -> None:
        super().__init__(name=name, id=name)
        self._label = label
        self.set_reactive(Flag.value, value)

    def render(self) -> Text:
        """`[x] label`."""
        styles = theme.styles(self.app.theme)
        mark, role = ("x", styles["good"]) if self.value else (" ", styles["muted"])
        return Text.assemble(("[", styles["muted"]), (mark, role), ("] ", styles["muted"]), self._label)

    def action_turn(self) -> None:
        """Yes becomes no, no becomes yes."""
        self.value = not self.value
        self.post_message(self.Changed())

    def on_click(self) -> None:
        """A click does what space does."""
        self.action_turn()


class Choice(Widget, can_focus=True):
    """One of a few words: left, right or space moves on."""

    DEFAULT_CSS = """
    Choice { height: 1; width: auto; }
    Choice:focus { background: $block-cursor-background; text-style: $block-cursor-text-style; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space,l", "move(1)", "Next", show=False),
        Binding("left,h", "move(-1)", "Previous", show=False),
    ]

    value: reactive[str] = reactive("", layout=False)

    class Changed(Message):
        """Another word was chosen."""

    def __init__(self, options: Sequence[str], value: str = "", *, name: str) -> None:
        super().__init__(name=name, id=name)
        self.options = tuple(options)
        self.set_reactive(Choice.value, value or self.options[0])

    def render(self) -> Text:
        """`(•) none  ( ) host`."""
        styles = theme.styles(self.app.theme)
        text = Text()
        for index, option in enumerate(self.options):
            chosen = option == self.value
            text.append("  " if index else "")
            text.append("(•) " if chosen else "( ) ", styles["good" if chosen else "muted"])
            text.append(option, styles["text" if chosen else "muted"])
        return text

    def action_move(self, step: int) -> None:
        """The next word, from the last on to the first."""
        self.value = self.options[(self.options.index(self.value) + step) % len(self.options)]
        self.post_message(self.Changed())

    def on_click(self) -> None:
        """A click moves on."""
        self.action_move(1)
