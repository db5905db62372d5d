"""Archives of docker before 1.10, which have a directory for each layer and no manifest."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from engine.errors import ArchiveError
from engine.images.images import Images
from engine.images.load import load
from engine.store.store import Store
from tests.images import stores
from tests.images.archives import digest, oldest_archive, simple_layer
from tests.images.stores import NewStore
from tests.layers import tars
from tests.layers.overlay import Overlay

pytestmark = pytest.mark.kernel

ONE, TWO, EMPTY = simple_layer("one"), simple_layer("two"), tars.tar()


def test_layers_are_found_by_their_parents(store: Store, mounts: Overlay, tmp_path: Path) -> None:
    source = oldest_archive(
        tmp_path / "old.tar",
        [ONE, EMPTY, TWO, ONE],
        names={"old": {"1": 2, "latest": 2}, "example.org/base": {"x": 0}, "other": {"1": 3}},
        parents={3: 1},
        linked=True,
        config={"Cmd": ["/bin/true"], "Env": ["A=1"]},
    )
    assert load(store, source) == ["old:1", "old:latest", "example.org/base:x", "other:1"]
    image = Images(store).get("old")
    assert image.config["config"] == {"Cmd": ["/bin/true"], "Env": ["A=1"]}
    assert image.config["rootfs"]["diff_ids"] == [f"sha256:{digest(layer)}" for layer in (ONE, EMPTY, TWO)]
    assert not {"id", "parent", "Size"} & image.config.keys()
    history = Images(store).history("old")
    assert [entry["created_by"] for entry in image.config["history"]] == [
        f"/bin/sh -c step {number}" for number in range(3)
    ]
    assert len(history) == 3
    assert set(stores.merged(store, mounts, "old")) == {b"", b"etc", b"etc/one", b"etc/two"}
    assert len(Images(store).forest()) == 4, "what images share is one node"
    assert stores.problems(store) == []


def test_without_repositories_the_topmost_layers_are_images(store: Store, tmp_path: Path) -> None:
    load(store, oldest_archive(tmp_path / "nameless.tar", [ONE, TWO]))
    assert Images(store).get("nameless").config["rootfs"]["diff_ids"][1] == f"sha256:{digest(TWO)}"


@pytest.mark.parametrize("how", ["directory", "compressed layers", "compressed archive"])
def test_other_forms(store: Store, new_store: NewStore, tmp_path: Path, how: str) -> None:
    names = {"old": {"1": 1}}
    plain = oldest_archive(tmp_path / "plain.tar", [ONE, TWO], names=names)
    load(store, plain)
    other = new_store()
    if how == "directory":
        source = str(tmp_path / "dir")
        with tarfile.open(plain) as archive:
            archive.extractall(source, filter="data")
    elif how == "compressed layers":
        source = oldest_archive(tmp_path / "it.tar", [gzip.compress(ONE), gzip.compress(TWO)], names=names)
    else:
        source = str(tmp_path / "it.tar.gz")
        Path(source).write_bytes(gzip.compress(Path(plain).read_bytes()))
    assert load(other, source) == ["old:1"]
    assert Images(store).get("old:1").chain_id == Images(other).get("old:1").chain_id
    assert stores.problems(other) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"parents": {0: 1}}, "ring"),
        ({"parents": {0: 0}}, "ring"),
        ({"names": {}}, "lists nothing"),
        ({"parent": "f" * 64}, "not complete"),
        ({"parent": "../../etc"}, "not the ID"),
        ({"id": "f" * 64}, "says it is"),
        ({"config": "text"}, "not valid"),
        ({"created": 5}, "not valid"),
    ],
    ids=str,
)
def test_what_is_broken_leaves_nothing(
    store: Store, tmp_path: Path, change: dict[str, object], why: str
) -> None:
    source = oldest_archive(tmp_path / "old.tar", [ONE, TWO], **{"names": {"old": {"1": 1}}, **change})  # type: ignore[arg-type]
    with pytest.raises(ArchiveError, match=why):
        load(store, source)
    assert not Images(store).has_any()
    assert stores.problems(store) == []


def test_too_many_layers(store: Store, tmp_path: Path) -> None:
    path = Path(oldest_archive(tmp_path / "old.tar", [EMPTY] * 129, names={"old": {"1": 128}}))
    with pytest.raises(ArchiveError, match="too many layers"):
        load(store, str(path))
