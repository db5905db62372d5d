"""Changing the limits of a container that exists: at once, where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from engine.model import Container, Limits
from tui import format as fmt
from tui import twin
from tui.dialogs import parse
from tui.dialogs.fields import Choice, Field
from tui.dialogs.frame import Dialog
from tui.theme import Line, Span

T = TypeVar("T")
POLICIES = ("no", "on-failure", "unless-stopped", "always")


class Update(NamedTuple):
    """What is to change."""

    limits: Limits
    """None where a limit stays."""
    lift: tuple[str, ...]
    """Limits that are to be no more."""
    restart: str | None
    """A new policy; None where it stays."""


class LimitsScreen(Dialog[Update]):
    """Asks for new limits; an empty field is no limit. The twin is shown live."""

    DEFAULT_CSS = """
    LimitsScreen .side { height: 1; }
    LimitsScreen .side > Label { width: 11; color: $text-muted; }
    LimitsScreen .twin { height: auto; max-height: 3; }
    """
    AUTO_FOCUS = "#cpus"
    hints = "enter apply · tab next · space turns · esc cancel"

    def __init__(self, container: Container) -> None:
        super().__init__()
        self.heading = f"Limits of {container.name}"
        self.container = container
        self.errors: dict[str, str] = {}

    def body(self) -> Iterable[Widget]:
        """The limits as they are."""
        limits = self.container.limits
        cpus = "" if limits.cpus is None else fmt.cpus(limits.cpus)
        memory = "" if limits.memory is None else twin.exact_bytes(limits.memory)
        pids = "" if limits.pids is None else str(limits.pids)
        yield Field("cpus", cpus, name="cpus", placeholder="no limit")
        yield Field("memory", memory, name="memory", placeholder="no limit")
        yield Field("pids", pids, name="pids", placeholder="no limit")
        with Horizontal(classes="side"):
            yield Label("restart")
            yield Choice(self._policies(), name="restart")
        yield Static("", classes="gap")
        yield Static("", id="twin", classes="twin")

    def _policies(self) -> tuple[str, ...]:
        """The one that it has comes first."""
        present = self.container.options.restart
        return (present, *(each for each in POLICIES if each != present))

    @on(Input.Changed)
    @on(Choice.Changed)
    def look(self) -> None:
        """Read the form again: mark what is wrong, show the twin."""
        update = self.update_of_form()
        for field in self.query(Field):
            field.set_class(field.name in self.errors, "-wrong")
        wrong = next(iter(self.errors.values()), "")
        line: Line = (Span("✗ ", "bad"), Span(wrong))
        if not wrong:
            said = twin.update(self.container.name, update.limits, update.lift, update.restart)
            line = (Span("$ ", "muted"), Span(fmt.safe(said) if said else "nothing changes", "text"))
        text = self.text(line)
        text.no_wrap = False
        self.query_one("#twin", Static).update(text)

    def submit(self) -> None:
        """Apply, or go to the first field that is wrong."""
        update = self.update_of_form()
        if self.errors:
            self.query_one(f"#{next(iter(self.errors))}", Input).focus()
        else:
            self.dismiss(update)

    def update_of_form(self) -> Update:
        """What the form says now; `errors` tells which fields could not be read and why."""
        self.errors = {}
        value = {str(field.name): field.value for field in self.query(Field)}
        wanted = {
            "cpus": self._read("cpus", parse.cpus, value["cpus"]),
            "memory": self._read("memory", parse.memory, value["memory"]),
            "pids": self._read("pids", parse.pids, value["pids"]),
        }
        before = self.container.limits._asdict()
        changed = {
            name: limit for name, limit in wanted.items() if limit is not None and limit != before[name]
        }
        lift = tuple(
            name
            for name, limit in wanted.items()
            if limit is None and before[name] is not None and name not in self.errors
        )
        restart = self.query_one("#restart", Choice).value
        return Update(
            Limits()._replace(**changed), lift, None if restart == self.container.options.restart else restart
        )

    def _read(self, field: str, reader: Callable[[str], T], text: str) -> Any:
        try:
            return reader(text)
        except ValueError as error:
            self.errors[field] = str(error)
            return None
