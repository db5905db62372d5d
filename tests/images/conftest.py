"""Stores, images of others and containers without processes for the tests of this room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.images.images import Images
from engine.oci.registry import clients
from engine.store.store import Store
from tests.images import checks, peers, registries
from tests.images.registries import PLAIN, Proxy
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


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials of whoever runs the tests; no long pauses."""
    (tmp_path / "auth.json").write_text("{}")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", f"{tmp_path}/auth.json")
    monkeypatch.setattr(clients, "PATIENCE", clients.Patience(4, 0.01, 2))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, five: Archives) -> Iterator[str]:
    """A registry with `five` as umoci made it, with zstd layers, with plain ones, and in docker's format."""
    if reason := installed.missing(("docker-registry",)):
        pytest.skip(reason)
    home = f"{roots.place(str(tmp_path_factory.getbasetemp()))}/cowl-test-registry-{os.getpid()}"
    with registries.docker_registry(home) as address:
        copy = ("skopeo", "copy", "-q", *PLAIN)
        plain, made = f"dir:{home}/plain", f"oci:{five.layout}:five"
        peers.run("skopeo", "copy", "-q", "--dest-decompress", made, plain)
        # zstd first: skopeo takes layers of any compression that the registry has already
        zstd = ("--dest-compress-format", "zstd", "--format", "oci")
        peers.run(*copy, *zstd, plain, f"docker://{address}/five:zstd")
        peers.run(*copy, "--preserve-digests", made, f"docker://{address}/five:gzip")
        peers.run(*copy, "--preserve-digests", plain, f"docker://{address}/five:plain")
        peers.run(*copy, "--format", "v2s2", made, f"docker://{address}/five:docker")
        yield address


@pytest.fixture
def proxy(registry: str) -> Iterator[Proxy]:
    with registries.proxy(registry) as made:
        yield made


@pytest.fixture(scope="session")
def check_archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("check")
    checks.make_archives(where)
    return where


@pytest.fixture
def checked(store: Store, check_archives: Path) -> Images:
    """`a:1` of two layers, the second compressed; `b:1` of the first and one more."""
    return checks.take(store, check_archives)
