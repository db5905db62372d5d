"""The story that the README tells, by keys alone, in a real terminal on real containers."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.model import JSON
from tests.support import roots, traces
from tests.support.roots import Run
from tests.support.terminal import Terminal, terminal
from tests.support.traces import Root

pytestmark = [pytest.mark.kernel, pytest.mark.session]


@pytest.fixture
def app(root: Root, tmp_path: Path) -> Iterator[Terminal]:
    """`cowl` on an empty root, in 120x40."""
    env = {name: value for name, value in roots.environment(root).items() if name in ("PATH", "HOME")}
    env |= {"COWL_ROOT": root.path, "COWL_CGROUP_PARENT": root.cgroup_parent, "SHELL": "/bin/sh"}
    env["COWL_NETWORK"] = "none"
    with terminal([sys.executable, "-m", "engine.cli"], str(tmp_path / "tmux"), env) as made:
        yield made


def test_a_newcomer_grows_an_image(app: Terminal, root: Root, cowl: Run) -> None:
    app.expect("Welcome")
    app.press("Enter")
    app.expect("starter:latest", 60)
    app.expect_gone("Welcome")

    app.press("1", "G", "n")
    app.expect("Launch a container")
    app.write("sh -c 'echo ready; while :; do sleep 1; done'")
    app.expect(r"\$ cowl run[\s\S]*done'")
    app.press("Tab")
    app.write("first")
    app.expect(r"\$ cowl run[\s\S]*--name first")
    app.press("Enter")
    app.expect_gone("Launch a container")
    app.expect(r"● first")
    app.expect(r"Logs[\s\S]*ready")

    cowl("exec", "first", "sh", "-c", "echo hi > /new; rm /etc/os-release; chmod 600 /etc/passwd", check=True)
    app.press("2", "g")
    app.expect(r"A [^\n]*new")
    app.expect(r"D [^\n]*os-release")
    app.expect(r"M [^\n]*passwd[^\n]*mode")

    before = len(forest(cowl))
    app.press("c")
    app.expect("commit first as first:1")
    app.press("Enter")
    app.expect(r"\$ cowl commit")
    after = forest(cowl)
    assert len(after) == before + 1
    [node] = [node for node in after if node["parent"] == tagged(after, "starter:latest")["chain_id"]]
    [name] = node["tags"]
    app.expect(name)
    assert cowl("run", "--rm", name, "cat", "/new").stdout == "hi\n"

    app.press("2", "g", "s")
    app.expect(r"○ first|exit", 30)
    app.press("d")
    app.expect("Remove first")
    app.press("y")
    app.expect_gone(r"[●○◐] first")

    app.press("q")
    assert app.wait_for_exit() == 0
    assert json.loads(cowl("ps", "-a", "--json").stdout) == []
    left = traces.settle(root)
    assert [process for process in left.processes if " tmux " not in process] == []
    assert not left._replace(processes=())


@pytest.mark.usefixtures("starter_images")
@pytest.mark.parametrize(("waits", "patience"), [(True, "8"), (False, "600")])
def test_leaving_while_something_is_being_done(app: Terminal, cowl: Run, waits: bool, patience: str) -> None:
    cowl("run", "-d", "--name", "deaf", "--stop-timeout", patience, "starter", "sleep", "1000", check=True)
    app.expect("● deaf")
    app.press("2", "g", "s")
    app.expect("stopping deaf")
    app.press("q")
    app.expect(r"cowl: stopping deaf … \(ctrl-c")
    if not waits:  # to the app alone: the shell that keeps its exit code would end, too
        shell = app.tmux("display-message", "-p", "#{pane_pid}").strip()
        [child] = Path(f"/proc/{shell}/task/{shell}/children").read_text(encoding="ascii").split()
        os.kill(int(child), signal.SIGINT)
    assert app.wait_for_exit() == (0 if waits else 130)
    assert "Traceback" not in app.screen()
    assert (cowl("ps", "-q").stdout == "") is waits


def forest(cowl: Run) -> list[JSON]:
    nodes: list[JSON] = json.loads(cowl("forest", "--json", check=True).stdout)["nodes"]
    return nodes


def tagged(nodes: list[JSON], name: str) -> JSON:
    [node] = [node for node in nodes if name in node["tags"]]
    return node
