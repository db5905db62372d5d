"""The parser of the launch path reads what click reads, and what docker reads besides."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.group import from_table
from engine.cli.options import COMMANDS, CREATE, EXEC, GLOBALS, RUN, Command
from engine.cli.parser import Parsed, parse

WORDS = ["", "-", "--", "x", "A=B", "a b", "64m", "-1", "--x", "-x", "--name=", "--env", "sh", "-c", "ß"]


def by_click(table: Command, words: list[str]) -> Parsed | None:
    """What click makes of *words*; None for what it refuses, or answers with help."""
    command = from_table(table)
    try:
        context = command.make_context(table.name, list(words))
    except (click.UsageError, click.exceptions.Exit):
        return None
    values: dict[str, Any] = dict(context.params)
    return Parsed(values, values.pop("arguments"))


@pytest.mark.parametrize(
    ("words", "values", "rest"),
    [
        (["starter"], {}, ["starter"]),
        (["-it", "--rm", "starter", "-i"], {"interactive": True, "tty": True, "rm": True}, ["starter", "-i"]),
        (["-e", "A=1", "-eB=2", "--env", "C", "--env=D", "x"], {"env": ("A=1", "B=2", "C", "D")}, ["x"]),
        (["-itm", "64m", "x"], {"interactive": True, "tty": True, "memory": "64m"}, ["x"]),
        (["-m=64m", "x"], {"memory": "64m"}, ["x"]),
        (["--memory-swap", "-1", "x"], {"memory_swap": "-1"}, ["x"]),
        (["--rm=false", "-d", "x"], {"detach": True}, ["x"]),
        (["--rm=true", "x"], {"rm": True}, ["x"]),
        (["--name", "a", "--name", "b", "x"], {"name": "b"}, ["x"]),
        (["--net", "host", "x"], {"network": ("host",)}, ["x"]),
        (["-c", "512", "x", "sh", "-c", "true"], {"cpu_shares": "512"}, ["x", "sh", "-c", "true"]),
        (["--", "--rm"], {}, ["--rm"]),
        (["-"], {}, ["-"]),
        ([], {}, []),
    ],
)
def test_words_that_are_understood(words: list[str], values: dict[str, Any], rest: list[str]) -> None:
    nothing = parse([], RUN.options)
    assert nothing is not None
    assert parse(words, RUN.options) == Parsed({**nothing.values, **values}, tuple(rest))


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--bogus", "x"],
        ["-Z"],
        ["-iZ"],
        ["--name"],
        ["-m"],
        ["--rm=perhaps", "x"],
        ["--nam", "a"],
        ["---"],
    ],
)
def test_words_that_are_left_to_click(words: list[str]) -> None:
    assert parse(words, RUN.options) is None


def test_options_of_cowl_itself_end_at_the_command() -> None:
    parsed = parse(["--root", "/r", "run", "--root", "/s"], GLOBALS)
    assert parsed is not None
    assert parsed.values["root"] == "/r"
    assert parsed.rest == ("run", "--root", "/s")


@pytest.mark.parametrize("table", [RUN, CREATE, EXEC])
def test_no_flag_and_no_name_is_declared_twice(table: Command) -> None:
    flags = [flag for option in table.options for flag in option.flags]
    names = [option.dest for option in table.options]
    assert len(flags) == len(set(flags))
    assert len(names) == len(set(names))
    assert all(flag.startswith("--") or len(flag) == 2 for flag in flags)


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[Command, list[str]]:
    """A table, and words of which most are its options, in all spellings, with and without values."""
    table = draw(st.sampled_from(list(COMMANDS.values())))
    value = st.sampled_from(WORDS) | st.text(max_size=5)
    words: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        option = draw(st.sampled_from(table.options))
        flag = draw(st.sampled_from(option.flags))
        spelling = draw(st.integers(0, 5))
        if spelling == 0:
            words.append(draw(value))
        elif not option.metavar:
            words.append(flag)
        elif spelling in (1, 2):
            words += [flag, draw(value)]
        elif spelling == 3:
            words.append(f"{flag}={draw(value)}" if flag.startswith("--") else f"{flag}v{draw(value)}")
        elif spelling == 4:
            words.append(flag)
        else:
            words.append(f"-i{flag[1]}" if not flag.startswith("--") else flag)
    return table, words


@given(command_lines())
def test_both_parsers_agree(line: tuple[Command, list[str]]) -> None:
    table, words = line
    mine, clicks = parse(words, table.options, interspersed=table.interspersed), by_click(table, words)
    if mine is not None and words_of_docker_alone(words):
        return
    assert mine == clicks


def words_of_docker_alone(words: list[str]) -> bool:
    """Whether a value is attached to a short option by ``=``, which click takes for a part of the value."""
    return any(word.startswith("-") and not word.startswith("--") and "=" in word for word in words)
