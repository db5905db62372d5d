"""Archives of images for several machines: loaded with their index, saved and pushed bit for bit again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.errors import ArchiveError, NotFoundError
from engine.images.images import Images
from engine.oci import documents
from engine.store import records
from engine.store.store import Store
from tests.images import peers, stores
from tests.images.archives import docker_archive, simple_layer
from tests.images.registries import PLAIN, raw
from tests.images.stores import Archives, NewStore
from tests.support import roots
from tests.support.steps import steps

pytestmark = [pytest.mark.kernel, pytest.mark.peers("skopeo", "umoci", "docker-registry")]
COPY = ("skopeo", "copy", "-q")
HOST = documents.platform_of_host()[0]


class Layouts(NamedTuple):
    """An image for arm64, this machine and s390x with an attestation, as skopeo copied all of it."""

    directory: str
    """The layout as it was made."""
    archive: str
    """What ``skopeo copy --all`` made of it, named five:all."""
    body: bytes
    """The index."""


@pytest.fixture(scope="module")
def layouts(five: Archives, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layouts]:
    where = f"{roots.place(str(tmp_path_factory.getbasetemp()))}/cowl-test-layouts-{os.getpid()}"
    layout, archive = f"{where}/layout", f"{where}/all.tar"
    os.mkdir(where)
    try:
        shutil.copytree(five.layout, layout)
        entries = [_variant(layout, architecture) for architecture in ("arm64", HOST, "s390x")]
        entries.append(_attestation(layout))
        index = documents.encode(documents.index_document(entries))
        _name(layout, index)
        peers.run(*COPY, "--all", f"oci:{layout}:five:all", f"oci-archive:{archive}:five:all")
        yield Layouts(layout, archive, index)
    finally:
        shutil.rmtree(where)


def _variant(layout: str, architecture: str) -> dict[str, object]:
    words = ("--architecture", architecture, "--config.label", f"for={architecture}")
    peers.run("umoci", "config", "--image", f"{layout}:five", "--tag", architecture, *words)
    [found] = [
        each
        for each in json.loads(Path(f"{layout}/index.json").read_text())["manifests"]
        if each["annotations"]["org.opencontainers.image.ref.name"] == architecture
    ]
    entry = documents.descriptor(found["mediaType"], found["digest"], found["size"])
    return {**entry, "platform": {"os": "linux", "architecture": architecture}}


def _attestation(layout: str) -> dict[str, object]:
    """As BuildKit adds them: a manifest whose layer is a statement and no tar."""
    statement = b'{"_type": "https://in-toto.io/Statement/v0.1"}'
    body = documents.encode(
        documents.manifest_document(
            documents.descriptor(documents.OCI_CONFIG, _put(layout, b"{}"), 2),
            [documents.descriptor("application/vnd.in-toto+json", _put(layout, statement), len(statement))],
        )
    )
    entry = documents.descriptor(documents.OCI_MANIFEST, _put(layout, body), len(body))
    return {**entry, "platform": {"os": "unknown", "architecture": "unknown"}}


def _put(layout: str, body: bytes) -> str:
    digest = documents.digest_of(body)
    Path(f"{layout}/blobs/sha256/{digest[7:]}").write_bytes(body)
    return digest


def _name(layout: str, index: bytes, name: str = "five:all") -> None:
    """Let *index* be all that the layout has, called *name*."""
    entry = documents.descriptor(documents.OCI_INDEX, _put(layout, index), len(index))
    if name:
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    Path(f"{layout}/index.json").write_bytes(documents.encode(documents.index_document([entry])))


@pytest.fixture
def layout(layouts: Layouts, tmp_path: Path) -> str:
    """A copy of the layout to be changed."""
    return str(shutil.copytree(layouts.directory, tmp_path / "mine"))


def architectures(store: Store) -> set[str]:
    found = store.connection.execute("SELECT config FROM manifests").fetchall()
    return {json.loads(config)["architecture"] for (config,) in found}


def test_all_of_an_index_comes_and_goes_bit_for_bit(
    store: Store, new_store: NewStore, layouts: Layouts, tmp_path: Path
) -> None:
    images = Images(store)
    assert images.load(layouts.archive) == ["five:all"]
    assert images.get("five:all").config["architecture"] == HOST
    assert architectures(store) == {"arm64", HOST, "s390x"}
    assert [image.name for image in images.list()] == ["five:all"]
    assert stores.problems(store) == []
    saved, directory = f"{tmp_path}/saved.tar", f"{tmp_path}/saved"
    images.save(["five:all"], saved)
    images.save(["five:all"], directory, "oci-dir")
    for source in (f"oci-archive:{saved}:five:all", f"oci:{directory}:five:all"):
        assert peers.run("skopeo", "inspect", "--raw", source).encode() == layouts.body
    peers.run(*COPY, "--all", f"oci-archive:{saved}:five:all", f"dir:{tmp_path}/copy")
    there = Images(new_store())
    assert there.load(saved) == ["five:all"]
    there.save(["five:all"], f"{tmp_path}/again.tar")
    assert Path(f"{tmp_path}/again.tar").read_bytes() == Path(saved).read_bytes()


@pytest.mark.usefixtures("nobody")
def test_what_was_loaded_is_pushed_whole(
    store: Store, layouts: Layouts, registry: str, tmp_path: Path
) -> None:
    images = Images(store)
    images.load(layouts.directory)
    there, digest = images.push("five:all", f"{registry}/loaded-{os.urandom(4).hex()}:1")
    assert digest == documents.digest_of(layouts.body)
    assert raw(there) == layouts.body
    peers.run(*COPY, "--all", PLAIN[0].replace("dest", "src"), f"docker://{there}", f"dir:{tmp_path}/copy")


def test_one_platform_is_saved_as_one_image(store: Store, layouts: Layouts, tmp_path: Path) -> None:
    images = Images(store)
    images.load(layouts.archive)
    images.save(["five:all"], f"{tmp_path}/arm.tar", platform="linux/arm64")
    images.save(["five:all"], f"{tmp_path}/docker.tar", "docker-archive")
    arm = json.loads(peers.run("skopeo", "inspect", "--config", f"oci-archive:{tmp_path}/arm.tar"))
    host = json.loads(peers.run("skopeo", "inspect", "--config", f"docker-archive:{tmp_path}/docker.tar"))
    assert (arm["architecture"], host["architecture"]) == ("arm64", HOST)
    with pytest.raises(NotFoundError, match="linux/riscv64"):
        images.save(["five:all"], f"{tmp_path}/none.tar", platform="linux/riscv64")


def test_what_an_archive_lacks_of_an_index_stays_away(store: Store, layout: str, tmp_path: Path) -> None:
    index = json.loads(Path(f"{layout}/index.json").read_text())["manifests"][0]
    named = json.loads(Path(f"{layout}/blobs/sha256/{index['digest'][7:]}").read_text())["manifests"]
    os.unlink(f"{layout}/blobs/sha256/{named[2]['digest'][7:]}")
    images = Images(store)
    with pytest.raises(ArchiveError, match="not complete"):
        images.load(layout, all_platforms=True)
    assert images.load(layout) == ["five:all"]
    assert architectures(store) == {"arm64", HOST}
    images.save(["five:all"], f"{tmp_path}/saved.tar")
    body = peers.run("skopeo", "inspect", "--raw", f"oci-archive:{tmp_path}/saved.tar").encode()
    assert documents.digest_of(body) == named[1]["digest"], "the index alone would name what is not there"
    os.unlink(f"{layout}/blobs/sha256/{named[1]['digest'][7:]}")
    with pytest.raises(ArchiveError, match="not complete"):
        images.load(layout)


def test_an_index_without_this_machine(store: Store, layout: str) -> None:
    top = json.loads(Path(f"{layout}/index.json").read_text())["manifests"][0]["digest"]
    named = json.loads(Path(f"{layout}/blobs/sha256/{top[7:]}").read_text())["manifests"]
    _name(layout, documents.encode(documents.index_document([named[2], named[0]])))
    images = Images(store)
    with pytest.raises(ArchiveError, match="no variant for this machine"):
        images.load(layout)
    assert not images.has_any()
    assert images.load(layout, all_platforms=True) == ["five:all"]
    assert images.get("five:all").config["architecture"] == "s390x"
    assert architectures(store) == {"s390x", "arm64"}


def test_a_nested_index_without_a_name(store: Store, layout: str, tmp_path: Path) -> None:
    entry = json.loads(Path(f"{layout}/index.json").read_text())["manifests"][0]
    outer = documents.encode(
        documents.index_document([documents.descriptor(entry["mediaType"], entry["digest"], entry["size"])])
    )
    _name(layout, outer, "")
    images = Images(store)
    assert images.load(layout) == ["mine:latest"]
    assert images.get("mine:latest").config["architecture"] == HOST
    assert architectures(store) == {"arm64", HOST, "s390x"}
    images.save(["mine:latest"], f"{tmp_path}/saved.tar")
    body = peers.run("skopeo", "inspect", "--raw", f"oci-archive:{tmp_path}/saved.tar")
    assert body.encode() == outer


def test_an_artifact_beside_the_images_is_left_out(store: Store, layout: str) -> None:
    top = json.loads(Path(f"{layout}/index.json").read_text())["manifests"][0]["digest"]
    named = json.loads(Path(f"{layout}/blobs/sha256/{top[7:]}").read_text())["manifests"]
    artifact = documents.encode(
        documents.manifest_document(
            documents.descriptor("application/vnd.oci.empty.v1+json", _put(layout, b"{}"), 2), []
        )
    )
    entry = documents.descriptor(documents.OCI_MANIFEST, _put(layout, artifact), len(artifact))
    _name(layout, documents.encode(documents.index_document([*named, entry])))
    assert Images(store).load(layout) == ["five:all"]
    assert architectures(store) == {"arm64", HOST, "s390x"}


def test_a_damaged_image_for_another_machine_is_refused(store: Store, layout: str) -> None:
    top = json.loads(Path(f"{layout}/index.json").read_text())["manifests"][0]["digest"]
    named = json.loads(Path(f"{layout}/blobs/sha256/{top[7:]}").read_text())["manifests"]
    path = Path(f"{layout}/blobs/sha256/{named[0]['digest'][7:]}")
    path.write_bytes(path.read_bytes().replace(b"sha256", b"sha25X", 1))
    with pytest.raises(ArchiveError, match="is damaged"):
        Images(store).load(layout)
    assert not Images(store).has_any()


def test_removing_the_name_removes_all_of_the_index(store: Store, layouts: Layouts) -> None:
    images = Images(store)
    images.load(layouts.archive)
    images.prune()
    assert architectures(store) == {"arm64", HOST, "s390x"}
    images.remove(["five:all"])
    assert not images.has_any()
    assert stores.problems(store) == []
    assert records.find_tag(store.connection, "five:all") is None


@pytest.fixture
def simple(tmp_path: Path) -> str:
    """A layout with the images s390x and this machine's, of layers that podman takes without overlayfs."""
    layout = f"{tmp_path}/simple"
    for architecture in ("s390x", HOST):
        archive = docker_archive(
            tmp_path / f"{architecture}.tar", [simple_layer("one")], architecture=architecture, os="linux"
        )
        peers.run(*COPY, f"docker-archive:{archive}", f"oci:{layout}:{architecture}")
    return layout


@pytest.mark.peers("podman")
def test_podman_takes_its_own_of_what_was_saved(store: Store, simple: str, tmp_path: Path) -> None:
    listed = json.loads(Path(f"{simple}/index.json").read_text())["manifests"]
    entries = [
        {
            **documents.descriptor(entry["mediaType"], entry["digest"], entry["size"]),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for entry, architecture in zip(listed, ("s390x", HOST), strict=True)
    ]
    _name(simple, documents.encode(documents.index_document(entries)))
    images = Images(store)
    images.load(simple)
    images.save(["five:all"], f"{tmp_path}/saved.tar")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # podman wants it short
        own = ["podman", "--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver", "vfs"]
        peers.run(*own, "load", "-q", "-i", f"{tmp_path}/saved.tar")
        [found] = json.loads(peers.run(*own, "images", "--format", "json"))
        [shown] = json.loads(peers.run(*own, "image", "inspect", found["Id"]))
    assert shown["Architecture"] == HOST
    assert any("five:all" in name for name in found["Names"])


@pytest.mark.peers("buildah")
def test_what_buildah_pushed_to_an_archive(store: Store, simple: str, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        own = ["buildah", "--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver", "vfs"]
        peers.run(*own, "manifest", "create", "two")
        for architecture in ("s390x", HOST):
            peers.run(*own, "manifest", "add", "two", f"oci:{simple}:{architecture}")
        peers.run(*own, "manifest", "push", "-q", "--all", "two", f"oci-archive:{tmp_path}/two.tar:two:1")
    images = Images(store)
    assert images.load(f"{tmp_path}/two.tar") == ["two:1"]
    assert architectures(store) == {"s390x", HOST}
    images.save(["two:1"], f"{tmp_path}/saved.tar")
    inspect = ("skopeo", "inspect", "--raw")
    theirs = peers.run(*inspect, f"oci-archive:{tmp_path}/two.tar:two:1")
    assert peers.run(*inspect, f"oci-archive:{tmp_path}/saved.tar:two:1") == theirs


@pytest.mark.parametrize(("levels", "times"), [(0, 3_000), (3, 20)], ids=["flat", "nested"])
def test_an_index_that_repeats_itself_is_read_once(
    store: Store, layout: str, tmp_path: Path, levels: int, times: int
) -> None:
    top = json.loads(Path(f"{layout}/index.json").read_text())["manifests"][0]
    entries = json.loads(Path(f"{layout}/blobs/sha256/{top['digest'][7:]}").read_text())["manifests"]
    listed = (levels + 1) * len(entries) * times
    for _ in range(levels):
        body = documents.encode(documents.index_document(entries * times))
        entries = [documents.descriptor(documents.OCI_INDEX, _put(layout, body), len(body))]
    _name(layout, documents.encode(documents.index_document(entries * times)))
    images = Images(store)
    assert steps(lambda: images.load(layout)) < 200_000 + 400 * listed
    assert steps(lambda: images.save(["five:all"], f"{tmp_path}/saved.tar")) < 200_000 + 400 * listed
    assert architectures(store) == {"arm64", HOST, "s390x"}
