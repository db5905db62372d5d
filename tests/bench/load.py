"""A layer of 100,000 small files; an archive of five layers, 375 MB of files, loaded and saved."""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator

from tests.bench import peers
from tests.bench.measure import Case, Goal, Result, measure
from tests.bench.peers import Podman
from tests.bench.place import Place, call
from tests.support import images

APPLY = """
import sys
from engine.layers.apply import apply_layer
with open(sys.argv[1], "rb", buffering=0) as stream:
    apply_layer(stream, sys.argv[2], fork=True)
"""
"""What a worker does with a layer that it has alone."""


def results(place: Place) -> Iterator[Result]:
    """cowl beside podman, and beside GNU tar unpacking the same layers."""
    yield _apply(place)
    tree, archive = f"{place.scratch}/tiny", f"{place.scratch}/deb.tar"
    images.tiny_tree(tree)
    images.tiny(f"{tree}.tar", tree)
    images.deb(archive)
    rival = peers.podman(place)
    try:
        yield _load(place, archive, rival)
        yield _save(place, archive, rival)
    finally:
        os.unlink(archive)


def _apply(place: Place) -> Result:
    archive, ours, theirs = (f"{place.scratch}/{name}" for name in ("small.tar", "ours", "theirs"))
    images.small_files(archive)
    script = [sys.executable, "-I", "-c", APPLY, archive, ours]
    try:
        return measure(
            "unpack a layer of 100,000 small files",
            [
                Case(
                    "apply_layer",
                    lambda: call(script),
                    before=lambda: os.mkdir(ours),
                    after=lambda: shutil.rmtree(ours),
                ),
                Case(
                    "tar -xf",
                    lambda: call(["tar", "-xf", archive, "-C", theirs]),
                    before=lambda: os.mkdir(theirs),
                    after=lambda: shutil.rmtree(theirs),
                ),
            ],
            (Goal("apply_layer", "tar -xf", 1.3),),
            rounds=5,
        )
    finally:
        os.unlink(archive)


def _load(place: Place, archive: str, rival: Podman | None) -> Result:
    layers, floor = _layers(archive, f"{place.scratch}/deb"), f"{place.scratch}/floor"
    cases = [
        Case(
            "cowl load",
            lambda: place.cowl("load", "-i", archive),
            after=lambda: place.cowl("rmi", "bench:deb"),
        ),
        Case("tar -xzf of each layer", lambda: _unpack(layers, floor), after=lambda: shutil.rmtree(floor)),
    ]
    if rival:
        cases.append(
            Case(
                "podman load",
                lambda: rival("load", "-q", "-i", archive),
                after=lambda: rival("rmi", "-f", "bench:deb"),
            )
        )
    try:
        return measure(
            "load an archive of five layers (deb)",
            cases,
            (Goal("cowl load", "podman load", 1 / 3),),
            rounds=3,
        )
    finally:
        shutil.rmtree(f"{place.scratch}/deb")


def _save(place: Place, archive: str, rival: Podman | None) -> Result:
    saved = f"{place.scratch}/saved.tar"
    place.cowl("load", "-i", archive)
    cases = [
        Case(
            "cowl save",
            lambda: place.cowl("save", "-o", saved, "bench:deb"),
            after=lambda: os.unlink(saved),
        )
    ]
    if rival:
        rival("load", "-q", "-i", archive)
        words = ("save", "-q", "--format", "oci-archive", "-o", saved, "bench:deb")
        cases.append(Case("podman save", lambda: rival(*words), after=lambda: os.unlink(saved)))
    try:
        return measure(
            "save it as an OCI archive", cases, (Goal("cowl save", "podman save", 1 / 3),), rounds=3
        )
    finally:
        place.cowl("rmi", "bench:deb")
        if rival:
            rival("rmi", "-f", "bench:deb")


def _layers(archive: str, destination: str) -> list[str]:
    """The compressed layers of *archive* as files: its five largest blobs."""
    with tarfile.open(archive) as tar:
        tar.extractall(destination, filter="data")
    return sorted(glob.glob(f"{destination}/blobs/sha256/*"), key=os.path.getsize)[-5:]


def _unpack(layers: list[str], destination: str) -> None:
    for number, path in enumerate(layers):
        os.makedirs(f"{destination}/{number}")
        call(["tar", "-xzf", path, "-C", f"{destination}/{number}"])
