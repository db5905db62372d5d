"""Stores, images of others and containers without processes for the tests of this room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.store import Store
from tests.images import peers
from tests.images.stores import Archives, NewStore
from tests.layers.overlay import Overlay, overlay
from tests.support import peers as installed
from tests.support import roots


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[NewStore]:
    """Makes empty stores, on memory where there is some."""
    made: list[Store] = []

    def make() -> Store:
        made.append(Store(roots.new_root(str(tmp_path)).path))
        return made[-1]

    yield make
    for store in made:
        store.close()
        shutil.rmtree(store.layout.root)


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()


@pytest.fixture(scope="session")
def mounts() -> Iterator[Overlay]:
    """A process that mounts stacks of layers and writes down what the kernel makes of them."""
    with overlay() as mounting:
        yield mounting


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archives]:
    """An image of five layers made by umoci, also as archives that skopeo made of it."""
    if reason := installed.missing(("umoci", "skopeo", "setcap", "setfattr")):
        pytest.skip(reason)
    where = Path(roots.place(str(tmp_path_factory.getbasetemp()))) / f"cowl-test-five-{os.getpid()}"
    where.mkdir()
    try:
        layout = peers.umoci_image(where)
        oci, docker = f"{where}/five.oci.tar", f"{where}/five.tar"
        peers.run("skopeo", "copy", "-q", f"oci:{layout}:five", f"oci-archive:{oci}:five:oci")
        peers.run(
            "skopeo",
            "copy",
            "-q",
            f"oci:{layout}:five",
            f"docker-archive:{docker}:docker.io/library/five:docker",
        )
        yield Archives(layout, oci, docker, peers.umoci_tree(f"{layout}:five", where))
    finally:
        shutil.rmtree(where)
