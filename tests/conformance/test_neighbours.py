"""A PID namespace that others are in: they cannot look into who is on the way to be a program there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.kernel import capabilities
from tests.conformance.bundles import CAPABILITIES, Bundle, eventually

pytestmark = pytest.mark.kernel

SPY = """
import os, sys
from engine.kernel import capabilities
mask, stop, group = int(sys.argv[1]), *sys.argv[2:]
known = set(os.listdir("/proc"))
capabilities.set_sets(mask, mask, 0)
print("ready", flush=True)
seen = set()
while not os.path.exists(stop):
    for name in os.listdir("/proc"):
        if name not in known:
            try:
                exe = os.readlink(f"/proc/{name}/exe")
                if group in open(f"/proc/{name}/cgroup").read() and exe not in seen:
                    seen.add(exe)
                    print(exe, flush=True)
            except OSError:
                continue
"""
"""Root with no more capabilities than a container's, which the kernel takes for one of its processes."""


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


@pytest.fixture
def namespace() -> Iterator[str]:
    """The path of a PID namespace that somebody is in."""
    process = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "100"])
    try:
        first = f"/proc/{process.pid}/task/{process.pid}/children"
        eventually(lambda: bool(_read(first)))
        path = f"/proc/{_read(first).strip()}/ns/pid"
        yield path
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_who_comes_is_hidden_from_those_who_are_there(
    bundle: Bundle, namespace: str, tmp_path: object
) -> None:
    """Its descriptors and the interpreter's file would be theirs to take (CVE-2016-9962, CVE-2019-5736)."""
    stop = f"{tmp_path}/stop"
    mask = str(capabilities.mask(CAPABILITIES))
    command = [sys.executable, "-c", SPY, mask, stop, bundle.cgroup_parent]
    report = Path(f"{tmp_path}/report")
    with report.open("wb") as file:
        spy = subprocess.Popen(command, stdout=file)
    eventually(lambda: report.read_text() == "ready\n")
    for entry in bundle.linux["namespaces"]:
        if entry["type"] == "pid":
            entry["path"] = namespace
    try:
        for _ in range(15):
            bundle.run("sleep 0.01").check()
        bundle.process["args"] = ["/bin/sleep", "100"]
        bundle.create().check()
        bundle.call("start", "c").check()
        eventually(lambda: "/sleep\n" in report.read_text())  # it sees whom it may see
    finally:
        with open(stop, "w", encoding="ascii"):
            pass
        spy.wait()
    assert f"{os.path.realpath(sys.executable)}\n" not in report.read_text()
