"""Commit with options: a name, a message, an author, and what the new image's configuration says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Static

from tui import format as fmt
from tui import twin
from tui.dialogs import parse
from tui.dialogs.fields import Field, Flag
from tui.dialogs.frame import Dialog
from tui.staging import Staged
from tui.theme import Line, Span
from tui.twin import CommitRequest

__all__ = ["CommitRequest", "CommitScreen"]

ONE_WORD = ("WORKDIR", "USER", "STOPSIGNAL")
ARRAYS = ("CMD", "ENTRYPOINT")
EVERYTHING = Staged()


class CommitScreen(Dialog[CommitRequest]):
    """Asks how to commit `container`; `summary` says in a few words what would go in, `staged` exactly."""

    DEFAULT_CSS = """
    CommitScreen .twin { height: auto; max-height: 3; }
    CommitScreen .side { height: 1; }
    """
    AUTO_FOCUS = "#message"
    hints = "enter commit · tab next · esc cancel"

    def __init__(self, container: str, name: str, summary: str = "", staged: Staged = EVERYTHING) -> None:
        super().__init__()
        self.heading = f"Commit {container}"
        self.container = container
        self.proposed = name
        self.summary = summary
        self.staged = staged
        self.wrong = ("", "")

    def body(self) -> Iterable[Widget]:
        """Name and message first, then the configuration; empty keeps what the image has."""
        if self.summary:
            yield Static(self.text((Span(self.summary, "muted"),)))
            yield Static("", classes="gap")
        yield Field("name", self.proposed, name="name", placeholder="no tag")
        yield Field("message", name="message", placeholder="what changed")
        yield Field("author", name="author", placeholder="Name <mail>")
        yield Static("", classes="gap")
        yield Static(self.text((Span("Configuration", "title"), Span("  empty stays as it is", "muted"))))
        yield Field("cmd", name="CMD", placeholder="sh -c 'exec server'")
        yield Field("entrypoint", name="ENTRYPOINT")
        yield Field("env", name="ENV", placeholder="NAME=VALUE")
        with Horizontal(classes="side"):
            yield Field("workdir", name="WORKDIR", placeholder="/srv")
            yield Field("user", name="USER", placeholder="name[:group]", short=True)
        yield Field("label", name="LABEL", placeholder="KEY=VALUE")
        yield Static("", classes="gap")
        yield Flag("pause the container meanwhile", name="pause")
        yield Static("", classes="gap")
        yield Static("", id="twin", classes="twin")

    @on(Input.Changed)
    @on(Flag.Changed)
    def look(self) -> None:
        """Read the form again: mark what is wrong, show the twin."""
        request = self.request()
        wrong_field, sentence = self.wrong
        for field in self.query(Field):
            field.set_class(field.name == wrong_field, "-wrong")
        line: Line = (
            (Span("✗ ", "bad"), Span(sentence))
            if sentence
            else (Span("$ ", "muted"), Span(fmt.safe(twin.commit(self.container, request))))
        )
        text = self.text(line)
        text.no_wrap = False
        self.query_one("#twin", Static).update(text)

    def submit(self) -> None:
        """Commit, or go to the field that is wrong."""
        request = self.request()
        if self.wrong[0]:
            self.query_one(f"#{self.wrong[0]}", Input).focus()
        else:
            self.dismiss(request)

    def request(self) -> CommitRequest:
        """What the form says now; `wrong` is the first field that cannot be read, and why."""
        value = {str(field.name): field.value for field in self.query(Field)}
        self.wrong = ("", "")
        changes: list[str] = []
        for instruction in (*ARRAYS, "ENV", "LABEL", *ONE_WORD):
            text = value.get(instruction, "")
            if not text:
                continue
            try:
                changes.append(f"{instruction} {argument(instruction, text)}")
            except ValueError as error:
                self.wrong = self.wrong if self.wrong[0] else (instruction, str(error))
        if any(blank in value["name"] for blank in " \t"):
            self.wrong = ("name", "name: a tag has no blanks")
        pause = self.query_one("#pause", Flag).value
        return CommitRequest(
            value["name"], value["message"], value["author"], tuple(changes), pause, self.staged
        )


def argument(instruction: str, text: str) -> str:
    """What follows the instruction: command lines as JSON arrays, so that no shell is put before them."""
    if instruction in ARRAYS:
        return json.dumps(parse.words(text, instruction.lower()), ensure_ascii=False)
    if instruction in ("ENV", "LABEL"):
        pairs = parse.environment(text) if instruction == "ENV" else parse.words(text, "label")
        return " ".join(_quoted_pair(pair) for pair in pairs)
    if instruction == "WORKDIR":
        parse.absolute(text, "workdir")
    return text


def _quoted_pair(pair: str) -> str:
    name, _, value = pair.partition("=")
    return f"{name}={shlex.quote(value)}"
