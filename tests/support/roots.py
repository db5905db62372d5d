"""Roots for tests: on memory where that can be had, each with a cgroup parent of its own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from engine.store.layout import Layout
from tests.support.traces import Root

MEMORY = "/dev/shm"
PREFIX = "cowl-test-"
_numbers = itertools.count(1)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def place(fallback: str) -> str:
    """A directory on a tmpfs, which takes overlay's upper directories well; else *fallback*."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if before.split(" ")[4] == MEMORY and after.startswith("tmpfs ") and os.access(MEMORY, os.W_OK):
                return MEMORY
    return fallback


def new_root(fallback: str, name: str = "") -> Root:
    """Name a root like nothing else on this machine; the store makes its directory."""
    name = name or f"{PREFIX}{os.getpid()}-{next(_numbers):04}"
    path = os.path.join(place(fallback), name)
    return Root(path, name, Layout.of(path))


def is_in_use(path: str) -> bool:
    """Whether *path* is a root of `new_root` that is still there."""
    return os.path.basename(path).startswith(PREFIX) and os.path.exists(path)


def environment(root: Root, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a `cowl` process that works on *root* and stays here, whatever this one's says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COWL_")}
    own = {
        "COWL_ROOT": root.path,
        "COWL_CGROUP_PARENT": root.cgroup_parent,
        "COWL_LAUNCHER": "no",
        "COWL_NETWORK": "none",
        "COWL_FORWARDING": "no",  # only machines of a test's own may be changed
        "COWL_PULL": "never",
    }
    return {**kept, **own, **(extra or {})}


def command_line(root: Root) -> Run:
    """A function that runs `cowl ARGUMENTS…` on *root* as a whole process and returns what became of it."""

    def run(
        *arguments: str,
        check: bool = False,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        if "stdin" not in options and "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli", *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            env=environment(root, env),
            check=False,
            **options,
        )
        if check and done.returncode:
            raise AssertionError(f"cowl {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done

    return run
