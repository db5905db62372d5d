"""What is printed: for programs exact, for people aligned, for terminals harmless."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from engine.cli import forest, output
from engine.model import Container, LaunchOptions, Limits, Node
from engine.version import VERSION
from tests.support.roots import Run, environment
from tests.support.traces import Root

HOSTILE = "evil\x1b[31m\n\udcff\u202ename"


def node(chain_id: str, parent: str | None, *tags: str, size: int = 1024) -> Node:
    return Node(chain_id, parent, chain_id, size, 1, "2026-01-01T00:00:00Z", "RUN make\tall", "", tags, ())


def container(name: str, chain_id: str, **changed: Any) -> Container:
    made = Container(
        id="0" * 64,
        name=name,
        image="x",
        chain_id=chain_id,
        command=("sh",),
        state="running",
        created="2026-01-01T00:00:00Z",
        started="2026-01-01T00:00:00Z",
        finished=None,
        exit_code=None,
        oom_killed=False,
        error="",
        pid=1,
        monitored=True,
        limits=Limits(),
        tty=False,
        interactive=False,
        auto_remove=False,
        labels={},
        options=LaunchOptions("x"),
    )
    return made._replace(**changed)


def text(nodes: list[Node], containers: list[Container]) -> list[str]:
    return ["".join(piece.text for piece in line) for line in forest.draw(nodes, containers)]


def test_a_forest_with_containers_as_leaves() -> None:
    nodes = [
        node("sha256:aaaaaaaaaaaaaa", None, "ubuntu:12.04"),
        node("sha256:bbbbbbbbbbbbbb", "sha256:aaaaaaaaaaaaaa"),
        node("sha256:cccccccccccccc", "sha256:bbbbbbbbbbbbbb", "ubuntu:14.04", "ubuntu:latest"),
        node("sha256:dddddddddddddd", "sha256:aaaaaaaaaaaaaa"),
        node("sha256:eeeeeeeeeeeeee", None, "other:1", size=0),
    ]
    ended = container(
        "done", "sha256:bbbbbbbbbbbbbb", state="exited", exit_code=3, finished="2026-01-01T00:00:00Z"
    )
    shown = text(nodes, [container("web", "sha256:aaaaaaaaaaaaaa"), ended])
    ages = re.compile(r"[0-9]+ (second|minute|hour|day|year)s?")
    assert [ages.sub("N", line) for line in shown] == [
        "ubuntu:12.04 aaaaaaaaaaaa 1.0K",
        "├─ ● web Up N",
        "├─ bbbbbbbbbbbb 1.0K RUN make\tall",
        "│  ├─ ○ done Exited (3) N ago",
        "│  └─ ubuntu:14.04 ubuntu:latest cccccccccccc 1.0K",
        "└─ dddddddddddd 1.0K RUN make\tall",
        "other:1 eeeeeeeeeeee 0B",
    ]


def test_a_chain_of_any_depth() -> None:
    nodes = [node("sha256:0", None)]
    nodes += [node(f"sha256:{number}", f"sha256:{number - 1}") for number in range(1, 3000)]
    shown = text(nodes, [])
    assert len(shown) == 3000
    assert max(len(line) for line in shown) < 120
    assert "⋯ 2999 " in shown[-1]


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        *[(None, ""), ("", ""), (HOSTILE, ""), ("2026-13-01T00:00:00Z", "")],
        *[("2000-01-01", "years"), ("0001-01-01T00:00:00+14:00", "years"), ("9999-12-31", "0 seconds")],
        ("2001-02-03T04:05:06.123456789-07:00", "years"),
    ],
)
def test_the_ages_of_whatever_images_say(moment: str | None, shown: str) -> None:
    assert output.age_text(moment).endswith(shown)
    assert bool(output.age_text(moment)) == bool(shown)


def test_an_age_heeds_the_zone() -> None:
    then = datetime.now(timezone(timedelta(hours=-9))) - timedelta(minutes=90, seconds=30)
    assert output.age_text(then.isoformat()) == "1 hour"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        *[(0, "0B"), (999, "999B"), (1000, "1.0K"), (1024, "1.0K"), (80 << 20, "80.0M"), (373 << 20, "373M")],
        *[(1 << 30, "1.0G"), ((1 << 30) - 1, "1.0G"), (5 << 70, "5120E"), (-5, "0B")],
    ],
)
def test_sizes(count: int, shown: str) -> None:
    assert output.size_text(count) == shown


def test_a_table_is_aligned_and_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_table(
        [output.Column("NAME"), output.Column("SIZE", True)], [["a", "12"], ["漢字", "3"], [HOSTILE, "4"]]
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert len({output.width(line) for line in lines}) == 1
    assert "\x1b" not in "".join(lines)
    assert r"\x1b[31m\n\udcff\u202e" in lines[3]


def test_json_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit([node("sha256:a", None, HOSTILE)])
    [found] = json.loads(capsys.readouterr().out)
    assert found["tags"] == [HOSTILE]
    assert found["size"] == 1024
    output.emit([])
    assert json.loads(capsys.readouterr().out) == []


def on_a_terminal(root: Root, *words: str, **variables: str) -> str:
    """What `cowl WORDS…` writes to a terminal."""
    master, slave = pty.openpty()
    env = {**environment(root, variables), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", *words], env=env, stdin=subprocess.DEVNULL, stdout=slave
    )
    os.close(slave)
    seen = b""
    try:
        while data := os.read(master, 65536):
            seen += data
    except OSError as error:  # Linux says EIO when the last writer has gone
        assert error.errno == errno.EIO
    finally:
        os.close(master)
    assert process.wait() == 0
    return seen.decode()


def test_colours_are_for_terminals_that_want_them(starter_images: Root, cowl: Run) -> None:
    red = "\x1b[1;37;41mstarter:base\x1b[0m"
    assert red in on_a_terminal(starter_images, "forest")
    colours = re.compile(r"\x1b\[[0-9;]*[34][0-7]")
    bare = on_a_terminal(starter_images, "forest", NO_COLOR="1")
    assert "starter:base" in bare
    assert not colours.search(bare)
    assert "\x1b" not in cowl("forest", check=True).stdout


def test_the_version_is_the_distribution_s(cowl: Run) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    assert project["version"] == VERSION
    assert cowl("--version", check=True).stdout.startswith(f"cowl {VERSION} ")
    assert json.loads(cowl("version", "--json", check=True).stdout)["version"] == VERSION


def test_help_names_every_command_and_every_command_has_help(cowl: Run) -> None:
    from engine.cli.group import SECTIONS

    shown = cowl("--help", check=True).stdout
    for name in [name for names in SECTIONS.values() for name in names]:
        assert f"\n  {name} " in shown
        assert "Usage: cowl " + name in cowl(name, "--help", check=True).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cowl: Run, shell: str) -> None:
    assert "_COWL_COMPLETE" in cowl("completion", shell, check=True).stdout
    asked = {"_COWL_COMPLETE": "bash_complete", "COMP_WORDS": "cowl run --cp", "COMP_CWORD": "2"}
    assert "plain,--cpus" in cowl(env=asked).stdout


def test_an_argument_too_many_is_named(cowl: Run) -> None:
    for words, said in ((("",), "an empty one"), (("a", "b"), "a b")):
        done = cowl("starter", *words)
        assert done.returncode == 2
        assert done.stderr == f"cowl: error: too many arguments: {said}; see cowl starter --help\n"
