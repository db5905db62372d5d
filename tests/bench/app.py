"""The app on a full store, on a real terminal: when it paints, when it answers, what it costs."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator

from tests.bench.measure import Figure, Figures
from tests.bench.place import COWL, Place
from tests.support import images, roots
from tests.support.screenful import Screenful, screenful

IMAGES = 300
CONTAINERS = 50
KEYS = 120
WATCHED_SECONDS = 15.0


def results(place: Place) -> Iterator[Figures]:
    """First paint; then keys and CPU while all containers run; then CPU while none does."""
    _fill(place)
    environment = {**roots.environment(place.root), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    names = [f"c{number:02}" for number in range(CONTAINERS)]
    paints = [_first_paint(environment) for _ in range(5)]
    with screenful([COWL], environment) as app:
        app.wait_for(b"c49", 20)
        app.cpu(5)
        latencies = sorted(_latencies(app))
        busy = app.cpu(WATCHED_SECONDS)
        place.cowl("rm", "-f", *names)
        app.cpu(5)
        idle = app.cpu(WATCHED_SECONDS)
        app.answer(b"q", 5)
    yield Figures(
        f"the app with {IMAGES} images and {CONTAINERS} running containers, 120x40",
        (
            Figure("first paint", statistics.median(paints) * 1000, "ms", 1000),
            Figure("a key's answer, median", statistics.median(latencies) * 1000, "ms"),
            Figure("a key's answer, 95th percentile", latencies[int(len(latencies) * 0.95)] * 1000, "ms", 50),
            Figure("CPU while all are sampled each second", busy, "% of a core", 6),
            Figure("CPU while nothing runs", idle, "% of a core", 1),
        ),
    )


def _fill(place: Place) -> None:
    tree, archive = f"{place.scratch}/tiny", f"{place.scratch}/images.tar"
    images.tiny_tree(tree)
    base = images.layer(lambda tar: tar.add(tree, "."))
    many = {f"bench:n{number}": [base, images.small_layer(str(number))] for number in range(IMAGES - 1)}
    images.archive(archive, {"bench:tiny": [base], **many})
    place.cowl("load", "-i", archive)
    os.unlink(archive)
    for number in range(CONTAINERS):
        image = f"bench:n{number * 5}"
        place.cowl("run", "-d", "--name", f"c{number:02}", "--network", "none", image, "sleep", "100000")


def _first_paint(environment: dict[str, str]) -> float:
    with screenful([COWL], environment) as app:
        took = app.wait_for(b"c49", 20)
        app.drain(0.3)
        app.answer(b"q", 5)
        app.process.wait(10)
        return took


def _latencies(app: Screenful) -> Iterator[float]:
    """Each key is pressed at a quiet moment, so that what is drawn is its answer and not a tick's."""
    for number in range(KEYS):
        app.drain(0.03)
        yield app.answer(b"j" if number // 20 % 2 == 0 else b"k", 5)
