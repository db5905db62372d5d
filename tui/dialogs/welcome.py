"""An empty store: what cowl can do about it with one key, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.model import Progress
from tui import format as fmt
from tui.dialogs.fields import Field
from tui.dialogs.frame import Dialog
from tui.theme import Line, Span
from tui.widgets.commandline import progress_line

BAR = 24


class WelcomeScreen(Dialog[None]):
    """Offers the starter images or an archive; stays and shows the progress until `dismiss` is called.

    Posts `MakeStarter` and `LoadArchive`; tell it `progress` and `failed`.
    """

    DEFAULT_CSS = """
    WelcomeScreen > .frame { width: 70; padding: 1 2; }
    WelcomeScreen Field { display: none; }
    WelcomeScreen.-asking Field { display: block; }
    WelcomeScreen #state { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "ask", "Load an archive", show=False, id="welcome.load"),
    ]
    AUTO_FOCUS = ""
    heading = "Welcome to cowl"
    hints = "enter make them · o load an archive · esc look around"
    busy: reactive[bool] = reactive(False)

    class MakeStarter(Message):
        """Make the starter images from this host."""

    class LoadArchive(Message):
        """Load an image archive."""

        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = root

    def body(self) -> Iterable[Widget]:
        """Why it is empty, what can be done, what is being done."""
        for line in _words(self.root):
            yield Static(self.text(line))
        yield Static("", classes="gap")
        yield Field("archive", name="archive", placeholder="/path/to/image.tar or a directory")
        yield Static("", id="state")

    def submit(self) -> None:
        """Enter: the archive that was named, else the starter images."""
        if self.busy:
            return
        path = self.query_one(Field).value
        if self.has_class("-asking") and not path:
            return
        self.busy = True
        self.progress(Progress("reading the archive" if path else "gathering files of this host", 0, None))
        self.post_message(self.LoadArchive(path) if path else self.MakeStarter())

    def action_ask(self) -> None:
        """Ask for an archive's path."""
        if not self.busy:
            self.add_class("-asking")
            self.query_one("#archive", Input).focus()

    def action_cancel(self) -> None:
        """Esc leaves the path field first, then the screen."""
        if self.has_class("-asking") and not self.busy:
            self.query_one("#archive", Input).clear()
            self.remove_class("-asking")
            self.set_focus(None)
        else:
            self.dismiss(None)

    @on(Input.Changed)
    def forget_failure(self) -> None:
        """Typing takes the last failure away."""
        if not self.busy:
            self._say(())

    def progress(self, progress: Progress) -> None:
        """How far it is."""
        self._say(progress_line(progress, BAR))

    def failed(self, sentence: str) -> None:
        """It did not work; everything can be tried again."""
        self.busy = False
        self._say((Span("✗ ", "bad"), Span(fmt.safe(sentence))))

    def _say(self, line: Line) -> None:
        text = self.text(line)
        text.no_wrap = False
        self.query_one("#state", Static).update(text)


def _words(root: str) -> tuple[Line, ...]:
    return (
        (Span("No images yet in ", "text"), Span(fmt.safe(root), "id"), Span(".", "text")),
        (Span(""),),
        (Span("enter", "key"), Span("  make two small images out of this host's own files,", "text")),
        (
            Span("       starter:base", "id"),
            Span(" (a shell, coreutils) and ", "muted"),
            Span("starter:latest", "id"),
        ),
        (Span("       no network is needed; this takes some seconds", "muted"),),
        (Span("o    ", "key"), Span("  load an archive that docker, podman or skopeo saved", "text")),
    )
