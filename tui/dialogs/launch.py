"""The launch form: everything that `cowl run` is asked most often, on one screen of 80x24."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from engine.model import LaunchOptions, Limits
from tui import format as fmt
from tui import twin
from tui.dialogs import parse
from tui.dialogs.fields import Choice, Field, Flag
from tui.dialogs.frame import Dialog
from tui.theme import Line, Span

T = TypeVar("T")
USUAL = "usual"
"""The network that containers of this root have when nothing is said."""


class LaunchScreen(Dialog[LaunchOptions]):
    """Asks how to start a container from `image`. Enter launches from any field; the twin is shown live.

    `taken` are the names that containers have already.
    """

    DEFAULT_CSS = """
    LaunchScreen .side { height: 1; }
    LaunchScreen .side > Label { width: 11; color: $text-muted; }
    LaunchScreen .twin { height: auto; max-height: 3; }
    """
    AUTO_FOCUS = "#command"
    hints = "enter launch · tab next · space turns · esc cancel"

    def __init__(self, image: str, command: str = "", name: str = "", taken: Iterable[str] = ()) -> None:
        super().__init__()
        self.heading = "Launch a container"
        self.taken = frozenset(taken)
        self.initial = {"image": image, "command": command, "name": name}
        self.errors: dict[str, str] = {}

    def body(self) -> Iterable[Widget]:
        """The fields from what is asked most to what is asked least."""
        given = self.initial
        yield Field("image", given["image"], name="image")
        yield Field("command", given["command"], name="command", placeholder="the image's own")
        yield Field("name", given["name"], name="name", placeholder="made up")
        yield Static("", classes="gap")
        with Horizontal(classes="side"):
            yield Field("cpus", name="cpus", placeholder="no limit")
            yield Field("memory", name="memory", placeholder="no limit", short=True)
            yield Field("pids", name="pids", placeholder="no limit", short=True)
        yield Field("env", name="env", placeholder='NAME=VALUE OTHER="two words"')
        yield Field("volumes", name="volumes", placeholder="/here:/there name:/data:ro")
        with Horizontal(classes="side"):
            yield Field("workdir", name="workdir", placeholder="the image's own")
            yield Field("user", name="user", placeholder="the image's own", short=True)
        yield Static("", classes="gap")
        with Horizontal(classes="side"):
            yield Label("network")
            yield Choice((USUAL, "host", "none", "bridge"), name="network")
        with Horizontal(classes="side"):
            yield Label("keep")
            yield Flag("terminal", True, name="tty")
            yield Flag("input open", True, name="interactive")
            yield Flag("remove at its end", name="rm")
        yield Static("", classes="gap")
        yield Static("", id="twin", classes="twin")

    def propose(self, command: str, otherwise: str) -> None:
        """The image's own command, found after the form was opened; *otherwise* where it has none.

        What is typed already stays.
        """
        field = self.query_one("#command", Input)
        if command:
            field.placeholder = command
        elif not field.value:
            field.value = otherwise
            field.cursor_position = len(otherwise)

    @on(Input.Changed)
    @on(Flag.Changed)
    @on(Choice.Changed)
    def look(self) -> None:
        """Read the form again: mark what is wrong, show the twin."""
        options = self.options()
        for field in self.query(Field):
            field.set_class(field.name in self.errors, "-wrong")
        wrong = next(iter(self.errors.values()), "")
        line: Line = (Span("✗ ", "bad"), Span(wrong)) if wrong else _twin_line(options)
        text = self.text(line)
        text.no_wrap = False
        self.query_one("#twin", Static).update(text)

    def submit(self) -> None:
        """Launch, or go to the first field that is wrong."""
        options = self.options()
        if self.errors:
            self.query_one(f"#{next(iter(self.errors))}", Input).focus()
        else:
            self.dismiss(options)

    def options(self) -> LaunchOptions:
        """What the form says now; `errors` tells which fields could not be read and why."""
        self.errors = {}
        value = {str(field.name): field.value for field in self.query(Field)}
        if not value["image"]:
            self.errors["image"] = "image: from which one?"
        network = self.query_one("#network", Choice).value
        return LaunchOptions(
            image=value["image"],
            command=self._read("command", (), parse.words, value["command"], "command"),
            name=self._read("name", None, self._free_name, value["name"]),
            env=self._read("env", (), parse.environment, value["env"]),
            workdir=self._read("workdir", None, parse.absolute, value["workdir"], "workdir"),
            user=value["user"] or None,
            interactive=self.query_one("#interactive", Flag).value,
            tty=self.query_one("#tty", Flag).value,
            auto_remove=self.query_one("#rm", Flag).value,
            network="" if network == USUAL else network,
            volumes=self._read("volumes", (), parse.volumes, value["volumes"]),
            limits=Limits(
                cpus=self._read("cpus", None, parse.cpus, value["cpus"]),
                memory=self._read("memory", None, parse.memory, value["memory"]),
                pids=self._read("pids", None, parse.pids, value["pids"]),
            ),
        )

    def _read(self, field: str, otherwise: T, reader: Callable[..., T], *arguments: Any) -> T:
        try:
            return reader(*arguments)
        except ValueError as error:
            self.errors[field] = str(error)
            return otherwise

    def _free_name(self, text: str) -> str | None:
        name = parse.container_name(text)
        if name in self.taken:
            raise ValueError(f"the name {name} is in use")
        return name


def _twin_line(options: LaunchOptions) -> Line:
    return (Span("$ ", "muted"), Span(fmt.safe(twin.run(options)), "text"))
