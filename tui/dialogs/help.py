"""The help overlay: every key, grouped by where it works, made from the bindings themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, TypeAlias

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.geometry import clamp
from textual.keys import format_key
from textual.widget import Widget
from textual.widgets import Static

from tui import format as fmt
from tui.dialogs.frame import Dialog
from tui.theme import Span

Keys: TypeAlias = Sequence[tuple[str, str]]
Groups: TypeAlias = Sequence[tuple[str, Keys]]
COLUMN = 33


class HelpScreen(Dialog[None]):
    """Groups of keys in as many columns as the terminal is wide."""

    DEFAULT_CSS = """
    HelpScreen > .frame { width: 90%; max-width: 150; height: auto; max-height: 96%; }
    HelpScreen .columns { height: auto; }
    HelpScreen .column { width: 1fr; height: auto; padding: 0 1 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,q", "cancel", show=False, id="help.close"),
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
    ]
    heading = "Keys"
    hints = "j k scroll · esc close"

    def __init__(self, groups: Groups) -> None:
        super().__init__()
        self.groups = groups

    def body(self) -> Iterable[Widget]:
        """The groups, dealt out so that the columns are about equally long."""
        count = clamp((self.app.size.width * 9 // 10 - 4) // COLUMN, 1, 3)
        with Horizontal(classes="columns"):
            for column in deal(self.groups, count):
                with Vertical(classes="column"):
                    yield Static(self._text(column))

    def submit(self) -> None:
        """Enter closes too."""
        self.dismiss(None)

    def action_move(self, lines: int) -> None:
        """Where it is longer than the terminal, it scrolls."""
        self.query_one(".frame", VerticalScroll).scroll_relative(y=lines, animate=False)

    def _text(self, groups: Groups) -> Text:
        lines: list[Text] = []
        width = max((cell_len(key) for _, keys in groups for key, _ in keys), default=0)
        for heading, keys in groups:
            lines.append(self.text((Span(heading, "title"),)))
            lines += [
                self.text((Span(f" {fmt.fit(key, width)}  ", "key"), Span(what, "text")))
                for key, what in keys
            ]
            lines.append(Text(""))
        return Text("\n", no_wrap=True, overflow="ellipsis").join(lines[:-1])


def deal(groups: Groups, columns: int) -> list[list[tuple[str, Keys]]]:
    """The groups in their order, cut into that many columns of about equal height."""
    heights = [len(keys) + 2 for _, keys in groups]
    share = sum(heights) / columns
    dealt: list[list[tuple[str, Keys]]] = [[] for _ in range(columns)]
    before = 0.0
    for group, height in zip(groups, heights, strict=True):
        dealt[min(columns - 1, int((before + height / 2) / share))].append(group)
        before += height
    return [column for column in dealt if column]


def bindings(
    declared: Iterable[BindingType], keymap: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """The keys and descriptions of declared bindings, remapped by id as the app's keymap says.

    Bindings without a description are left out; several keys of one binding are shown together.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    for binding in Binding.make_bindings(declared):
        if binding.description:
            remapped = (keymap or {}).get(binding.id or "", "")
            keys = remapped.split(",") if remapped else [binding.key]
            shown = [binding.key_display] if binding.key_display and not remapped else map(format_key, keys)
            row = rows.setdefault((binding.action, binding.description), [])
            row += [key for key in shown if key not in row]
    return [(" ".join(keys), description) for (_, description), keys in rows.items()]
