"""config.md, POSIX-platform Hooks: when they run, where, with what, and what a failure does."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from engine.launch.hooks import KINDS
from tests.conformance.bundles import Bundle
from tests.support.traces import Root, cgroups

pytestmark = pytest.mark.kernel
requirement = pytest.mark.requirement

INSIDE = ("createContainer", "startContainer")
"""Hooks whose process is in the container's namespaces."""


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], **more}


def every_kind(bundle: Bundle, script: str) -> None:
    """Give the container two hooks of each kind; ``$KIND`` and ``$OUT`` are set, OUT a file of the rootfs."""
    bundle.config["hooks"] = {}
    for kind in KINDS:
        out = "/out" if kind == "startContainer" else f"{bundle.rootfs}/out"
        bundle.config["hooks"][kind] = [
            hook(f"KIND={kind}; N={number}; OUT={out}; {script}") for number in (1, 2)
        ]


def life(bundle: Bundle) -> None:
    bundle.create().check()
    bundle.call("start", "c").check()
    bundle.wait("stopped")
    bundle.call("delete", "c").check()


@requirement("C21", "C23", "C25", "C27", "C29", "C31", "C32")
def test_their_order(bundle: Bundle) -> None:
    every_kind(bundle, 'echo "$KIND $N" >> $OUT')
    bundle.script("echo program >> /out; sleep 0.3")
    bundle.create().check()
    created = bundle.file("out").splitlines()
    assert created == [f"{kind} {number}" for kind in KINDS[:3] for number in (1, 2)]
    bundle.call("start", "c").check()
    started = bundle.file("out").splitlines()[6:]
    assert started[:2] == ["startContainer 1", "startContainer 2"]
    assert [line for line in started if line.startswith("poststart")] == ["poststart 1", "poststart 2"]
    bundle.wait("stopped")
    assert "program" in bundle.file("out").splitlines()[8:]
    before = len(bundle.file("out").splitlines())
    bundle.call("delete", "c").check()
    assert bundle.file("out").splitlines()[before:] == ["poststop 1", "poststop 2"]


@requirement("C20", "C22", "C24", "C26", "C28", "C30")
def test_where_they_run(bundle: Bundle) -> None:
    kinds = ("mnt", "pid", "net", "ipc", "uts")
    links = " ".join(f"$(readlink /proc/self/ns/{kind})" for kind in kinds)
    every_kind(bundle, f'[ $N = 2 ] || echo "$KIND {links}" >> $OUT')
    bundle.process["args"] = ["/bin/sh", "-c", f'echo "program {links}" >> /out; sleep 0.3']
    life(bundle)
    found = {line.split()[0]: line.split()[1:] for line in bundle.file("out").splitlines()}
    host = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert not set(found["program"]) & set(host)
    for kind in KINDS:
        assert found[kind] == (found["program"] if kind in INSIDE else host), kind


@requirement("C24", "C26")
def test_whose_path_it_is(bundle: Bundle, tmp_path: object) -> None:
    """A program that only one side has."""
    host = f"{tmp_path}/only-here"
    inside = f"{bundle.rootfs}/only-there"
    for path in (host, inside):
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\necho {os.path.basename(path)} >> $1\n")
        os.chmod(path, 0o755)
    bundle.config["hooks"] = {
        "createContainer": [{"path": host, "args": ["x", f"{bundle.rootfs}/out"]}],
        "startContainer": [{"path": "/only-there", "args": ["x", "/out"]}],
    }
    life(bundle)
    assert bundle.file("out") == "only-here\nonly-there\n"


@requirement("C33", "R3")
def test_they_get_the_state(bundle: Bundle) -> None:
    every_kind(bundle, "[ $N = 2 ] || { cat; echo; } >> $OUT")
    bundle.process["args"] = ["/bin/sleep", "0.5"]
    bundle.create().check()
    pid = bundle.state()["pid"]
    bundle.call("start", "c").check()
    bundle.wait("stopped")
    bundle.call("delete", "c").check()
    states = [json.loads(line) for line in bundle.file("out").splitlines()]
    assert [state["status"] for state in states] == [
        *("creating", "creating", "creating", "created", "running", "stopped"),
    ]
    assert {(state["id"], state["bundle"], state["ociVersion"]) for state in states} == {
        ("c", bundle.path, "1.2.0")
    }
    assert [state["pid"] for state in states] == [pid, pid, 1, 1, pid, 0]


@requirement("C33")
def test_their_environment_is_what_the_document_says(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_FOR_HOOKS", "1")
    bundle.config["hooks"] = {
        "createRuntime": [
            hook(f"/usr/bin/env > {bundle.rootfs}/environment", env=["A=b", "C=d=e"]),
            {"path": "/bin/sh", "args": ["sh", "-c", f"/bin/ls /proc/self/fd > {bundle.rootfs}/out"]},
        ]
    }
    bundle.create().check()
    lines = {line for line in bundle.file("environment").splitlines() if line.partition("=")[0] in "AC"}
    assert lines == {"A=b", "C=d=e"}
    assert "NOT_FOR_HOOKS" not in bundle.file("environment")
    assert len(bundle.file("out").split()) == 4  # the three, and the directory that is read


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("prestart", marks=requirement("R8")),
        pytest.param("createRuntime", marks=requirement("R9")),
        pytest.param("createContainer", marks=requirement("R10")),
    ],
)
def test_one_that_fails_ends_the_creation(bundle: Bundle, root: Root, kind: str) -> None:
    out = f"{bundle.rootfs}/out"
    bundle.config["hooks"] = {
        kind: [hook("echo no luck; exit 3"), hook(f"echo second >> {out}")],
        "poststop": [hook(f"echo poststop >> {out}")],
    }
    why = bundle.refused()
    assert kind in why
    assert "exit status 3: no luck" in why
    assert bundle.file("out") == "poststop\n"
    assert not list(cgroups(root))


@requirement("R11", "R16")
def test_a_startcontainer_hook_that_fails_ends_the_container(bundle: Bundle) -> None:
    bundle.config["hooks"] = {
        "startContainer": [hook("exit 1")],
        "poststop": [hook(f"echo poststop >> {bundle.rootfs}/out")],
    }
    bundle.script("echo program > /program")
    bundle.create().check()
    assert "startContainer" in bundle.call("start", "c").err
    bundle.nothing_left()
    assert not os.path.exists(f"{bundle.rootfs}/program")
    assert bundle.file("out") == "poststop\n"


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        pytest.param("poststart", "start", marks=requirement("R13", "R17")),
        pytest.param("poststop", "delete", marks=requirement("R15", "R17")),
    ],
)
def test_one_that_fails_afterwards_is_warned_of(bundle: Bundle, kind: str, operation: str) -> None:
    bundle.config["hooks"] = {kind: [hook("exit 1"), hook(f"echo second >> {bundle.rootfs}/out")]}
    bundle.create().check()
    done = bundle.call("start", "c").check()
    bundle.wait("stopped")
    if operation == "delete":
        done = bundle.call("delete", "c").check()
        bundle.nothing_left()
    assert f"the {kind} hook /bin/sh failed" in done.err
    assert bundle.file("out") == "second\n"


@requirement("C19")
def test_one_that_takes_too_long_is_ended(bundle: Bundle) -> None:
    bundle.config["hooks"] = {"createRuntime": [hook("exec sleep 100", timeout=1)]}
    assert "not done after 1 s" in bundle.refused()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"path": "bin/sh"}, marks=requirement("C18")),
        pytest.param({"path": "/bin/sh", "timeout": 0}, marks=requirement("C19")),
        pytest.param({"path": "/bin/sh", "timeout": -1}, marks=requirement("C19")),
        pytest.param({"args": ["sh"]}, marks=requirement("C37")),
    ],
)
def test_malformed_ones(bundle: Bundle, wrong: dict[str, object]) -> None:
    bundle.config["hooks"] = {"prestart": [wrong]}
    assert "malformed" in bundle.refused()
