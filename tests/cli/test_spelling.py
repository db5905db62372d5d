"""docker's spellings of options, before click reads them."""

from __future__ import annotations

import click
import pytest

from engine.cli.options import RUN
from engine.cli.parser import parse
from engine.cli.spelling import respelled


@click.command(context_settings={"help_option_names": ["--help"]})
@click.option("-t", "--time", "--timeout", "timeout")
@click.option("-f", "--force", is_flag=True)
@click.option("-q", "--quiet", is_flag=True)
@click.option("--proxy/--no-proxy", default=True)
@click.argument("names", nargs=-1)
def command(timeout: str | None, force: bool, quiet: bool, proxy: bool, names: tuple[str, ...]) -> None:
    """One with every kind of option."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--json", "as_json", is_flag=True)
@click.argument("names", nargs=-1, type=click.UNPROCESSED)
def outer(as_json: bool, names: tuple[str, ...]) -> None:
    """One whose arguments are another program's."""


@pytest.mark.parametrize(
    ("words", "spelled"),
    [
        (["-t=5", "x"], ["-t", "5", "x"]),
        (["-t="], ["-t", ""]),
        (["-t5"], ["-t5"]),
        (["-t", "-f=1", "x", "-f=1"], ["-t", "-f=1", "x", "-f"]),
        (["--time", "--force=false", "--force=false"], ["--time", "--force=false"]),
        (["--force=true", "--quiet=F"], ["--force"]),
        (["-qf=true"], ["-q", "-f"]),
        (["-qf=0"], ["-q"]),
        (["-qft=3"], ["-qft", "3"]),
        (["--proxy=false"], ["--no-proxy"]),
        (["--force=perhaps"], ["--force=perhaps"]),
        (["--nothing=1", "-z=1"], ["--nothing=1", "-z=1"]),
        (["--", "-t=5"], ["--", "-t=5"]),
        (["-", "-f=0"], ["-"]),
    ],
)
def test_one_spelling_for_click(words: list[str], spelled: list[str]) -> None:
    assert respelled(command, words) == spelled


def test_words_of_another_program_stay() -> None:
    assert respelled(outer, ["--json=1", "x", "--json=1"]) == ["--json", "x", "--json=1"]


@pytest.mark.parametrize(
    ("truth", "lie"),
    [("1", "0"), ("t", "f"), ("T", "F"), ("true", "false"), ("TRUE", "FALSE"), ("True", "False")],
)
@pytest.mark.parametrize("flag", ["--rm", "-i", "-ti"])
def test_flags_take_a_truth(flag: str, truth: str, lie: str) -> None:
    dest = "rm" if flag == "--rm" else "interactive"
    for text, expected in ((truth, True), (lie, False)):
        parsed = parse([f"{flag}={text}", "x"], RUN.options)
        assert parsed is not None
        assert (parsed.values[dest], parsed.rest) == (expected, ("x",))
