"""What moving images takes of memory: one of 1 GiB in four files, and one of 100,000 files.

All processes of a command together: their proportional set sizes (proc_pid_smaps(5)), looked at every few
milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

from tests.bench.measure import Figure, Figures
from tests.bench.place import COWL, Place
from tests.images.registries import docker_registry
from tests.support import images, roots

BELOW_MB = 150.0
_PAUSE_S = 0.005


def results(place: Place) -> Iterator[Figures]:
    """The peak of each command, for each image."""
    tree = f"{place.scratch}/tiny"
    images.tiny_tree(tree)
    for name in ("big", "many"):
        archive = f"{place.scratch}/{name}.tar"
        if name == "big":
            images.big(archive, tree, 1 << 30)
        else:
            images.many(archive, tree)
        with contextlib.ExitStack() as stack:
            figures = list(_figures(place, stack, f"bench:{name}", archive))
        yield Figures(f"peak memory with {name}, all processes together", tuple(figures))


def _figures(place: Place, stack: contextlib.ExitStack, image: str, archive: str) -> Iterator[Figure]:
    yield _figure(place, "load", "-q", "-i", archive)
    os.unlink(archive)
    yield _figure(place, "save", "-o", archive, image)
    os.unlink(archive)
    if shutil.which("docker-registry"):
        home = f"{place.scratch}/registry"
        address = stack.enter_context(docker_registry(home))
        yield _figure(place, "push", "-q", image, f"{address}/{image}")
        place.cowl("rmi", image)
        yield _figure(place, "pull", "-q", f"{address}/{image}")
        place.cowl("tag", f"{address}/{image}", image)
        place.cowl("rmi", f"{address}/{image}")
    script = "cat /big/* > /new; cat /data/*/* > /new2; true"
    place.cowl("run", "--name", "changed", "--network", "none", image, "sh", "-c", script)
    yield _figure(place, "commit", "changed", f"{image}-more")
    place.cowl("rm", "changed")
    place.cowl("rmi", f"{image}-more", image)


def _figure(place: Place, *words: str) -> Figure:
    process = subprocess.Popen(
        [COWL, *words],
        env=roots.environment(place.root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_proportional, _session(process.pid))))
        time.sleep(_PAUSE_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return Figure(f"cowl {words[0]}", peak / 1e6, "MB", BELOW_MB)


def _session(leader: int) -> Iterator[int]:
    """The processes of the session that *leader* began."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.getsid(int(name)) == leader:
                    yield int(name)


def _proportional(pid: int) -> int:
    """Bytes that a process has in memory, its share of what it shares; 0 when it has gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
