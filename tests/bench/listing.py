"""Listing a store of 500 images, as whole processes."""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Iterator

from tests.bench.measure import Case, Figure, Figures, Result, measure
from tests.bench.place import Place
from tests.support import images

IMAGES = 500
BELOW_MS = 100.0


def results(place: Place) -> Iterator[Result | Figures]:
    """`images` and `forest`, for people and for programs."""
    tree, archive = f"{place.scratch}/tiny", f"{place.scratch}/images.tar"
    images.tiny_tree(tree)
    base = images.layer(lambda tar: tar.add(tree, "."))
    many = {f"bench:n{number}": [base, images.small_layer(str(number))] for number in range(IMAGES)}
    images.archive(archive, many)
    place.cowl("load", "-q", "-i", archive)
    os.unlink(archive)
    words = (("images",), ("images", "--json"), ("forest",), ("forest", "--json"))
    cases = [Case(f"cowl {' '.join(each)}", functools.partial(place.cowl, *each)) for each in words]
    result = measure(f"list {IMAGES} images", cases, (), rounds=7)
    yield result
    yield Figures(
        "whole processes",
        tuple(
            Figure(name, statistics.median(times) * 1000, "ms", BELOW_MS)
            for name, times in result.times.items()
        ),
    )
