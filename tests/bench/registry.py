"""Pulling and pushing an image of five layers, 375 MB of files, from and to a registry on loopback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from tests.bench import peers
from tests.bench.measure import Case, Goal, Result, measure
from tests.bench.peers import Podman
from tests.bench.place import Place, call
from tests.images.registries import docker_registry
from tests.support import images

IMAGE = "bench:deb"


def results(place: Place) -> Iterator[Result]:
    """cowl beside podman; nothing, where docker-registry is not here."""
    if shutil.which("docker-registry") is None:
        return
    tree, archive = f"{place.scratch}/tiny", f"{place.scratch}/deb.tar"
    images.tiny_tree(tree)
    images.tiny(f"{tree}.tar", tree)
    images.deb(archive)
    rival = peers.podman(place)
    place.cowl("load", "-i", archive)
    if rival:
        rival("load", "-q", "-i", archive)
    os.unlink(archive)
    home = f"{place.scratch}/registry"
    with docker_registry(home) as address:
        yield _push(place, rival, f"{address}/deb:1", f"{home}/data/docker")
        place.cowl("push", "-q", IMAGE, f"{address}/deb:1")
        place.cowl("rmi", IMAGE)
        if rival:
            rival("rmi", "-f", IMAGE)
        yield _pull(place, rival, f"{address}/deb:1")


def _push(place: Place, rival: Podman | None, name: str, data: str) -> Result:
    def empty() -> None:
        shutil.rmtree(data, ignore_errors=True)

    cases = [Case("cowl push", lambda: place.cowl("push", "-q", IMAGE, name), before=empty)]
    if rival:
        words = ("push", "-q", "--tls-verify=false", f"localhost/{IMAGE}", name)
        cases.append(Case("podman push", lambda: rival(*words), before=empty))
    return measure(
        "push an image of five layers (deb)", cases, (Goal("cowl push", "podman push", 1 / 3),), rounds=3
    )


def _pull(place: Place, rival: Podman | None, name: str) -> Result:
    kept = f"{place.scratch}/kept"
    cases = [
        Case(
            "cowl pull",
            lambda: place.cowl("pull", "-q", name),
            after=lambda: place.cowl("rmi", name),
        )
    ]
    if shutil.which("skopeo"):
        copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"dir:{kept}"]
        cases.append(
            Case("skopeo copy, unpacked by nobody", lambda: call(copy), after=lambda: shutil.rmtree(kept))
        )
    if rival:
        words = ("pull", "-q", "--tls-verify=false", name)
        cases.append(Case("podman pull", lambda: rival(*words), after=lambda: rival("rmi", "-f", name)))
    return measure(
        "pull an image of five layers (deb)", cases, (Goal("cowl pull", "podman pull", 1 / 3),), rounds=3
    )
