"""docker's spellings that click has not: ``-t=5``, ``--force=true``, ``-f=0``.

The commands that are tables have a parser of their own (`engine.cli.parser`), which reads them itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from engine.cli.parser import BOOLEANS

ALIASES = {"list": "ls", "remove": "rm"}
"""docker's other names of commands within a group."""


class DockersGroup(click.Group):
    """Commands whose words are read, and that are called, as docker's are."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command *cmd_name*, also by docker's other name for it."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, ALIASES.get(cmd_name, ""))

    def resolve_command(
        self, context: click.Context, words: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """click's own, with the words after the command in click's spelling."""
        name, command, rest = super().resolve_command(context, words)
        return name, command, rest if command is None else respelled(command, rest)


def respelled(command: click.Command, words: Sequence[str]) -> list[str]:
    """*words* after *command* as click spells them; what is no option of it stays as it is."""
    options = {
        flag: option
        for option in command.params
        if isinstance(option, click.Option)
        for flag in (*option.opts, *option.secondary_opts)
    }
    interspersed = not isinstance(command, click.Group) and command.context_settings.get(
        "allow_interspersed_args", True
    )
    found: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        is_option = len(word) > 1 and word.startswith("-")
        if word == "--" or not (is_option or interspersed):
            break
        position += 1
        if not is_option:
            found.append(word)
            continue
        spelled, takes_next = _option(word, options)
        found += spelled
        if takes_next:
            found += words[position : position + 1]
            position += 1
    return [*found, *words[position:]]


def _option(word: str, options: dict[str, click.Option]) -> tuple[list[str], bool]:
    """One word in click's spelling, and whether the next one is its value."""
    flag, equals, value = word.partition("=")
    if word.startswith("--"):
        option = options.get(flag)
        if option is None or not option.is_flag:
            return [word], option is not None and not equals
        return (_flag(option, flag, value) if value in BOOLEANS else [word]), False
    for index, letter in enumerate(word[1:], 1):
        option = options.get(f"-{letter}")
        if option is None:
            return [word], False
        attached = word[index + 1 :]
        if not option.is_flag:
            apart = [word[: index + 1], attached[1:]] if attached.startswith("=") else [word]
            return apart, not attached
        if attached.startswith("=") and attached[1:] in BOOLEANS:
            before = [word[:index]] if index > 1 else []
            return [*before, *_flag(option, f"-{letter}", attached[1:])], False
    return [word], False


def _flag(option: click.Option, flag: str, value: str) -> list[str]:
    """A flag that is set to *value*: as the flag, its contrary, or not at all."""
    if BOOLEANS[value]:
        return [flag]
    return option.secondary_opts[:1]
