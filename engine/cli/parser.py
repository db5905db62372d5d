"""The parser of the launch path: what click would make of the same words, without importing click.

Options end at the first word that is none, or at ``--``, as docker has it for `run` and `exec`.
"""

from collections.abc import Sequence
from typing import Any

from engine.cli.options import Option, Values
from engine.record import Record

BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
"""What may stand behind the equals sign of a flag (Go's strconv.ParseBool)."""


class Parsed(Record):
    """What a command line says."""

    values: Values
    rest: tuple[str, ...]
    """The words after the options."""


def parse(words: Sequence[str], options: Sequence[Option], *, interspersed: bool = False) -> Parsed | None:
    """Read *words* by the table *options*; None for what is not understood, ``--help`` included.

    Like docker's parser it also takes ``-m=64m`` and ``--rm=false``. Options may be *interspersed*
    with arguments where it is said.
    """
    known = {flag: option for option in options for flag in option.flags}
    values: dict[str, Any] = {
        option.dest: () if option.multiple else None if option.metavar else option.default
        for option in options
    }
    arguments: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--":
            position += 1
            break
        if len(word) < 2 or not word.startswith("-"):
            if not interspersed:
                break
            arguments.append(word)
            position += 1
            continue
        position += 1
        took = (_long if word.startswith("--") else _short)(
            word, words[position : position + 1], known, values
        )
        if took is None:
            return None
        position += took
    return Parsed(values, (*arguments, *words[position:]))


def _long(
    word: str, following: Sequence[str], known: dict[str, Option], values: dict[str, Any]
) -> int | None:
    """``--name value``, ``--name=value``, ``--flag``, ``--flag=true``: how many of *following* it took."""
    name, equals, value = word.partition("=")
    option = known.get(name)
    if option is None:
        return None
    if not option.metavar:
        if equals and value not in BOOLEANS:
            return None
        values[option.dest] = BOOLEANS[value] if equals else True
        return 0
    if equals:
        _store(option, value, values)
        return 0
    if not following:
        return None
    _store(option, following[0], values)
    return 1


def _short(
    word: str, following: Sequence[str], known: dict[str, Option], values: dict[str, Any]
) -> int | None:
    """``-i``, ``-it``, ``-d=false``, ``-e A=B``, ``-eA=B``, ``-m=64m``: how many of *following* it took."""
    for index, letter in enumerate(word[1:], 1):
        option = known.get(f"-{letter}")
        if option is None:
            return None
        attached = word[index + 1 :]
        if not option.metavar:
            if attached.startswith("=") and (given := BOOLEANS.get(attached[1:])) is not None:
                values[option.dest] = given
                return 0
            values[option.dest] = True
            continue
        if attached:
            _store(option, attached.removeprefix("="), values)
            return 0
        if not following:
            return None
        _store(option, following[0], values)
        return 1
    return 0


def _store(option: Option, value: str, values: dict[str, Any]) -> None:
    values[option.dest] = (*values[option.dest], value) if option.multiple else value
