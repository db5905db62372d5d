"""Starting things: a container that only runs `true`, and `true` in one that runs already."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.engine import Engine
from engine.model import LaunchOptions
from tests.bench import peers
from tests.bench.measure import Case, Goal, Result, measure
from tests.bench.place import COWL, Place, call
from tests.support import images, roots

TRUE = LaunchOptions(image="bench:tiny", command=("true",), auto_remove=True)


def results(place: Place) -> Iterator[Result]:
    """In a warm process beside bare runtimes; then whole commands beside podman's."""
    tree = f"{place.scratch}/tiny"
    images.tiny_tree(tree)
    images.tiny(f"{tree}.tar", tree)
    place.cowl("load", "-i", f"{tree}.tar")
    yield _in_process(place, tree)
    yield from _commands(place)


def _in_process(place: Place, tree: str) -> Result:
    bare = {
        "bwrap --unshare-all": peers.bubblewrap(tree),
        "runc run": peers.bundle(place, "runc", tree),
        "crun run": peers.bundle(place, "crun", tree),
    }
    cases = [Case(name, _runner(command)) for name, command in bare.items() if command]
    absent = [name for name, command in bare.items() if not command]
    without = f" ({', '.join(absent)}: not here, or refused by this machine's cgroups)" if absent else ""
    with Engine(place.root.path, cgroup_parent=place.cgroup_parent, launcher=True) as engine:
        cases.insert(0, Case("containers.run", lambda: engine.containers.run(TRUE, attach=True)))
        return measure(
            f"run true, no network, in a warm process{without}",
            cases,
            (Goal("containers.run", "runc run", 1 / 3), Goal("containers.run", "bwrap --unshare-all", 2)),
            rounds=15,
        )


def _runner(command: list[str]) -> Callable[[], object]:
    return lambda: call(command)


def _commands(place: Place) -> Iterator[Result]:
    rival = peers.podman(place)
    alone = roots.environment(place.root, {"COWL_LAUNCHER": "no"})
    place.cowl("run", "-d", "--name", "exec", "--network", "none", "bench:tiny", "sleep", "600")
    run = [
        Case("cowl run --rm", lambda: place.cowl("run", "--rm", "--network", "none", "bench:tiny", "true"))
    ]
    execute = [Case("cowl exec", lambda: place.cowl("exec", "exec", "true"))]
    if rival:
        rival.run("-d", "--name", "exec", "bench:tiny", "sleep", "600")
        run.append(Case("podman run --rm", lambda: rival.run("--rm", "bench:tiny", "true")))
        execute.append(Case("podman exec", lambda: rival("exec", "exec", "true")))
    try:
        yield measure(
            "run true, no network, as a whole process",
            [*run, Case("cowl --version", lambda: call([COWL, "--version"]))],
            (Goal("cowl run --rm", "podman run --rm", 1 / 3),),
            rounds=15,
        )
        yield measure(
            "run true with no launcher standing by",
            [
                Case(
                    "cowl run --rm, alone",
                    lambda: call([COWL, "run", "--rm", "bench:tiny", "true"], env=alone),
                ),
                *run[1:],
            ],
            (Goal("cowl run --rm, alone", "podman run --rm", 1 / 3),),
            rounds=15,
        )
        yield measure(
            "exec true, as a whole process", execute, (Goal("cowl exec", "podman exec", 1 / 2),), rounds=15
        )
    finally:
        place.cowl("rm", "-f", "exec")
        if rival:
            rival("rm", "-f", "-t", "0", "exec")
