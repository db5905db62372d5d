"""docker's longer commands, its ways to remove, what it has and cowl has not, and completion of values."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from engine.cli.elsewhere import COMMANDS
from engine.cli.options import RUN
from engine.engine import Engine
from tests.support.roots import Run
from tests.support.traces import Root


@pytest.mark.kernel
def test_longer_commands(starter_images: Root, engine: Engine, cowl: Run) -> None:
    done = cowl("container", "run", "--rm=true", "-e=A=1", "starter", "sh", "-c", "echo $A", check=True)
    assert done.stdout == "1\n"
    cowl("container", "create", "--name", "x", "starter", "true", check=True)
    for words, told in (
        (("container", "ls", "-a", "--format", "{{.Names}}"), "x\n"),
        (("container", "inspect", "-f", "{{.Name}}", "x"), "/x\n"),
        (("image", "ls", "-f", "reference=*:base", "--format", "{{.Tag}}"), "base\n"),
        (("image", "inspect", "-f", "{{.RepoTags}}", "starter:base"), "[starter:base]\n"),
        (("system", "info", "--format", "{{.Containers}}"), "1\n"),
        (("container", "rm", "-f=1", "x"), "x\n"),
    ):
        assert cowl(*words, check=True).stdout == told, words
    assert cowl("container", "inspect", "starter").returncode == 1
    assert cowl("image", "inspect", "x").returncode == 1
    assert "No such command 'frobnicate'" in cowl("image", "frobnicate").stderr
    assert engine.containers.list() == []


@pytest.mark.kernel
def test_containers_that_do_not_run_are_removed(starter_images: Root, engine: Engine, cowl: Run) -> None:
    for name, label in (("a", "x=1"), ("b", "x=2")):
        cowl("create", "--name", name, "-l", label, "starter", "true", check=True)
    cowl("run", "-d", "--name", "c", "-l", "x=1", "starter", "sleep", "100", check=True)
    refused = cowl("container", "prune")
    assert (refused.returncode, "add -f" in refused.stderr) == (1, True)
    assert " a" in cowl("container", "prune", "--dry-run", "--filter", "label=x=1", check=True).stdout
    cowl("container", "prune", "-f", "--filter", "until=1h", check=True)
    assert len(engine.containers.list()) == 3
    cowl("container", "prune", "-f", "--filter", "label=x=1", check=True)
    assert [each.name for each in engine.containers.list()] == ["b", "c"]
    cowl("container", "prune", "--force=true", check=True)
    assert [each.name for each in engine.containers.list()] == ["c"]
    assert len(engine.images.list()) == 2
    assert cowl("container", "prune", "--filter", "x=1").returncode == 2


@pytest.mark.parametrize("name", ["build", "compose", "network", "search", "swarm"])
def test_commands_that_are_not_here(cowl: Run, name: str) -> None:
    done = cowl(name, "ls")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == f"cowl: error: there is no such command {name} ({COMMANDS[name]}); see cowl --help\n"
    )


@pytest.mark.kernel
def test_images_are_removed_by_force(starter_images: Root, engine: Engine, cowl: Run) -> None:
    missing = cowl("rmi", "-f", "nobody", check=True)
    assert (missing.stdout, "no image nobody" in missing.stderr) == ("", True)
    cowl("create", "--name", "x", "starter", "true", check=True)
    assert cowl("rmi", "starter:latest").returncode == 1
    assert (
        cowl("rmi", "-f", "--dry-run", "starter:latest", check=True).stdout == "Would untag starter:latest\n"
    )
    assert cowl("rmi", "-f", "starter:latest", check=True).stdout == "Untagged starter:latest\n"
    assert [image.name for image in engine.images.list()] == ["starter:base"]
    cowl("start", "-a", "x", check=True)  # what it stands on has stayed
    refused = cowl("rmi", "-f", engine.containers.get("x").chain_id)
    assert (refused.returncode, "x" in refused.stderr, "no tag" in refused.stderr) == (1, True, False)


@pytest.mark.kernel
def test_a_log_that_is_not_kept(starter_images: Root, engine: Engine, cowl: Run) -> None:
    words = ("--log-driver", "none", "--name", "x", "starter", "sh", "-c", "echo said; printf more")
    assert cowl("run", *words, check=True).stdout == "said\nmore"
    assert cowl("logs", "x", check=True).stdout == ""
    assert cowl("inspect", "-f", "{{.HostConfig.LogConfig.Type}}", "x", check=True).stdout == "none\n"
    found = engine.containers.inspect("x")
    assert os.stat(found["log"]).st_size == 0


@pytest.mark.kernel
def test_values_are_completed(starter_images: Root, cowl: Run) -> None:
    cowl("create", "--name", "donor", "--ipc", "shareable", "starter", "true", check=True)
    cowl("volume", "create", "data", check=True)

    def offered(words: str) -> list[str]:
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_COWL_COMPLETE": "bash_complete"}
        return [line.partition(",")[2] for line in cowl(env=asked).stdout.splitlines()]

    for words, values in (
        ("cowl run --pull a", ["always"]),
        ("cowl run --ipc sh", ["shareable"]),
        ("cowl run --ipc cont", ["container:"]),
        ("cowl run --ipc container:d", ["container:donor"]),
        ("cowl run --volumes-from d", ["donor"]),
        ("cowl run -v da", ["data:"]),
        ("cowl run --cap-add net_a", ["NET_ADMIN"]),
        ("cowl create --ulimit nof", ["nofile="]),
        ("cowl ps --filter anc", ["ancestor="]),
        ("cowl images --filter ref", ["reference="]),
        ("cowl volume ls --format j", ["json"]),
        ("cowl image inspect starter:b", ["starter:base"]),
        ("cowl inspect --type vol", ["volume"]),
        ("cowl volume inspect d", ["data"]),
        ("cowl kill -s sigt", ["SIGTERM"]),
        ("cowl update --restart unl", ["unless-stopped"]),
    ):
        assert offered(words) == values, words


def test_the_readme_names_every_option() -> None:
    """Those of `create` and `run` that are shown, and none that is not there."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| limits |") : text.index("`--format` takes Go's")]
    named = set(re.findall(r"`(--?[A-Za-z][a-z-]*)", table))
    shown = {flag for option in RUN.options if not option.hidden for flag in option.flags}
    assert named - {"--health-"} <= shown | {"--userns"}
    for option in RUN.options:
        flags = set(option.flags)
        assert option.hidden or flags & named or option.dest.startswith("health_"), option
