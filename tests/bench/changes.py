"""Reading and committing a read-write layer of 24,000 changes over an image of 100,000 files."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator

from engine.engine import Engine
from engine.store.layout import Layout
from tests.bench import peers
from tests.bench.measure import Case, Goal, Result, measure
from tests.bench.place import Place, call
from tests.support import images

CHANGE = """
set -e
for d in 000 001 002 003 004 005 006 007; do find /data/${d}* -type f | xargs rm; done
for d in 010 011 012 013 014 015 016 017; do for f in /data/${d}?/*; do echo more >> $f; done; done
mkdir /new
i=0
while [ $i -lt 8000 ]; do echo $i > /new/$i; i=$((i+1)); done
"""
"""8,000 files deleted, 8,000 appended to, 8,000 made: the shell's own commands, no process for each."""


def results(place: Place) -> Iterator[Result]:
    """The changes in process and as commands; then commits."""
    tree, archive = f"{place.scratch}/tiny", f"{place.scratch}/many.tar"
    if not os.path.exists(f"{tree}.tar"):
        images.tiny_tree(tree)
        images.tiny(f"{tree}.tar", tree)
    images.many(archive, tree)
    rival = peers.podman(place)
    place.cowl("load", "-i", archive)
    place.cowl("run", "--name", "lots", "--network", "none", "bench:many", "sh", "-c", CHANGE)
    if rival:
        rival("load", "-q", "-i", archive)
        rival.run("--name", "lots", "bench:many", "sh", "-c", CHANGE)
    os.unlink(archive)
    try:
        yield from _diff(place, rival)
        yield _commit(place, rival)
    finally:
        place.cowl("rm", "-f", "lots")
        if rival:
            rival("rm", "-f", "lots")
            rival("rmi", "-f", "bench:many")


def _upper(place: Place, engine: Engine) -> str:
    layout = Layout.of(place.root.path)
    return layout.container(engine.containers.get("lots").id).upper


def _diff(place: Place, rival: peers.Podman | None) -> Iterator[Result]:
    with Engine(place.root.path, cgroup_parent=place.cgroup_parent) as engine:
        upper = _upper(place, engine)
        count = len(engine.changes.of("lots"))
        yield measure(
            f"{count:,} changes over 100,000 files, in process",
            [
                Case("changes.of", lambda: engine.changes.of("lots")),
                Case("find of the upper directory", lambda: call(["find", upper])),
            ],
            (Goal("changes.of", "find of the upper directory", 4),),
            rounds=7,
        )
    cases = [Case("cowl diff", lambda: place.cowl("diff", "lots"))]
    if rival:
        cases.append(Case("podman diff", lambda: rival("diff", "lots")))
    yield measure("the same, as a whole process", cases, (Goal("cowl diff", "podman diff", 1 / 3),), rounds=5)


def _commit(place: Place, rival: peers.Podman | None) -> Result:
    with Engine(place.root.path, cgroup_parent=place.cgroup_parent) as engine:
        upper = _upper(place, engine)
    copy = f"{place.scratch}/copy"
    # A commit of the same changes is a node that exists already: each round's must be another one.
    numbers = itertools.count()

    def touch() -> None:
        with open(f"{upper}/new/0", "w", encoding="ascii") as file:
            file.write(f"{next(numbers)}\n")

    def floor() -> None:
        call(["cp", "-a", upper, copy])
        call(["sh", "-c", f"tar -C {upper} -cf - . | sha256sum"])

    cases = [
        Case(
            "cowl commit",
            lambda: place.cowl("commit", "lots", "bench:commit"),
            before=touch,
            after=lambda: place.cowl("rmi", "bench:commit"),
        ),
        Case("cp -a, then tar | sha256sum", floor, after=lambda: shutil.rmtree(copy)),
    ]
    if rival:
        cases.append(
            Case(
                "podman commit",
                lambda: rival("commit", "-q", "lots", "bench:commit"),
                after=lambda: rival("rmi", "-f", "bench:commit"),
            )
        )
    return measure(
        "commit of them, as a whole process",
        cases,
        (
            Goal("cowl commit", "podman commit", 1 / 3),
            Goal("cowl commit", "cp -a, then tar | sha256sum", 1.3),
        ),
        rounds=3,
    )
