"""The words of a call taken apart: flags as the other runtimes have them, with nothing loaded for it."""

from __future__ import annotations

from engine.errors import UsageError
from engine.record import Record

FLAG = "flag"
VALUE = "value"
VALUES = "values"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Kinds = Mapping[str, str]
    """Names, without dashes and with all their spellings after ``|``, and whether values follow."""


class Words(Record):
    """What was found."""

    flags: dict[str, list[str]]
    """By first spelling: the values given, one empty one for a flag without."""
    rest: list[str]

    def on(self, name: str) -> bool:
        """Whether the flag *name* is set."""
        return name in self.flags and self.flags[name][-1] not in ("false", "0")

    def one(self, name: str, otherwise: str = "") -> str:
        """The last value given for *name*."""
        return self.flags[name][-1] if name in self.flags else otherwise

    def all(self, name: str) -> list[str]:
        """All values given for *name*."""
        return self.flags.get(name, [])


def parse(words: Sequence[str], kinds: Kinds, *, interspersed: bool = True) -> Words:
    """Take *words* apart; what begins with no dash, and all after ``--``, is the rest.

    Without *interspersed* the rest begins at the first word that is no flag. Raises UsageError.
    """
    spellings = {name: (spec.split("|")[0], kind) for spec, kind in kinds.items() for name in spec.split("|")}
    flags: dict[str, list[str]] = {}
    rest: list[str] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if word == "--":
            return Words(flags, [*rest, *pending])
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if not interspersed:
                return Words(flags, [*rest, *pending])
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name not in spellings:
            raise UsageError(f"unknown flag {word.partition('=')[0]}")
        first, kind = spellings[name]
        if kind != FLAG and not equals:
            if not pending:
                raise UsageError(f"the flag {word} has no value")
            value = pending.pop(0)
        flags.setdefault(first, []).append(value)
    return Words(flags, rest)


def number(name: str, text: str) -> int:
    """The number *text* that was given for the flag *name*; UsageError for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise UsageError(f"--{name} takes a number, not {text!r}")
    return int(text)


def container(words: Words) -> str:
    """The one container that *words* name; UsageError for none or more."""
    if len(words.rest) != 1:
        raise UsageError("no container is named" if not words.rest else "more than one container is named")
    return words.rest[0]
