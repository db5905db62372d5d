"""Options that most commands have which print something."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from engine.cli.options import JSON, QUIET
from engine.cli.parser import BOOLEANS
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.cli.formatted import Form

json_option = click.option("--json", JSON.dest, is_flag=True, help=JSON.help)
quiet_option = click.option("-q", "--quiet", is_flag=True, help=QUIET.help)
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def print_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Both of them."""
    return quiet_option(json_option(command))


def format_option(example: str, *flags: str) -> Decorator:
    """``--format``, also called *flags*; *example* is for the help."""
    return click.option(
        *flags,
        "--format",
        "template",
        metavar="TEMPLATE",
        help=f"json, or like '{example}'.",
        shell_complete=lambda *given: [
            CompletionItem(word) for word in ("json", "table ", "{{json .}}") if word.startswith(given[2])
        ],
    )


def form_of(template: str | None, titles: Mapping[str, str]) -> Form | None:
    """How rows are written; None for as usual, which is what ``table`` alone is too.

    *titles* are those that are not the field's name. Raises UsageError for what is no template.
    """
    if not template or template == "table":
        return None
    from engine.cli.formatted import Form

    return Form(template, titles)


def filter_option(names: Sequence[str], *flags: str) -> Decorator:
    """``--filter``, also called *flags*, which knows *names*."""
    return click.option(
        *flags,
        "--filter",
        "filters",
        metavar="NAME=VALUE",
        multiple=True,
        help=f"Only these, by {', '.join(names)}.",
        shell_complete=lambda *given: [
            CompletionItem(f"{name}=") for name in names if name.startswith(given[2])
        ],
    )


class Filters:
    """What ``--filter`` was given, by name."""

    def __init__(self, texts: Sequence[str], names: Sequence[str]) -> None:
        """Raises UsageError for one that is none of *names*, or has no value."""
        self._values: dict[str, list[str]] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            if name not in names or not equals:
                raise UsageError(
                    f"bad filter {text!r}", f"it is none of {', '.join(names)}", f"write it like {names[0]}=…"
                )
            self._values.setdefault(name, []).append(value)

    def values(self, name: str) -> list[str]:
        """All that were given for *name*."""
        return self._values.get(name, [])

    def truth(self, name: str) -> bool | None:
        """Whether *name* is to be true; None if nothing is said. Raises UsageError."""
        found: bool | None = None
        for text in self.values(name):
            if text not in BOOLEANS:
                raise UsageError(f"bad filter {name}={text}", "", "write true or false")
            found = BOOLEANS[text]
        return found

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        """Whether *labels* has each that is asked for, with its value where one is named."""
        for text in self.values("label"):
            name, equals, value = text.partition("=")
            if name not in labels or (equals and labels[name] != value):
                return False
        return True
