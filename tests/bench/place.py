"""Where a benchmark works: on memory, with a root and a cgroup parent of its own, all gone at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from engine.containers import standing
from tests.support import roots, traces
from tests.support.traces import Root

COWL = os.path.join(os.path.dirname(sys.executable), "cowl")


class Place(NamedTuple):
    """What the areas share."""

    root: Root
    scratch: str
    """A directory on memory, beside the root."""

    @property
    def cgroup_parent(self) -> str:
        """The cgroup that peers put theirs under: found and removed with the root's own."""
        return self.root.cgroup_parent

    def cowl(self, *arguments: str) -> str:
        """Run the `cowl` command as a whole process; its output. Raises CalledProcessError when it fails."""
        return call([COWL, *arguments], env=roots.environment(self.root, {"COWL_LAUNCHER": "yes"}))


def call(command: list[str], *, env: dict[str, str] | None = None) -> str:
    """Run *command* to its end; its output. Raises CalledProcessError when it fails, and shows why."""
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        print(f"{' '.join(command)}\n{done.stderr.decode(errors='replace').strip()}", file=sys.stderr)
        done.check_returncode()
    return done.stdout.decode(errors="replace")


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A place that is gone afterwards, whatever happened in it."""
    root = roots.new_root("/var/tmp")
    scratch = f"{root.path}-scratch"
    os.makedirs(scratch)
    try:
        yield Place(root, scratch)
    finally:
        standing.dismiss(root.layout)
        traces.clean(root)
        for mount in _mounts_below(scratch):
            call(["umount", "-l", mount])
        call(["rm", "-rf", scratch])


def _mounts_below(directory: str) -> list[str]:
    """What peers have left mounted there, the innermost first; in this mount namespace alone."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return [point for point in reversed(points) if point.startswith(f"{directory}/")]
