"""Which signal to send to a container's first process."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.dialogs.frame import Dialog
from tui.theme import Span

SIGNALS: tuple[tuple[str, str], ...] = (
    ("TERM", "asks it to end"),
    ("INT", "as Ctrl-C does"),
    ("QUIT", "as Ctrl-\\ does, with a core dump"),
    ("HUP", "many servers read their configuration again"),
    ("USR1", "what it makes of it"),
    ("USR2", "what it makes of it"),
    ("KILL", "ends it at once, it cannot refuse"),
    ("STOP", "halts it"),
    ("CONT", "goes on after STOP"),
    ("WINCH", "the terminal changed its size"),
)


class SignalScreen(Dialog[str]):
    """A list of signals with what they usually do; the answer is a name without SIG."""

    DEFAULT_CSS = """
    SignalScreen > .frame { width: 60; }
    SignalScreen OptionList { height: auto; max-height: 18; border: none; padding: 0; }
    SignalScreen OptionList, SignalScreen OptionList:focus {
        background: $background; background-tint: transparent;
    }
    SignalScreen OptionList:focus { border: none; }
    """
    AUTO_FOCUS = "OptionList"
    hints = "enter send · esc cancel"

    def __init__(self, container: str) -> None:
        super().__init__()
        self.heading = f"Signal to {container}"

    def body(self) -> Iterable[Widget]:
        """One line a signal."""
        yield OptionList(
            *(
                Option(
                    self.text(
                        (
                            Span(f"{name:<7}", "accent"),
                            Span(f"{signal.Signals['SIG' + name].value:>3}  ", "muted"),
                            Span(what),
                        )
                    ),
                    id=name,
                )
                for name, what in SIGNALS
            )
        )

    def key_j(self) -> None:
        """Down, as everywhere."""
        self.query_one(OptionList).action_cursor_down()

    def key_k(self) -> None:
        """Up, as everywhere."""
        self.query_one(OptionList).action_cursor_up()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """The answer."""
        self.dismiss(event.option_id)
