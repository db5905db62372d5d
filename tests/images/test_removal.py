"""`rmi` takes away exactly what it said, never what something else needs, and nothing halfway."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.changes import Changes
from engine.errors import InUseError, NotFoundError
from engine.images.images import Images
from engine.images.load import load
from engine.store.store import Store
from tests.images import stores
from tests.images.archives import docker_archive, simple_layer

pytestmark = pytest.mark.kernel


@pytest.fixture
def images(store: Store, tmp_path: Path) -> Images:
    """`a:1` of the layers one and two, `b:1` of one and three."""
    one, two, three = map(simple_layer, ("one", "two", "three"))
    load(store, docker_archive(tmp_path / "a.tar", [one, two], names=("a:1",)))
    load(store, docker_archive(tmp_path / "b.tar", [one, three], names=("b:1",)))
    return Images(store)


def test_a_tag_more_or_less(store: Store, images: Images) -> None:
    images.tag("a:1", "c:1")
    effect = images.removal(["c:1"])
    assert effect.what == ("tag c:1",)
    assert (effect.nodes, effect.size, effect.blocked_by) == ((), 0, ())
    images.remove(["c:1"])
    assert [image.name for image in images.list()] == ["a:1", "b:1"]
    assert len(images.forest()) == 3


def test_nodes_that_others_need_stay(store: Store, images: Images) -> None:
    top = images.resolve("a:1")
    blobs = sum(os.path.getsize(f"{store.layout.blobs}/{name}") for name in os.listdir(store.layout.blobs))
    effect = images.removal(["a:1"])
    assert effect.nodes == (top.chain_id,)
    assert images.remove(["a:1"]) == effect
    assert {node.chain_id for node in images.forest()}.isdisjoint(effect.nodes)
    left = sum(os.path.getsize(f"{store.layout.blobs}/{name}") for name in os.listdir(store.layout.blobs))
    assert blobs - left + top.size == effect.size
    assert stores.problems(store) == []
    images.remove(["b:1"])
    assert not images.has_any()
    assert os.listdir(store.layout.layers) == os.listdir(store.layout.blobs) == []


def test_everything_at_once_children_first(store: Store, images: Images) -> None:
    effect = images.remove(["a:1", "b:1"])
    assert len(effect.nodes) == 3
    assert stores.problems(store) == []


def test_a_container_forbids_it_and_is_named(store: Store, images: Images) -> None:
    stores.new_container(store, "web", "a:1")
    assert images.removal(["a:1"]).blocked_by == ("container web uses it",)
    with pytest.raises(InUseError, match="web"):
        images.remove(["b:1", "a:1"])
    assert len(images.list()) == 2, "all or nothing"
    images.tag("a:1", "c:1")
    images.remove(["a:1"])  # another tag is left
    with pytest.raises(InUseError):
        images.remove(["c:1"])
    stores.remove_container(store, "web")
    images.remove(["c:1"])
    assert stores.problems(store) == []


def test_a_container_on_a_bare_layer_forbids_to_remove_the_last_image_of_it(
    store: Store, images: Images
) -> None:
    base = images.forest()[0].chain_id
    stores.new_container(store, "web", base)
    images.remove(["a:1"])
    with pytest.raises(InUseError, match="web"):
        images.remove(["b:1"])
    assert stores.problems(store) == []


def test_an_image_under_another_loses_its_name_only(store: Store, images: Images) -> None:
    stores.new_container(store, "web", "a:1")
    child = Changes(store).commit("web", "mine:1")
    stores.remove_container(store, "web")
    effect = images.remove(["a:1"])
    assert effect.nodes == ()
    assert effect.what == ("tag a:1",)
    effect = images.remove(["mine:1"])
    assert effect.nodes == (child.chain_id, child.parent)
    assert stores.problems(store) == []


def test_by_chain_id(store: Store, images: Images) -> None:
    images.tag("a:1", "c:1")
    chain_id = images.resolve("a:1").chain_id
    effect = images.removal([chain_id[7:19]])
    assert effect.what[:2] == ("tag a:1", "tag c:1")
    base = images.forest()[0].chain_id
    with pytest.raises(InUseError, match="a:1"):
        images.remove([base])
    images.remove([chain_id])
    assert [image.name for image in images.list()] == ["b:1"]
    with pytest.raises(NotFoundError):
        images.removal([chain_id])


def test_an_image_without_a_name_can_be_removed(store: Store, images: Images) -> None:
    stores.new_container(store, "web", "a:1")
    node = Changes(store).commit("web")
    effect = images.remove([node.chain_id])
    assert effect.nodes == (node.chain_id,)


@pytest.mark.parametrize("fault", ["remove.before-commit", "remove.after-commit", "remove.after-rename"])
def test_a_removal_that_is_killed_is_done_or_not(store: Store, images: Images, fault: str) -> None:
    killed = stores.in_process(store, "images.remove(['a:1'])", fault=fault)
    assert killed.returncode == -9
    again = Store(store.layout.root)
    assert stores.problems(again) == []
    left = [image.name for image in Images(again).list()]
    assert left == (["a:1", "b:1"] if fault == "remove.before-commit" else ["b:1"])
    again.close()


def test_removing_and_loading_the_same_at_once(store: Store, images: Images, tmp_path: Path) -> None:
    loader = "for _ in range(10): images.load(args[0])"
    remover = """
from engine.errors import NotFoundError
for _ in range(30):
    try: images.remove(['a:1'])
    except NotFoundError: pass
"""
    children = [
        stores.in_process(store, code, f"{tmp_path}/a.tar", wait=False) for code in (loader, remover, loader)
    ]
    for child in children:
        _, complaint = child.communicate(timeout=60)
        assert child.returncode == 0, complaint
    assert stores.problems(store) == []
    load(store, f"{tmp_path}/a.tar")
    assert len(images.forest()) == 3
    assert stores.problems(store) == []
