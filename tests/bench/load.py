"""Loading an archive of five compressed layers, 375 MB of files."""

from __future__ import annotations

import glob
import os
import shutil
import tarfile
from collections.abc import Iterator

from tests.bench import peers
from tests.bench.measure import Case, Goal, Result, measure
from tests.bench.place import Place, call
from tests.support import images


def results(place: Place) -> Iterator[Result]:
    """cowl beside podman, and beside GNU tar unpacking the same layers one after the other."""
    tree, archive = f"{place.scratch}/tiny", f"{place.scratch}/deb.tar"
    if not os.path.exists(f"{tree}.tar"):
        images.tiny_tree(tree)
        images.tiny(f"{tree}.tar", tree)
    images.deb(archive)
    layers, floor = _layers(archive, f"{place.scratch}/deb"), f"{place.scratch}/floor"
    cases = [
        Case(
            "cowl load",
            lambda: place.cowl("load", "-i", archive),
            after=lambda: place.cowl("rmi", "bench:deb"),
        ),
        Case("tar -xzf of each layer", lambda: _unpack(layers, floor), after=lambda: shutil.rmtree(floor)),
    ]
    if rival := peers.podman(place):
        cases.append(
            Case(
                "podman load",
                lambda: rival("load", "-q", "-i", archive),
                after=lambda: rival("rmi", "-f", "bench:deb"),
            )
        )
    try:
        yield measure(
            "load an archive of five layers (deb)",
            cases,
            (Goal("cowl load", "podman load", 1 / 2),),
            rounds=3,
        )
    finally:
        shutil.rmtree(f"{place.scratch}/deb")
        os.unlink(archive)


def _layers(archive: str, destination: str) -> list[str]:
    """The compressed layers of *archive* as files: its five largest blobs."""
    with tarfile.open(archive) as tar:
        tar.extractall(destination, filter="data")
    return sorted(glob.glob(f"{destination}/blobs/sha256/*"), key=os.path.getsize)[-5:]


def _unpack(layers: list[str], destination: str) -> None:
    for number, path in enumerate(layers):
        os.makedirs(f"{destination}/{number}")
        call(["tar", "-xzf", path, "-C", f"{destination}/{number}"])
