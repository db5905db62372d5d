"""What others made becomes nodes, tags and trees as others unpack them; what is broken leaves nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard

from engine.errors import ArchiveError, CowlError, NoSpaceError, NotFoundError, StoreError
from engine.images import load as loading
from engine.images import workers
from engine.images.images import Images
from engine.images.load import load
from engine.images.unpacking import unpack
from engine.model import Progress
from engine.store import records
from engine.store.store import Store
from tests.images import peers, stores
from tests.images.archives import digest, docker_archive, simple_layer
from tests.images.stores import Archives, NewStore
from tests.layers import tars
from tests.layers.overlay import Overlay
from tests.support.captures import wait_for

kernel = pytest.mark.kernel


@kernel
@pytest.mark.peers("umoci", "skopeo", "setcap", "setfattr")
@pytest.mark.parametrize("form", ["layout", "oci", "docker"])
def test_a_tree_of_five_layers_is_what_umoci_unpacks(
    store: Store, five: Archives, mounts: Overlay, form: str
) -> None:
    names = load(store, getattr(five, form))
    assert names == [{"layout": "layout:five", "oci": "five:oci", "docker": "five:docker"}[form]]
    assert peers.comparable(stores.merged(store, mounts, names[0])) == peers.comparable(five.tree)
    assert len(Images(store).forest()) == 5
    assert stores.problems(store) == []


@pytest.mark.peers("buildah", "umoci", "setcap", "setfattr")
@kernel
def test_what_buildah_builds_on_an_image_shares_its_nodes(
    store: Store, mounts: Overlay, tmp_path: Path
) -> None:
    layout = peers.umoci_image(tmp_path, peers.STEPS[:3])
    own = ["--root", f"{tmp_path}/root", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs"]

    def buildah(*arguments: str) -> str:
        return peers.run("buildah", *own, *arguments).strip()

    container = buildah("from", f"oci:{layout}:five")
    (tmp_path / "added").write_text("added")
    buildah("copy", container, f"{tmp_path}/added", "/etc/added")
    buildah("config", "--cmd", "ls", container)
    buildah("commit", "-q", container, f"oci-archive:{tmp_path}/built.tar:built:1")
    load(store, layout)
    load(store, f"{tmp_path}/built.tar")
    image = Images(store).get("built:1")
    assert image.config["config"]["Cmd"] == ["ls"]
    chain = records.lineage(store.connection, image.chain_id)
    assert chain[1:] == records.lineage(store.connection, Images(store).get("layout:five").chain_id)
    assert stores.merged(store, mounts, "built:1")[b"etc/added"].size == 5


@kernel
@pytest.mark.peers("umoci", "skopeo", "setcap", "setfattr")
def test_manifest_configuration_and_blobs_stay_as_they_came(store: Store, five: Archives) -> None:
    load(store, five.layout)
    entry = json.loads(Path(five.layout, "index.json").read_bytes())["manifests"][0]
    image = Images(store).get("layout:five")
    assert image.manifest_digest == entry["digest"]
    row = records.manifest_row(store.connection, image.manifest_digest)
    assert row
    blobs = Path(five.layout, "blobs", "sha256")
    assert row.body == (blobs / entry["digest"][7:]).read_bytes()
    manifest = json.loads(row.body)
    assert row.config == (blobs / manifest["config"]["digest"][7:]).read_bytes()
    for layer in manifest["layers"]:
        with open(store.layout.blob(layer["digest"]), "rb") as file:
            assert digest(file.read()) == layer["digest"][7:]


@kernel
@pytest.mark.parametrize("old", [False, True])
def test_docker_archives_old_and_new(store: Store, mounts: Overlay, tmp_path: Path, old: bool) -> None:
    one, two = simple_layer("one"), simple_layer("two")
    source = docker_archive(
        tmp_path / "it.tar",
        [one, two, one],
        old=old,
        names=("docker.io/library/it:1", "other:2"),
        history=[
            {"created": "2024-01-01T00:00:00+02:00", "created_by": "first"},
            {"created_by": "nothing", "empty_layer": True},
            {"created_by": "second"},
            {"created_by": "third", "comment": "again"},
        ],
    )
    assert load(store, source) == ["it:1", "other:2"]
    tree = stores.merged(store, mounts, "it:1")
    assert set(tree) == {b"", b"etc", b"etc/one", b"etc/two"}
    nodes = Images(store).forest()
    assert [node.created_by for node in nodes] == ["first", "second", "third"]
    assert nodes[0].created == "2023-12-31T22:00:00.000000000Z"
    assert nodes[2].comment == "again"
    assert nodes[2].tags == ("it:1", "other:2")
    assert len(os.listdir(store.layout.blobs)) == 2, "the same layer twice is kept once"
    assert stores.problems(store) == []


@kernel
def test_a_docker_archive_always_gives_the_same_manifest(new_store: NewStore, tmp_path: Path) -> None:
    source = docker_archive(
        tmp_path / "it.tar", [gzip.compress(simple_layer("one"), mtime=0), simple_layer("two")]
    )
    one, two = new_store(), new_store()
    load(one, source)
    load(two, source)
    first = Images(one).get("it:1")
    assert first == Images(two).get("it:1")
    row = records.manifest_row(one.connection, first.manifest_digest)
    assert row
    kinds = [layer["mediaType"].rpartition(".")[2] for layer in json.loads(row.body)["layers"]]
    assert kinds == ["tar+gzip", "tar"]


@kernel
@pytest.mark.parametrize("how", ["plain stream", "file object", "gzip", "zstd"])
def test_archives_come_as_streams_and_compressed(store: Store, tmp_path: Path, how: str) -> None:
    path = Path(docker_archive(tmp_path / "it.tar", [simple_layer("one")]))
    if how == "file object":
        with path.open("rb") as file:
            assert load(store, file) == ["it:1"]
        return
    data = path.read_bytes()
    packed = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}.get(how, bytes)(data)
    assert load(store, io.BytesIO(packed)) == ["it:1"]
    assert stores.problems(store) == []


@kernel
def test_images_that_nothing_names_are_called_after_their_file(store: Store, tmp_path: Path) -> None:
    source = docker_archive(tmp_path / "My Image.tar", [simple_layer("one")], names=())
    assert load(store, source) == ["my-image:latest"]
    with open(source, "rb") as file:
        name = load(store, file)[0]
    assert name.startswith("loaded:")
    assert Images(store).get(name).chain_id == Images(store).get("my-image").chain_id


@kernel
def test_a_layer_that_exists_is_not_unpacked_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = simple_layer("one"), simple_layer("two")
    load(store, docker_archive(tmp_path / "a.tar", [one]))
    done: list[int] = []

    def counted(jobs: list[object], *rest: object) -> object:
        done.append(len(jobs))
        return unpack_all(jobs, *rest)  # type: ignore[arg-type]

    unpack_all = workers.unpack_all
    monkeypatch.setattr(loading, "unpack_all", counted)
    load(store, docker_archive(tmp_path / "b.tar", [one, two], names=("b:1",)))
    load(store, docker_archive(tmp_path / "b.tar", [one, two], names=("c:1",)))
    assert done == [1, 0]


@kernel
def test_progress_ends_at_the_size_of_all_layers(store: Store, tmp_path: Path) -> None:
    layer = tars.tar(tars.file("big", os.urandom(3_000_000)))
    said: list[Progress] = []
    load(store, docker_archive(tmp_path / "it.tar", [layer]), said.append)
    assert said[-1].done == said[-1].total == len(layer)


# What is broken


@kernel
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_archive_leaves_nothing(store: Store, tmp_path: Path, part: float, packed: bool) -> None:
    layers = [tars.tar(tars.file(name, os.urandom(200_000))) for name in ("a", "b")]
    path = Path(docker_archive(tmp_path / "it.tar", layers))
    data = gzip.compress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ArchiveError) as caught:
        load(store, str(path))
    assert "\n" not in str(caught.value)
    assert stores.problems(store) == []
    assert not Images(store).has_any()


@kernel
@pytest.mark.parametrize("what", ["layer", "config", "manifest", "size"])
def test_a_wrong_digest_leaves_nothing(store: Store, tmp_path: Path, what: str) -> None:
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, object]:
        (blobs / digest(data)).write_bytes(data)
        return {"digest": f"sha256:{digest(data)}", "size": len(data)}

    plain = simple_layer("one")
    layer = gzip.compress(plain)
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(plain)}"]}}).encode()
    base = "application/vnd.oci.image."
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": f"{base}config.v1+json", **put(config)},
        "layers": [{"mediaType": f"{base}layer.v1.tar+gzip", **put(layer)}],
    }
    manifest = json.dumps(document).encode()
    entry = {"mediaType": f"{base}manifest.v1+json", **put(manifest)}
    (tmp_path / "layout" / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (tmp_path / "layout" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    wrong = {"layer": layer, "config": config, "manifest": manifest, "size": layer}[what]
    damaged = wrong + b" " if what == "size" else wrong[:-9] + bytes([wrong[-9] ^ 1]) + wrong[-8:]
    (blobs / digest(wrong)).write_bytes(damaged)
    with pytest.raises(ArchiveError):
        load(store, f"{tmp_path}/layout")
    assert stores.problems(store) == []
    (blobs / digest(wrong)).write_bytes(wrong)
    assert load(store, f"{tmp_path}/layout") == ["layout:latest"]


@kernel
def test_a_layer_that_is_not_what_the_configuration_says(store: Store, tmp_path: Path) -> None:
    one = simple_layer("one")
    path = Path(docker_archive(tmp_path / "it.tar", [one]))
    other = simple_layer("eno")
    path.write_bytes(path.read_bytes().replace(one, other))
    with pytest.raises(ArchiveError, match="damaged"):
        load(store, str(path))
    assert stores.problems(store) == []


@kernel
@pytest.mark.parametrize("name", ["../outside", "/../outside", "etc/../../outside"])
def test_a_path_outside_the_layer(store: Store, tmp_path: Path, name: str) -> None:
    layer = tars.tar(tars.directory("etc"), tars.file(name, b"no"))
    with pytest.raises(ArchiveError):
        load(store, docker_archive(tmp_path / "it.tar", [simple_layer("one"), layer]))
    assert stores.problems(store) == []


@kernel
@pytest.mark.parametrize("seed", range(8))
def test_noise_in_an_archive_is_refused_or_harmless(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(
        loading, "unpack_all", lambda jobs, lock, advance: [unpack(job, advance) for job in jobs]
    )
    chance = random.Random(seed)
    path = tmp_path / "it.tar"
    whole = Path(docker_archive(path, [simple_layer("one"), gzip.compress(simple_layer("two"))])).read_bytes()
    for _ in range(15):
        noisy = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            at = chance.randrange(len(noisy))
            noisy[at : at + chance.choice((0, 1, 512))] = chance.randbytes(chance.choice((0, 1, 1, 512)))
        path.write_bytes(noisy)
        try:
            load(store, str(path))
        except CowlError as error:
            assert "\n" not in str(error)
        assert stores.problems(store) == []


@pytest.mark.parametrize("content", [b"", b"hello, world\n", bytes(10240), os.urandom(4096)])
def test_what_is_no_archive(store: Store, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "it"
    path.write_bytes(content)
    with pytest.raises(ArchiveError) as caught:
        load(store, str(path))
    assert "\n" not in str(caught.value)
    assert stores.problems(store) == []


def test_a_plain_root_file_system_is_no_image(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(simple_layer("one"))
    with pytest.raises(ArchiveError, match="not an image archive"):
        load(store, str(path))


@pytest.mark.parametrize("source", ["/no/such/file", "/proc/self/mem"])
def test_a_source_that_cannot_be_read(store: Store, source: str) -> None:
    with pytest.raises(CowlError):
        load(store, source)
    assert stores.problems(store) == []


def test_an_empty_directory_is_no_image(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError):
        load(store, str(tmp_path))


@kernel
def test_no_space_left(tmp_path: Path) -> None:
    source = docker_archive(tmp_path / "it.tar", [tars.tar(tars.file("big", os.urandom(6_000_000)))])
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "cowl-test", small], check=True)
    try:
        store = Store(str(small / "root"))
        free = os.statvfs(small).f_bavail
        with pytest.raises(NoSpaceError):
            load(store, source)
        assert stores.problems(store) == []
        assert abs(os.statvfs(small).f_bavail - free) < 64, "what was unpacked so far is deleted"
        load(store, docker_archive(tmp_path / "less.tar", [simple_layer("one")]))
        store.close()
    finally:
        subprocess.run(["umount", small], check=True)


# Crashes and company


@kernel
@pytest.mark.parametrize(
    "fault",
    ["load.after-read", "load.after-unpack", "load.after-sync", "load.after-rename", "load.before-commit"],
)
def test_a_load_that_is_killed_leaves_the_store_as_it_was(store: Store, tmp_path: Path, fault: str) -> None:
    source = docker_archive(tmp_path / "it.tar", [simple_layer("one"), simple_layer("two")])
    killed = stores.in_process(store, "images.load(args[0])", source, fault=fault)
    assert killed.returncode == -9
    again = Store(store.layout.root)
    assert stores.problems(again) == []
    assert not Images(again).has_any()
    assert load(again, source) == ["it:1"]
    assert stores.problems(again) == []
    again.close()


@kernel
def test_a_load_that_is_killed_after_its_records_is_done(store: Store, tmp_path: Path) -> None:
    source = docker_archive(tmp_path / "it.tar", [simple_layer("one")])
    assert (
        stores.in_process(store, "images.load(args[0])", source, fault="load.after-commit").returncode == -9
    )
    again = Store(store.layout.root)
    assert [image.name for image in Images(again).list()] == ["it:1"]
    assert stores.problems(again) == []
    again.close()


@kernel
def test_a_worker_that_is_killed_fails_the_load_and_nothing_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = docker_archive(tmp_path / "it.tar", [simple_layer("one")])
    monkeypatch.setenv("COWL_FAULT", "load.worker")
    with pytest.raises(StoreError, match="worker"):
        load(store, source)
    monkeypatch.delenv("COWL_FAULT")
    assert stores.problems(store) == []
    assert load(store, source) == ["it:1"]


@kernel
@pytest.mark.parametrize("delay", [0.12, 0.2, 0.3])
def test_sigkill_at_any_time_leaves_a_consistent_store(store: Store, tmp_path: Path, delay: float) -> None:
    entries = [tars.file(f"d/{number}", os.urandom(500)) for number in range(3000)]
    source = docker_archive(tmp_path / "it.tar", [tars.tar(*entries), simple_layer("two")])
    child = stores.in_process(store, "images.load(args[0])", source, wait=False)
    threading.Event().wait(delay)
    child.kill()
    child.communicate()
    again = Store(store.layout.root)

    def is_swept() -> bool:
        again.sweep()
        return not os.listdir(again.layout.staging)

    wait_for(is_swept)  # a worker of the dead holds the staging area until it notices
    assert stores.problems(again) == []
    assert load(again, source) == ["it:1"]
    assert stores.problems(again) == []


@kernel
def test_two_processes_load_the_same_layers_at_once(store: Store, tmp_path: Path) -> None:
    entries = [tars.file(f"d/{number}", os.urandom(500)) for number in range(1000)]
    source = docker_archive(tmp_path / "it.tar", [tars.tar(*entries), simple_layer("two")])
    children = [stores.in_process(store, "images.load(args[0])", source, wait=False) for _ in range(3)]
    for child in children:
        _, complaint = child.communicate(timeout=60)
        assert child.returncode == 0, complaint
    assert len(Images(store).forest()) == 2
    assert stores.problems(store) == []


@kernel
def test_what_vanishes_while_it_is_needed_is_loaded_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = simple_layer("one"), simple_layer("two")
    load(store, docker_archive(tmp_path / "a.tar", [one], names=("a:1",)))
    unpack_all = workers.unpack_all

    def removing(*arguments: object) -> object:
        done = unpack_all(*arguments)  # type: ignore[arg-type]
        if records.find_tag(store.connection, "a:1"):
            Images(store).remove(["a:1"])
        return done

    monkeypatch.setattr(loading, "unpack_all", removing)
    assert load(store, docker_archive(tmp_path / "b.tar", [one, two], names=("b:1",))) == ["b:1"]
    assert len(Images(store).forest()) == 2
    assert stores.problems(store) == []


@kernel
def test_implicit_parents_keep_what_lies_below(store: Store, mounts: Overlay, tmp_path: Path) -> None:
    below = tars.tar(tars.directory("tmp", mode=0o1777, uid=7), tars.file("tmp/a"))
    above = tars.tar(tars.file("tmp/b"))
    load(store, docker_archive(tmp_path / "it.tar", [below, above]))
    tree = stores.merged(store, mounts, "it:1")
    assert (tree[b"tmp"].mode, tree[b"tmp"].owner) == (0o1777, (7, 0))


@kernel
def test_a_layer_committed_here_and_loaded_again_needs_no_blob(
    store: Store, mounts: Overlay, tmp_path: Path
) -> None:
    from engine.changes import Changes

    load(store, docker_archive(tmp_path / "it.tar", [simple_layer("one")]))
    stores.new_container(store, "web", "it:1")
    stores.change(store, mounts, "web", [("write", "new", b"new")])
    Changes(store).commit("web", "mine:1")
    for form in ("oci-archive", "docker-archive"):
        Images(store).save(["mine:1"], f"{tmp_path}/mine.tar", form)
        blobs = os.listdir(store.layout.blobs)
        assert load(store, f"{tmp_path}/mine.tar") == ["mine:1"]
        assert os.listdir(store.layout.blobs) == blobs
    shutil.rmtree(store.layout.container(records.container_row(store.connection, "web").id).home)
    with pytest.raises(NotFoundError):
        Images(store).get("no:1")


def test_names_that_lead_out_of_an_archive(tmp_path: Path) -> None:
    """An archive with a name that no file system could hold is refused, not unpacked."""
    path = tmp_path / "it.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("../manifest.json"))
    store = Store(str(tmp_path / "root"))
    with pytest.raises(ArchiveError, match="outside"):
        load(store, str(path))
    store.close()
