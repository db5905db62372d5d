"""Many containers at once: starting sixteen, looking at a hundred, ending one."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator

from engine.engine import Engine
from engine.model import LaunchOptions
from tests.bench import peers
from tests.bench.measure import QUIET_SECONDS, Case, Figure, Figures, Goal, Result, measure, wait_for_quiet
from tests.bench.place import COWL, Place
from tests.support import images, roots

SLEEP = ("bench:tiny", "sleep", "600")
AT_ONCE = 16
CROWD = 100


def results(place: Place) -> Iterator[Result | Figures]:
    """Beside podman where that is here."""
    tree = f"{place.scratch}/tiny"
    images.tiny_tree(tree)
    images.tiny(f"{tree}.tar", tree)
    place.cowl("load", "-i", f"{tree}.tar")
    rival = peers.podman(place)
    yield _starting(place, rival)
    yield _looking(place, rival)
    yield _in_process(place)


def _starting(place: Place, rival: peers.Podman | None) -> Result:
    env = roots.environment(place.root, {"COWL_LAUNCHER": "yes"})
    place.cowl("run", "--rm", "bench:tiny", "true")
    time.sleep(0.5)  # a launcher stands by then
    ours = [COWL, "run", "-d", *SLEEP]
    cases = [Case("cowl", lambda: _at_once(ours, env), after=lambda: place.cowl("rm", "-f", *_names(place)))]
    if rival:
        theirs = [*rival.prefix, "run", *rival.options, "-d", *SLEEP]
        cases.append(Case("podman", lambda: _at_once(theirs), after=lambda: rival("rm", "-fa", "-t", "0")))
    return measure(f"{AT_ONCE} starts at once", cases, (Goal("cowl", "podman", 1 / 5),), rounds=3)


def _at_once(command: list[str], env: dict[str, str] | None = None) -> None:
    running = [
        subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(AT_ONCE)
    ]
    for process in running:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)


def _names(place: Place) -> list[str]:
    return place.cowl("ps", "-aq").split()


def _looking(place: Place, rival: peers.Podman | None) -> Result:
    with Engine(place.root.path, cgroup_parent=place.cgroup_parent, launcher=True) as engine:
        for _ in range(CROWD):
            engine.containers.run(LaunchOptions(SLEEP[0], SLEEP[1:]))
    cases = [
        Case("cowl stats", lambda: place.cowl("stats", "--no-stream")),
        Case("cowl ps", lambda: place.cowl("ps")),
    ]
    if rival:
        for _ in range(CROWD):
            rival.run("-d", *SLEEP)
        cases.append(Case("podman stats", lambda: rival("stats", "--no-stream")))
        cases.append(Case("podman ps", lambda: rival("ps")))
    goals = (Goal("cowl stats", "podman stats", 0.6), Goal("cowl ps", "podman ps", 0.6))
    try:
        return measure(f"looking at {CROWD} containers", cases, goals, rounds=9)
    finally:
        if rival:
            rival("rm", "-fa", "-t", "0")


def _in_process(place: Place) -> Figures:
    """Of the hundred that `_looking` left, which are ended."""
    with Engine(place.root.path, cgroup_parent=place.cgroup_parent, launcher=True) as engine:
        names = [each.id for each in engine.containers.list()]
        engine.stats.sample()
        wait_for_quiet(QUIET_SECONDS)
        batch = _median(engine.stats.sample, 15)
        monitors = [_private(engine, name) for name in names]
        ending = iter(names)

        def end() -> None:
            name = next(ending)
            engine.containers.stop(name, 0)
            engine.containers.remove(name)

        ended = _median(end, len(names))
    return Figures(
        f"{CROWD} containers, in process",
        (
            Figure("one batch of samples", 1000 * batch, "ms", 3),
            Figure("stop by SIGKILL, and remove", 1000 * ended, "ms", 15),
            Figure("private memory of a monitor", statistics.median(monitors) / 1024, "KiB", 1024),
        ),
    )


def _median(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _private(engine: Engine, name: str) -> float:
    """Bytes that the monitor of a container shares with nobody."""
    pid = engine.containers.get(name).pid
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        monitor = file.read().rpartition(")")[2].split()[1]
    with open(f"/proc/{monitor}/smaps_rollup", encoding="utf-8") as file:
        return 1024.0 * sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
