"""What a call of ``cowl-runtime`` may import: a few modules are a millisecond in every container's start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conformance.bundles import Bundle

pytestmark = pytest.mark.kernel

PROBE = """
import os, sys
bare = set(sys.modules)
from engine.runtime.main import command
code = command(sys.argv[2:])
sys.stdout.flush()
with open(sys.argv[1], "w") as file:
    file.write("\\n".join(sorted(set(sys.modules) - bare)))
sys.exit(code)
"""

QUICK = {"__future__", "errno", "fcntl", "gc", "select", "struct", "time"}
"""For state, start and kill; C modules that begin with an underscore besides."""
USUAL = QUICK | {
    "collections",
    "contextlib",
    "functools",
    "itertools",
    "keyword",
    "operator",
    "reprlib",
    "types",
}
"""For delete."""
WHOLE = USUAL | {"ctypes", "marshal", "pwd", "termios", "tty"}
"""For create, run and exec."""
OURS = {
    *("engine", "engine.record", "engine.errors", "engine.plainjson", "engine.version"),
    *("engine.kernel", "engine.kernel.identity", "engine.kernel.freezer", "engine.kernel.signals"),
}


def imported(bundle: Bundle, path: str, *words: str) -> set[str]:
    """The modules that a call ends with, besides those that any Python begins with."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, path, "--root", bundle.run_root, *words],
        stdout=subprocess.DEVNULL,  # what the container has of it would be waited for
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
    with open(path, encoding="utf-8") as file:
        return set(file.read().split("\n"))


def strangers(modules: set[str], allowed: set[str]) -> set[str]:
    """Those of *modules* of the standard library that are not *allowed*."""
    names = {name.partition(".")[0] for name in modules}
    return {name for name in names - allowed - {"engine"} if name == "__main__" or name[0] != "_"}


def test_the_calls_of_a_life(bundle: Bundle, tmp_path: object) -> None:
    bundle.process["args"] = ["sleep", "100"]
    bundle.write()
    path = f"{tmp_path}/modules"
    assert strangers(imported(bundle, path, "create", "--bundle", bundle.path, "c"), WHOLE) == set()
    for words, further in (
        (("state", "c"), set()),
        (("start", "c"), {"starting", "engine.launch", "engine.launch.request", "engine.kernel.channel"}),
        (("kill", "c", "KILL"), {"killing"}),
    ):
        found = imported(bundle, path, *words)
        assert strangers(found, QUICK) == set()
        ours = {name for name in found if name.startswith("engine") and not name.startswith("engine.runtime")}
        assert ours <= OURS | further
    bundle.wait("stopped")
    assert strangers(imported(bundle, path, "delete", "c"), USUAL) == set()


def test_exec(bundle: Bundle, tmp_path: object) -> None:
    bundle.process["args"] = ["sleep", "100"]
    bundle.create().check()
    bundle.call("start", "c").check()
    found = imported(bundle, f"{tmp_path}/modules", "exec", "--detach", "c", "true")
    assert strangers(found, WHOLE) == set()
