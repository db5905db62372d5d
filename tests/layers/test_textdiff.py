"""Unified diffs: git applies them, and no text takes long."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.layers.textdiff import unified
from tests.support.steps import steps

LINES = st.lists(
    st.sampled_from(["a\n", "b\n", "c\n", "\n", "once\n", "tw\x0cice\r\n", "-x\n", "+y\n"]), max_size=25
)


def pieces(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def applied(before: str, diff: str) -> str:
    """*before* with *diff* applied, by reading the hunks as POSIX describes them."""
    old, result, at = pieces(before), [], 0
    lines = pieces(diff)
    for index, line in enumerate(lines):
        bare = index + 1 < len(lines) and lines[index + 1].startswith("\\")
        text = line[1:].removesuffix("\n") if bare else line[1:]
        if line.startswith("@@"):
            start, _, count = line.split(" ")[1][1:].partition(",")
            first = int(start) - (count != "0")
            result += old[at:first]
            at = first
        elif line[0] in " -" and index > 1:
            assert old[at] == text
            at += 1
            result += [text] if line[0] == " " else []
        elif line[0] == "+" and index > 1:
            result.append(text)
    return "".join(result + old[at:])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(LINES, LINES, st.booleans(), st.integers(0, 4))
def test_a_diff_turns_one_text_into_the_other(
    old: list[str], new: list[str], bare: bool, context: int
) -> None:
    before, after = "".join(old), "".join(new) + ("end" if bare else "")
    diff = unified(before, after, "/f", context)
    assert applied(before, diff.text) == after
    assert (diff.text == "") == (before == after)
    signs = [line[0] for line in pieces(diff.text)[2:]]
    assert (signs.count("+"), signs.count("-")) == (diff.added, diff.removed)


def test_git_reads_it(tmp_path: Path) -> None:
    before = "".join(f"line {number}\n" for number in range(100))
    after = before.replace("line 5\n", "").replace("line 50\n", "fifty\n") + "last"
    (tmp_path / "f").write_text(before)
    diff = unified(before, after, "/f", 3)
    check = subprocess.run(
        ["git", "apply", "--check", "-"],
        check=False,
        input=diff.text,
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    assert check.returncode == 0, check.stderr
    assert (diff.added, diff.removed) == (2, 2)


@pytest.mark.parametrize("kind", ["every tenth", "few letters", "words", "reversed"])
def test_no_text_takes_long(kind: str) -> None:
    chance = random.Random(1)
    unique = [f"line {chance.random()}\n" for _ in range(40_000)]
    texts = {
        "every tenth": (unique, [f"y{i}\n" if i % 10 == 0 else line for i, line in enumerate(unique)]),
        "few letters": (
            [chance.choice("abcdefgh") + "\n" for _ in unique],
            [chance.choice("abcd") + "\n" for _ in unique],
        ),
        "words": (
            [f"{chance.randrange(3000)}\n" for _ in unique],
            [f"{chance.randrange(3000)}\n" for _ in unique],
        ),
        "reversed": (unique, unique[::-1]),
    }
    old, new = texts[kind]
    before, after = "".join(old), "".join(new)
    assert steps(lambda: unified(before, after, "/f", 3)) < 100 * 40_000
    assert unified(before, after, "/f", 3).added > 0


def test_git_reads_the_most_hostile_name(tmp_path: Path) -> None:
    name = 'new\n+++ "x"\\\t\x1b[2J\udcff'
    (tmp_path / name).write_text("old\n")
    made = unified("old\n", "new\n", f"/{name}", 3).text
    assert made.splitlines()[1] == r'+++ "b/new\n+++ \"x\"\\\t\033[2J\377"'
    subprocess.run(["git", "apply", "-"], input=made.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / name).read_text() == "new\n"
