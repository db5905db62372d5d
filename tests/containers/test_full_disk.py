"""A container that fills its own disk can be removed: nobody needs room elsewhere for that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.captures import wait_for
from tests.support.roots import Run
from tests.support.traces import Root

pytestmark = pytest.mark.kernel

FILLS = ("sh", "-c", "cat /dev/zero > /filler; exit 3")
FULL_BYTES = 64 << 10
"""Whoever may have the reserve leaves more than that when it is done."""


@pytest.fixture
def small_root(root: Root, starter_root: Root) -> Iterator[Root]:
    """A root with the starter images on a file system of its own, which has room for a reserve."""
    os.mkdir(root.path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "cowl-test", root.path], check=True)
    try:
        subprocess.run(["cp", "-a", f"{starter_root.path}/.", root.path], check=True)
        yield root
    finally:
        subprocess.run(["umount", "-l", root.path], check=True)


def free(root: Root) -> int:
    found = os.statvfs(root.path)
    return found.f_bavail * found.f_frsize


def test_it_is_removed(small_root: Root, cowl: Run) -> None:
    done = cowl("run", "--name", "full", "starter", *FILLS)
    assert done.returncode == 3
    assert "space" in done.stderr
    assert free(small_root) == 0
    assert os.path.exists(f"{small_root.path}/cowl.db-wal"), "there are records that wait to be written"
    cowl("rm", "full", check=True)
    assert free(small_root) > FULL_BYTES
    assert cowl("ps", "-aq").stdout == ""
    assert cowl("run", "--rm", "starter", "echo", "on").stdout == "on\n"


def test_it_goes_by_itself(small_root: Root, cowl: Run) -> None:
    before = free(small_root)
    assert cowl("run", "--rm", "starter", *FILLS).returncode == 3
    assert cowl("ps", "-aq").stdout == ""
    assert free(small_root) > before // 2


def test_its_monitor_removes_it(small_root: Root, cowl: Run) -> None:
    before = free(small_root)
    cowl("run", "-d", "--rm", "--name", "full", "starter", *FILLS, check=True)
    cowl("wait", "full")
    wait_for(lambda: cowl("ps", "-aq").stdout == "")
    wait_for(lambda: free(small_root) > before // 2)  # its files go after its record
