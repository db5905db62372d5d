"""What upkeep of the store costs with an image of five layers (375 MB) and with one of 100,000 files."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator

from tests.bench.measure import Case, Figure, Figures, Goal, Result, measure
from tests.bench.place import Place, call
from tests.support import images

ROUNDS = 5
BELOW_MS = 1000.0


def results(place: Place) -> Iterator[Result | Figures]:
    """`waste`, `check` and `df`, beside a bare walk and a bare hash of the same bytes."""
    tree, archive = f"{place.scratch}/tiny", f"{place.scratch}/upkeep.tar"
    for name, make in (("deb", images.deb), ("many", lambda path: images.many(path, tree))):
        if not os.path.exists(tree):
            images.tiny_tree(tree)
        make(archive)
        place.cowl("load", "-q", "-i", archive)
        os.unlink(archive)
        result = measure(f"upkeep of {name}", _cases(place, name), _goals(), rounds=ROUNDS)
        yield result
        waste = statistics.median(result.times["cowl waste"]) * 1000
        yield Figures(f"waste of {name}", (Figure("whole process", waste, "ms", BELOW_MS),))
        place.cowl("rmi", f"bench:{name}")


def _cases(place: Place, name: str) -> list[Case]:
    layers, blobs = place.root.layout.layers, place.root.layout.blobs
    return [
        Case("cowl waste", lambda: place.cowl("waste", "--json", f"bench:{name}")),
        Case("find -printf", lambda: call(["find", layers, "-printf", "%p %s %m\\n"])),
        Case("cowl check", lambda: place.cowl("check", "-q")),
        Case(
            "sha256sum of every file",
            lambda: call(["sh", "-c", f"find {layers} {blobs} -type f -print0 | xargs -0 -P2 sha256sum"]),
        ),
        Case("cowl df", lambda: place.cowl("df")),
    ]


def _goals() -> tuple[Goal, ...]:
    return (Goal("cowl check", "sha256sum of every file", 2.0),)
