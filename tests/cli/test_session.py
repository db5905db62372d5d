"""The main job from end to end, typed as a person types it, with what the kernel says of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from engine.model import JSON
from tests.support import traces
from tests.support.roots import Run
from tests.support.traces import Root

pytestmark = pytest.mark.kernel

SETTLE_S = 1.5
"""How long a busy loop runs before its share of a CPU is looked at: fifteen periods of its quota."""
ATTEMPTS = 10


def test_grow_an_image(root: Root, cowl: Run) -> None:
    cowl("starter", check=True)
    nodes: list[JSON] = json.loads(cowl("forest", "--json", check=True).stdout)["nodes"]
    by_tag = {tag: node for node in nodes for tag in node["tags"]}
    assert by_tag["starter:base"]["chain_id"] in ancestors(nodes, by_tag["starter:latest"])

    script = 'hostname; id -u; ls /proc | grep -c "^[0-9]"; cat /proc/1/comm'
    hostname, uid, processes, init = cowl(
        "run", "--rm", "starter", "sh", "-c", script, check=True
    ).stdout.split()
    assert len(hostname) == 12
    assert hostname != os.uname().nodename
    assert (uid, init) == ("0", "sh")
    assert int(processes) <= 4

    limits = ("-m", "64m", "--cpus", "0.5", "--pids-limit", "50")
    words = ("run", "-d", "--name", "a", *limits, "starter", "sh", "-c", "while :; do :; done")
    [identity] = cowl(*words, check=True).stdout.split()
    assert len(identity) == 64
    prefer(root)
    sample = busy_sample(cowl)
    assert sample["container"] == identity
    assert sample["memory_limit_bytes"] == 64 << 20
    assert (sample["pids"], sample["pids_limit"], sample["cpu_limit"]) == (1, 50, 0.5)
    assert sample["throttled_periods"] > 0
    assert "67108864" in {
        cgroup_file(root, identity, name) for name in ("memory.limit_in_bytes", "memory.max")
    }
    assert cgroup_file(root, identity, "pids.max") == "50"

    script = "echo hi > /new; rm /etc/os-release; chmod 600 /etc/passwd"
    cowl("exec", "a", "sh", "-c", script, check=True)
    changes: list[JSON] = json.loads(cowl("diff", "--json", "a", check=True).stdout)
    told = {(change["kind"], change["path"], tuple(change["what"])) for change in changes}
    assert told == {
        ("added", "/new", ()),
        ("deleted", "/etc/os-release", ()),
        ("modified", "/etc/passwd", ("mode",)),
    }
    assert cowl("diff", "a").stdout == "D /etc/os-release\nM /etc/passwd\nA /new\n"
    assert cowl("diff", "--docker", "a", "/etc/passwd").stdout == "C /etc/passwd\n"
    assert "+hi" in cowl("diff", "-p", "a", "/new").stdout

    [chain_id] = cowl("commit", "-m", "first", "a", "mine:1", check=True).stdout.split()
    assert cowl("run", "--rm", "mine:1", "cat", "/new", check=True).stdout == "hi\n"
    assert cowl("run", "--rm", "mine:1", "stat", "-c", "%a", "/etc/passwd", check=True).stdout == "600\n"
    nodes = json.loads(cowl("forest", "--json", check=True).stdout)["nodes"]
    [mine] = [node for node in nodes if node["chain_id"] == chain_id]
    assert (mine["tags"], mine["comment"]) == (["mine:1"], "first")
    assert mine["parent"] == by_tag["starter:latest"]["chain_id"]
    assert mine["file_count"] == 4  # etc, the whiteout and passwd in it, new

    assert cowl("stop", "-t", "1", "a", check=True).stdout == "a\n"
    assert cowl("rm", "a", check=True).stdout == "a\n"
    assert not traces.settle(root)
    assert os.listdir(root.layout.containers) == []


def prefer(root: Root) -> None:
    """However busy the machine is otherwise, the containers get the CPU time that they are allowed."""
    for directory in traces.cgroups(root):
        for name, most in (("cpu.shares", 262_144), ("cpu.weight", 10_000)):
            path = Path(directory, name)
            if os.path.basename(directory) == root.cgroup_parent and path.exists():
                path.write_text(str(most))


def busy_sample(cowl: Run) -> JSON:
    """A sample of the busy loop at its limit: never above, and there sooner or later."""
    for _ in range(ATTEMPTS):
        time.sleep(SETTLE_S)
        sample: JSON = json.loads(cowl("stats", "--no-stream", "--json", "a", check=True).stdout)
        assert sample["cpu_percent"] < 60
        if sample["cpu_percent"] > 40:
            return sample
    pytest.fail("a busy loop does not get half a CPU")


def ancestors(nodes: list[JSON], node: JSON) -> set[str]:
    """Chain IDs under *node*."""
    parents = {each["chain_id"]: each["parent"] for each in nodes}
    found = set()
    step = node["parent"]
    while step:
        found.add(step)
        step = parents[step]
    return found


def cgroup_file(root: Root, identity: str, name: str) -> str:
    """What the file *name* of the container's cgroup says, in whichever hierarchy has it; empty for none."""
    for directory in traces.cgroups(root):
        path = os.path.join(directory, name)
        if os.path.basename(directory) == identity and os.path.exists(path):
            with open(path, encoding="ascii") as file:
                return file.read().strip()
    return ""
