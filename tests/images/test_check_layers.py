"""A layer or blob that was changed behind the store's back is found, and made whole where that can be."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.changes import Changes
from engine.errors import StoreError
from engine.images import check as checking
from engine.images.check import check
from engine.images.images import Images
from engine.images.load import load
from engine.layers.treedigest import tree_digest
from engine.store import events, records
from engine.store.store import Store
from tests.images import peers, stores
from tests.images.archives import docker_archive
from tests.images.checks import FIRST, base_of, flip, layer_of, look
from tests.layers import tars
from tests.layers.overlay import Overlay

pytestmark = pytest.mark.kernel


def opaque(path: str) -> None:
    os.setxattr(path, "trusted.overlay.opaque", b"y")


def white_out(path: str) -> None:
    shutil.rmtree(path)
    os.mknod(path, stat.S_IFCHR, 0)


TREES: dict[str, Callable[[str], object]] = {
    "a bit": lambda tree: flip(f"{tree}/etc/passwd"),
    "a mode": lambda tree: os.chmod(f"{tree}/etc/passwd", 0o4755),
    "an owner": lambda tree: os.chown(f"{tree}/etc", 5, 0),
    "a time": lambda tree: os.utime(f"{tree}/etc/passwd", ns=(1, 1)),
    "an attribute": lambda tree: os.setxattr(f"{tree}/etc/passwd", "user.x", b"x"),
    "an opaque mark": lambda tree: opaque(f"{tree}/tmp"),
    "a file too much": lambda tree: Path(f"{tree}/etc/more").write_text("x"),
    "a file too few": lambda tree: os.unlink(f"{tree}/etc/twin"),
    "a target": lambda tree: peers.run("ln", "-sfn", "shadow", f"{tree}/etc/link"),
    "a link that is none": lambda tree: peers.run(
        "cp", "-a", "--remove-destination", f"{tree}/etc/passwd", f"{tree}/etc/other"
    ),
    "a whiteout": lambda tree: white_out(f"{tree}/gone"),
    "the root's mode": lambda tree: os.chmod(tree, 0o700),
    "all": shutil.rmtree,
    "even its directory": lambda tree: shutil.rmtree(os.path.dirname(tree)),
}


@pytest.mark.parametrize("known", [True, False], ids=["compared before", "never compared"])
@pytest.mark.parametrize("what", TREES)
def test_a_layer_that_was_changed(store: Store, checked: Images, what: str, known: bool) -> None:
    if not known:
        with store.write() as connection:
            connection.execute("DELETE FROM trees")
    before = look(store).nodes_size if known else 0
    TREES[what](base_of(store))
    report = look(store)
    assert [(each.kind, each.mend) for each in report.damage] == [("layer", "restore")], report.damage
    [damage] = report.damage
    assert damage.path == base_of(store)
    assert damage.images == ("a:1", "b:1")
    mended = look(store, repair=True)
    assert mended.is_clean, mended
    assert [each.damage.subject for each in mended.mended] == [damage.subject]
    again = look(store)
    assert again.is_clean
    assert again.nodes_size == (before or again.nodes_size)
    assert stores.problems(store) == []


def test_images_of_others_are_what_was_unpacked(store: Store, five: stores.Archives) -> None:
    """With links, devices, capabilities, attributes, whiteouts, opaque directories and names of all kinds."""
    load(store, five.docker)
    load(store, five.oci)
    assert look(store).is_clean, "beside the blobs"
    report = look(store)
    assert report.is_clean, "beside what was recorded by that"
    recorded = dict(store.connection.execute("SELECT chain_id, digest FROM trees"))
    assert len(recorded) == report.nodes == 5
    for chain_id, digest in recorded.items():
        assert tree_digest(store.layout.tree(chain_id)).digest == digest
    moved = f"{store.layout.root}/elsewhere"
    for number, (chain_id, digest) in enumerate(recorded.items()):
        peers.run("cp", "-a", store.layout.tree(chain_id), f"{moved}{number}")
        assert tree_digest(f"{moved}{number}").digest == digest, "a copy is the same tree"


def test_what_differs_is_named(store: Store, checked: Images) -> None:
    tree = base_of(store)
    flip(f"{tree}/etc/passwd")
    Path(f"{tree}/etc/more").write_text("x")
    os.unlink(f"{tree}/gone/x")
    [damage] = look(store).damage
    assert damage.why.split(", ") == [
        *("/etc differs", "/etc/more is too much", "/etc/passwd differs"),
        *("/gone differs", "/gone/x is missing"),
    ]


def test_a_restored_layer_is_what_it_was(store: Store, checked: Images, mounts: Overlay) -> None:
    before = stores.merged(store, mounts, "a:1")
    for tree in (base_of(store), layer_of(store, "a:1")):
        shutil.rmtree(os.path.dirname(tree))
    report = look(store, repair=True)
    assert report.is_clean, report
    assert stores.merged(store, mounts, "a:1") == before


def test_all_layers_may_go(store: Store, tmp_path: Path, mounts: Overlay) -> None:
    layers = [
        tars.tar(tars.file(f"d/{number}/f", b"x"), tars.directory("d", mode=0o700 + number))
        for number in range(8)
    ]
    layers += [tars.tar(tars.file(f"d/{number}/g", b"x")) for number in range(8)]
    load(store, docker_archive(tmp_path / "deep.tar", layers, names=("deep:1",)))
    before = stores.merged(store, mounts, "deep:1")
    shutil.rmtree(store.layout.layers)
    again = Store(store.layout.root)
    assert len(look(again).damage) == 16
    report = look(again, repair=True)
    assert report.is_clean, report
    assert len(report.mended) == 16
    assert stores.merged(again, mounts, "deep:1") == before
    again.close()


@pytest.mark.parametrize("how", ["a bit", "its end", "all of it"])
def test_an_image_that_loses_a_blob_stays(
    store: Store, checked: Images, check_archives: Path, mounts: Overlay, tmp_path: Path, how: str
) -> None:
    chain = checked.resolve("a:1").chain_id
    [blob] = [row["blob_digest"] for row in checked.inspect("a:1")["layers"] if row["chain_id"] == chain]
    path = store.layout.blob(blob)
    if how == "a bit":
        flip(path)
    elif how == "its end":
        os.truncate(path, os.stat(path).st_size - 1)
    else:
        os.unlink(path)
    [damage] = look(store).damage
    mend = "none" if how == "all of it" else "remove"
    assert (damage.kind, damage.subject, damage.mend, damage.images) == ("blob", blob, mend, ("a:1",))
    before = stores.merged(store, mounts, "a:1")
    report = look(store, repair=True)
    assert [(each.kind, each.mend) for each in report.damage] == [("blob", "none")]
    assert [each.removed for each in report.mended] == ([] if how == "all of it" else [(path,)])
    assert [image.name for image in checked.list()] == ["a:1", "b:1"]
    assert stores.merged(store, mounts, "a:1") == before
    for form in ("oci-archive", "docker-archive"):
        with pytest.raises(StoreError, match="it was damaged or lost") as refused:
            checked.save(["a:1"], f"{tmp_path}/no.tar", form)
        assert refused.value.hint == "pull or load the image again"
    assert not os.path.exists(f"{tmp_path}/no.tar")
    load(store, str(check_archives / "a.tar"))
    assert look(store).is_clean
    assert stores.problems(store) == []
    checked.save(["a:1"], f"{tmp_path}/yes.tar")


def test_an_image_without_blob_and_layer_is_removed(store: Store, checked: Images) -> None:
    os.unlink(store.layout.blob(checked.inspect("a:1")["layers"][1]["blob_digest"]))
    shutil.rmtree(layer_of(store, "a:1"))
    report = look(store, repair=True)
    assert report.is_clean, report
    assert "tag a:1" in [what for each in report.mended for what in each.removed]
    assert [image.name for image in checked.list()] == ["b:1"]
    assert stores.problems(store) == []


def test_what_was_mended_is_told(store: Store, checked: Images) -> None:
    chain = checked.resolve("a:1").chain_id
    [blob] = [row["blob_digest"] for row in checked.inspect("a:1")["layers"] if row["chain_id"] == chain]
    flip(f"{base_of(store)}/etc/passwd")
    flip(store.layout.blob(blob))
    os.chmod(store.layout.layers, 0o755)
    look(store, repair=True)
    told = {each.attributes["what"]: each for each in events.read(store.layout) if each.action == "repair"}
    place = told.pop("a part of the store is not as it has to be")
    assert (place.type, place.name) == ("store", store.layout.layers)
    lost = told.pop(f"the blob {blob[7:19]} is damaged")
    assert (lost.type, lost.name, lost.attributes["removed"]) == ("image", "a:1", store.layout.blob(blob))
    [layer] = told.values()
    assert (layer.type, layer.name) == ("image", "a:1")
    assert layer.id == records.lineage(store.connection, chain)[-1]
    assert layer.attributes["how"] == "it was unpacked again from its blob"


def test_a_blob_that_its_layer_gives_again(store: Store, mounts: Overlay, tmp_path: Path) -> None:
    checked = Images(store)
    (tmp_path / "x.tar").write_bytes(FIRST)
    checked.import_tree(str(tmp_path / "x.tar"), "flat")
    checked.save(["flat"], str(tmp_path / "saved.tar"))
    checked.remove(["flat"])
    checked.load(str(tmp_path / "saved.tar"))  # now the blob is kept, as it came from elsewhere
    [digest] = os.listdir(store.layout.blobs)
    flip(f"{store.layout.blobs}/{digest}")
    [damage] = look(store).damage
    assert damage.mend == "restore"
    assert look(store, repair=True).is_clean
    assert [image.name for image in checked.list()] == ["flat:latest"]
    checked.save(["flat"], str(tmp_path / "again.tar"))
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "saved.tar").read_bytes()


def test_what_a_container_needs_is_never_removed(store: Store, checked: Images) -> None:
    paths = stores.new_container(store, "web", "a:1")
    Path(paths.config).write_text("{}")
    Path(paths.upper, "mine").write_text("x")
    chain = checked.resolve("a:1").chain_id
    [blob] = [row["blob_digest"] for row in checked.inspect("a:1")["layers"] if row["chain_id"] == chain]
    flip(store.layout.blob(blob))
    report = look(store, repair=True)
    assert [(each.kind, each.mend) for each in report.damage] == [("blob", "none")]
    assert report.damage[0].containers == ("web",)
    assert not os.path.exists(store.layout.blob(blob)), "or a pull would think that it is here"
    assert Path(paths.upper, "mine").exists()
    shutil.rmtree(layer_of(store, "a:1"))
    report = look(store, repair=True)
    assert {(each.kind, each.mend) for each in report.damage} == {("blob", "none"), ("layer", "none")}
    stores.remove_container(store, "web")
    assert look(store, repair=True).is_clean
    assert [image.name for image in checked.list()] == ["b:1"]


def test_a_load_brings_a_damaged_blob_again(store: Store, checked: Images, check_archives: Path) -> None:
    paths = stores.new_container(store, "web", "a:1")
    Path(paths.config).write_text("{}")
    for digest in os.listdir(store.layout.blobs):
        flip(store.layout.blob(digest))
    assert len(look(store, repair=True).damage) == 3
    load(store, str(check_archives / "a.tar"))
    load(store, str(check_archives / "b.tar"))
    assert look(store).is_clean
    stores.remove_container(store, "web")


def test_a_layer_under_a_running_container_waits(store: Store, checked: Images) -> None:
    paths = stores.new_container(store, "web", "a:1")
    Path(paths.config).write_text("{}")
    asked = []

    @contextlib.contextmanager
    def running(container_id: str) -> Iterator[bool]:
        asked.append(container_id)
        yield False

    flip(f"{base_of(store)}/etc/passwd")
    report = check(store, repair=True, quiet=running)
    assert [each.kind for each in report.damage] == ["layer"]
    assert asked == [os.path.basename(paths.home)]
    assert look(store, repair=True).is_clean
    stores.remove_container(store, "web")


@pytest.fixture
def committed(store: Store, checked: Images, mounts: Overlay) -> Images:
    """`mine:1`, whose topmost layer has no blob."""
    stores.new_container(store, "web", "a:1")
    stores.change(store, mounts, "web", [("write", "new", b"new"), ("remove", "etc/passwd")])
    Changes(store).commit("web", "mine:1")
    stores.remove_container(store, "web")
    assert look(store).is_clean
    return checked


@pytest.mark.parametrize("known", [True, False], ids=["compared before", "never compared"])
def test_a_layer_of_our_own_cannot_be_restored(store: Store, committed: Images, known: bool) -> None:
    if not known:
        with store.write() as connection:
            connection.execute("DELETE FROM trees")
    flip(f"{layer_of(store, 'mine:1')}/new")
    [damage] = look(store).damage
    assert (damage.kind, damage.mend, damage.images) == ("layer", "remove", ("mine:1",))
    report = look(store, repair=True)
    assert report.is_clean
    assert "tag mine:1" in report.mended[0].removed
    assert [image.name for image in committed.list()] == ["a:1", "b:1"]


def test_a_layer_of_our_own_is_not_blamed_for_the_one_below(store: Store, committed: Images) -> None:
    with store.write() as connection:
        connection.execute("DELETE FROM trees")
    shutil.rmtree(base_of(store))
    shutil.rmtree(layer_of(store, "a:1"))
    assert {each.mend for each in look(store).damage} == {"restore"}
    assert look(store, repair=True).is_clean
    assert [image.name for image in committed.list()] == ["a:1", "b:1", "mine:1"]


def test_large_stores_are_looked_through_side_by_side(
    store: Store, committed: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.write() as connection:
        connection.execute("DELETE FROM trees")
    alone = look(store)
    monkeypatch.setattr(checking, "ALONE", 0)
    flip(f"{base_of(store)}/etc/passwd")
    flip(f"{layer_of(store, 'mine:1')}/new")
    [blob] = [row["blob_digest"] for row in committed.inspect("a:1")["layers"]][1:]
    flip(store.layout.blob(blob))
    together = look(store)
    assert {each.kind for each in together.damage} == {"layer", "blob"}
    assert len(together.damage) == 3
    assert together.nodes_size == alone.nodes_size
    assert [(each.kind, each.subject) for each in look(store, repair=True).damage] == [("blob", blob)]
