"""What leaves the store is read by others, with equal trees; what came from others is as it came."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from engine.changes import Changes
from engine.errors import ConflictError, CowlError, NoSpaceError, NotFoundError, StoreError, UsageError
from engine.images.images import Images
from engine.images.save import FORMATS, Format
from engine.store import records
from engine.store.store import Store
from tests.images import peers, stores
from tests.images.archives import docker_archive, simple_layer
from tests.images.stores import Archives, NewStore
from tests.layers import tars
from tests.layers.overlay import Operation, Overlay

pytestmark = pytest.mark.kernel

OPERATIONS: list[Operation] = [
    ("write", "etc/new", b"new"),
    ("link", "etc/new2", "etc/new"),
    ("remove", "etc/two"),
    ("chmod", "etc/one", 0o640),
    ("remake", "deep"),
    ("write", "deep/only", b"only"),
    ("replace", "opt/a"),
    ("symlink", "opt/link", "/etc/new"),
    ("fifo", "home/fifo"),
    ("xattr", "etc/new", "user.x", b"y"),
    ("chown", "bin/one", 1000),
    ("write", "name with spaces and \N{SNOWMAN}", b"1"),
]


@pytest.fixture
def committed(store: Store, five: Archives, mounts: Overlay) -> Store:
    """A store with `five:oci` and on it `mine:1`, committed here."""
    images = Images(store)
    images.load(five.oci)
    stores.new_container(store, "web", "five:oci")
    stores.change(store, mounts, "web", OPERATIONS)
    Changes(store).commit("web", "mine:1", message="first")
    return store


@pytest.mark.parametrize("form", FORMATS)
def test_skopeo_reads_what_was_saved(committed: Store, tmp_path: Path, form: Format) -> None:
    path = f"{tmp_path}/saved"
    Images(committed).save(["mine:1"], path, form)
    name = {
        "oci-archive": f"oci-archive:{path}",
        "oci-dir": f"oci:{path}",
        "docker-archive": f"docker-archive:{path}",
    }
    said = json.loads(peers.run("skopeo", "inspect", name[form]))
    assert len(said["Layers"]) == 6
    if form != "docker-archive":
        assert said["Digest"] == Images(committed).get("mine:1").manifest_digest
    peers.run("skopeo", "copy", "-q", name[form], f"dir:{tmp_path}/copied")


def test_umoci_unpacks_the_same_tree(committed: Store, mounts: Overlay, tmp_path: Path) -> None:
    Images(committed).save(["mine:1"], f"{tmp_path}/saved", "oci-dir")
    ours = stores.merged(committed, mounts, "mine:1")
    theirs = peers.umoci_tree(f"{tmp_path}/saved:mine:1", tmp_path)
    assert peers.comparable(ours) == peers.comparable(theirs)
    assert ours[b"etc/new"].names == (b"etc/new", b"etc/new2")


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_saved_loads_into_an_equal_tree(
    committed: Store, new_store: NewStore, mounts: Overlay, tmp_path: Path, form: Format
) -> None:
    Images(committed).save(["mine:1", "five:oci"], f"{tmp_path}/saved", form)
    other = new_store()
    assert Images(other).load(f"{tmp_path}/saved") == ["mine:1", "five:oci"]
    for name in ("mine:1", "five:oci"):
        one, two = Images(committed).get(name), Images(other).get(name)
        assert (one.chain_id, one.config) == (two.chain_id, two.config)
        if form != "docker-archive":
            assert one.manifest_digest == two.manifest_digest
        here, there = stores.merged(committed, mounts, name), stores.merged(other, mounts, name)
        assert peers.comparable(here) == peers.comparable(there)
    assert stores.problems(other) == []


@pytest.mark.peers("podman", "umoci", "skopeo")
def test_podman_loads_what_was_saved(store: Store, tmp_path: Path) -> None:
    Images(store).load(docker_archive(tmp_path / "it.tar", [simple_layer("one")]))
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # podman wants it short
        own = ["--root", f"{tmp_path}/root", "--runroot", short, "--storage-driver", "vfs"]
        for form in ("oci-archive", "docker-archive"):
            Images(store).save(["it:1"], f"{tmp_path}/{form}", form)
            assert "it:1" in peers.run("podman", *own, "load", "-q", "-i", f"{tmp_path}/{form}")


def test_the_same_image_is_saved_as_the_same_bytes(committed: Store) -> None:
    images = Images(committed)
    for form in ("oci-archive", "docker-archive"):
        one, two = io.BytesIO(), io.BytesIO()
        images.save(["mine:1"], one, form)
        images.save(["mine:1"], two, form)
        assert one.getvalue() == two.getvalue()


def test_blobs_of_others_are_saved_as_they_came(store: Store, five: Archives, tmp_path: Path) -> None:
    Images(store).load(five.layout)
    Images(store).save(["layout:five"], f"{tmp_path}/saved", "oci-dir")
    theirs, ours = Path(five.layout, "blobs/sha256"), tmp_path / "saved/blobs/sha256"
    index = json.loads(Path(five.layout, "index.json").read_bytes())["manifests"][0]
    manifest = json.loads((theirs / index["digest"][7:]).read_bytes())
    wanted = {
        index["digest"],
        manifest["config"]["digest"],
        *(layer["digest"] for layer in manifest["layers"]),
    }
    assert {f"sha256:{path.name}" for path in ours.iterdir()} == wanted
    for path in ours.iterdir():
        assert path.read_bytes() == (theirs / path.name).read_bytes()


def test_a_bare_layer_can_be_saved(committed: Store, tmp_path: Path) -> None:
    """A node that no tag names becomes an image of its own, with the history up to it."""
    images = Images(committed)
    middle = images.forest()[2]
    images.save([middle.chain_id], f"{tmp_path}/saved", "oci-archive")
    said = json.loads(peers.run("skopeo", "inspect", "--config", f"oci-archive:{tmp_path}/saved"))
    assert len(said["rootfs"]["diff_ids"]) == 3
    assert len(said["history"]) == 3
    assert stores.problems(committed) == []


def test_a_damaged_tree_is_not_saved(committed: Store, tmp_path: Path) -> None:
    top = Images(committed).get("mine:1").chain_id
    with open(f"{committed.layout.tree(top)}/etc/new", "w") as file:
        file.write("bad")
    with pytest.raises(StoreError, match="damaged"):
        Images(committed).save(["mine:1"], f"{tmp_path}/saved")
    assert os.listdir(tmp_path) == []


def test_a_damaged_blob_is_not_saved(committed: Store, tmp_path: Path) -> None:
    blob = records.manifest_layers(committed.connection, Images(committed).get("five:oci").manifest_digest)[0]
    with open(committed.layout.blob(blob.blob_digest), "r+b") as file:
        file.write(b"bad")
    for form in ("oci-archive", "oci-dir"):
        with pytest.raises(StoreError, match="damaged"):
            Images(committed).save(["five:oci"], f"{tmp_path}/saved", form)
        assert os.listdir(tmp_path) == []


def test_destinations_that_are_taken_or_cannot_be(store: Store, tmp_path: Path) -> None:
    images = Images(store)
    images.load(docker_archive(tmp_path / "it.tar", [simple_layer("one")]))
    with pytest.raises(ConflictError):
        images.save(["it:1"], str(tmp_path))
    with pytest.raises(ConflictError):
        images.save(["it:1"], str(tmp_path), "oci-dir")
    with pytest.raises(StoreError):
        images.save(["it:1"], f"{tmp_path}/no/such/place")
    with pytest.raises(UsageError):
        images.save(["it:1"], io.BytesIO(), "oci-dir")
    with pytest.raises(NotFoundError):
        images.save(["other"], f"{tmp_path}/saved")
    images.save(["it:1"], str(tmp_path / "it.tar"))  # a file is replaced
    assert tarfile.is_tarfile(tmp_path / "it.tar")
    assert sorted(os.listdir(tmp_path)) == ["it.tar"]


def test_no_space_where_it_is_saved(store: Store, tmp_path: Path) -> None:
    Images(store).load(
        docker_archive(tmp_path / "it.tar", [tars.tar(tars.file("big", os.urandom(3_000_000)))])
    )
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "cowl-test", small], check=True)
    try:
        for form in FORMATS:
            with pytest.raises(NoSpaceError):
                Images(store).save(["it:1"], f"{small}/saved", form)
            assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_reader_that_goes_away(store: Store, tmp_path: Path) -> None:
    Images(store).load(
        docker_archive(tmp_path / "it.tar", [tars.tar(tars.file("big", os.urandom(3_000_000)))])
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as out, pytest.raises((BrokenPipeError, CowlError)):
        Images(store).save(["it:1"], out)
