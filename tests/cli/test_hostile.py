"""What images and containers are full of never steers a terminal: file names, commands, comments, dates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.store import clock
from tests.cli.test_output import on_a_terminal
from tests.images.archives import docker_archive
from tests.layers import tars
from tests.support.roots import Run
from tests.support.traces import Root

pytestmark = pytest.mark.kernel

EVIL = "\x1b]0;title\x07\x1b[2J\r\nFORGED \x9b31m\u202e\x7fend"
OWN = re.compile(r"\x1b\[[0-9;]*m")
"""What cowl itself writes to a terminal: colours."""
CLEAN = ("volume", "images", "events", "stats", "df", "check", "prune", "rmi", "forest")
"""Commands of which some print none of it."""
MAKE = 'for name; do mkdir -p "/d/$name"; echo old > "/d/$name/$name"; chmod 4755 "/d/$name/$name"; done'
KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\n"


def harmful(seen: str) -> list[str]:
    """What in *seen*, as a terminal got it, does more than print and end lines."""
    lines = OWN.sub("", seen).replace("\r\n", "\n").split("\n")
    forged = [line for line in lines if line.startswith("FORGED")]
    return forged + [line for line in lines if not line.isprintable()]


@pytest.fixture
def hostile(starter_images: Root, cowl: Run, tmp_path: Path) -> Iterator[Root]:
    """A store with an image and containers whose every text is `EVIL`."""
    said = {"created": EVIL, "created_by": EVIL, "comment": EVIL, "author": EVIL}
    layers = [
        tars.tar(tars.file(f"a/{EVIL}/.env", b"PASSWORD=x"), tars.file(f"a/{EVIL}/id_rsa", KEY.encode())),
        tars.tar(tars.file(f"a/{EVIL}/.wh..env"), tars.file(f"b{EVIL}", b"x", mode=0o4777)),
    ]
    config = {"Cmd": [EVIL], "Env": [f"TOKEN{EVIL}=secret"], "Labels": {EVIL: EVIL}, "User": EVIL}
    more: dict[str, Any] = {
        "history": [said, said],
        "config": config,
        "os": EVIL,
        "architecture": EVIL,
        **said,
    }
    archive = docker_archive(tmp_path / "evil.tar", layers, names=("evil:1", EVIL), **more)
    cowl("load", "-i", archive, check=True)
    cowl("run", "--name", "made", "starter:base", "sh", "-c", f'{MAKE}; echo "$1"', "sh", EVIL, check=True)
    cowl("commit", "-m", EVIL, "-a", EVIL, "made", "made:1", check=True)
    change = 'echo new > "/d/$1/$1"; echo "$1" > /d/text; ln -s "$1" "/d/link"'
    cowl("run", "--name", "changed", "made:1", "sh", "-c", change, "sh", EVIL, check=True)
    cowl("commit", "changed", "made:2", check=True)
    cowl("create", "--name", "waits", "--label", f"a={EVIL}", "-e", f"A={EVIL}", "made:1", EVIL, check=True)
    cowl("volume", "create", "-l", f"a={EVIL}", "kept", check=True)
    cowl("run", "-d", "--name", "runs", "starter:base", "sh", "-c", "sleep 60; :", EVIL, check=True)
    yield starter_images
    cowl("rm", "-f", "runs", check=True)


def test_nothing_steers_a_terminal(hostile: Root, cowl: Run) -> None:
    until = clock.now()
    shown = [
        ("diff", "changed"),
        ("diff", "-q", "changed"),
        ("diff", "--stat", "changed"),
        ("diff", "-p", "changed"),
        ("diff", "made:1", "made:2"),
        ("diff", "--json", "changed"),
        *(("waste", name) for name in ("evil:1", "made:2")),
        *(("waste", "-q", name) for name in ("evil:1", "made:2")),
        ("ps", "-a", "--no-trunc"),
        ("images",),
        ("images", "--json"),
        *(("history", "--no-trunc", name) for name in ("evil:1", "made:2")),
        *(("inspect", name) for name in ("evil:1", "made", "waits")),
        ("forest",),
        ("events", "--since", "1h", "--until", until),
        ("volume", "ls"),
        ("volume", "inspect", "kept"),
        ("logs", "-t", "made"),
        ("top", "runs"),
        ("stats", "--no-stream", "runs"),
        ("df", "-v"),
        ("check",),
        ("prune", "--dry-run"),
        ("rmi", "--dry-run", "evil:1"),
    ]
    for words in shown:
        seen = on_a_terminal(hostile, *words, COLUMNS="600")
        assert seen, words
        assert harmful(seen) == [], words
        if words[0] not in CLEAN and words != ("waste", "-q", "made:2"):
            assert "FORGED" in seen, words


def test_a_program_gets_names_as_they_are(hostile: Root, cowl: Run) -> None:
    evil = EVIL.replace("\r\n", "\n")  # as subprocess reads text
    assert f"M /d/{evil}/{evil}\n" in cowl("diff", "changed", check=True).stdout
    assert f"/d/{evil}/{evil}\n" in cowl("diff", "-q", "changed", check=True).stdout
    patch = cowl("diff", "-p", "changed", f"/d/{EVIL}", check=True).stdout
    quoted = r"/\033]0;title\a\033[2J\r\nFORGED \302\23331m\342\200\256\177end"
    assert f'--- "a/d{quoted}{quoted}"\n' in patch
    found = json.loads(cowl("diff", "--json", "changed", check=True).stdout)
    assert f"/d/{EVIL}/{EVIL}" in [each["path"] for each in found]


def test_errors_do_not_steer_a_terminal_either(hostile: Root, cowl: Run) -> None:
    for words in (("inspect", EVIL), ("run", "--rm", "evil:1"), ("run", "--rm", "starter:base", EVIL)):
        done = cowl(*words)
        assert done.returncode
        assert harmful(done.stderr.replace("\n", "\r\n")) == [], words
