"""Layers recorded when a root said nothing where it was the same as the one below, however unusual."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.changes import Changes
from engine.images.images import Images
from engine.images.load import load
from engine.images.save import Format
from engine.layers import capture
from engine.layers.tarwrite import write_layer
from engine.store.store import Store
from tests.images import stores
from tests.images.archives import docker_archive
from tests.images.checks import flip, layer_of, look
from tests.images.registries import raw
from tests.images.stores import NewStore
from tests.layers import tars
from tests.layers.overlay import Overlay

pytestmark = pytest.mark.kernel


def tells_little(status: os.stat_result, xattrs: dict[str, bytes], below: Sequence[bytes]) -> bool:
    """What was asked then, as far as it matters here."""
    return not below or os.lstat(below[0]).st_mode != status.st_mode


@pytest.fixture
def older(store: Store, mounts: Overlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with `old:1`, committed then, and `old:2`, committed on it now."""
    first = tars.tar(tars.directory("./", mode=0o1777), tars.directory("etc"), tars.file("etc/a", b"a"))
    load(store, docker_archive(tmp_path / "it.tar", [first], names=("it:1",)))
    with monkeypatch.context() as then:
        then.setattr(capture, "tells_root", tells_little)
        _commit(store, mounts, "it:1", "old:1")
    _commit(store, mounts, "old:1", "old:2")
    recorded = Images(store).resolve("old:1").diff_id
    below = [layer_of(store, "it:1")]
    assert write_layer(layer_of(store, "old:1"), None, below).diff_id != recorded  # not what is written now
    return store


def _commit(store: Store, mounts: Overlay, image: str, name: str) -> None:
    stores.new_container(store, "web", image)
    stores.change(store, mounts, "web", [("write", "etc/new", name.encode())])
    Changes(store).commit("web", name)
    stores.remove_container(store, "web")


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_they_are_saved(
    older: Store, new_store: NewStore, mounts: Overlay, tmp_path: Path, form: Format
) -> None:
    Images(older).save(["old:1", "old:2"], f"{tmp_path}/saved.tar", form)
    other = new_store()
    Images(other).load(f"{tmp_path}/saved.tar")
    for name in ("old:1", "old:2"):
        assert stores.merged(other, mounts, name) == stores.merged(older, mounts, name)
        assert Images(other).resolve(name).chain_id == Images(older).resolve(name).chain_id


@pytest.mark.peers("docker-registry", "skopeo", "umoci")
@pytest.mark.usefixtures("nobody")
def test_they_are_pushed(older: Store, registry: str) -> None:
    Images(older).push("old:2", f"{registry}/old:2")
    Images(older).push("old:1", f"{registry}/old:zstd", compress="zstd")
    for name in ("2", "zstd"):
        assert raw(f"{registry}/old:{name}")


def test_they_are_checked(older: Store) -> None:
    with older.write() as connection:
        connection.execute("DELETE FROM trees")  # else nobody has to write them
    assert look(older).is_clean
    flip(f"{layer_of(older, 'old:1')}/etc/new")
    assert [each.kind for each in look(older).damage] == ["layer"]
