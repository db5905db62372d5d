"""A stack of layers read without mounting it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from engine.errors import NotFoundError
from engine.layers.apply import apply_layer
from engine.layers.stack import list_dir, lookup, open_file, visible
from tests.layers.tars import Entry, directory, file, symlink, tar

pytestmark = pytest.mark.kernel


def stack(tmp_path: Path, *layers: tuple[Entry, ...]) -> list[str]:
    """Layers on disk, given lowest first, returned top first."""
    made: list[str] = []
    for index, entries in enumerate(layers):
        tree = tmp_path / str(index)
        tree.mkdir()
        apply_layer(io.BytesIO(tar(*entries)), str(tree))
        made.insert(0, str(tree))
    return made


def names(lowers: list[str], path: str = "/") -> list[bytes]:
    return [name for name, _ in list_dir(lowers, path)]


def test_the_topmost_layer_decides(tmp_path: Path) -> None:
    lowers = stack(tmp_path, (file("d/a", b"old"), file("d/b", b"b")), (file("d/a", b"new"),))
    with open_file(lowers, "/d/a") as stream:
        assert stream.read() == b"new"
    with open_file(lowers, "d/b") as stream:
        assert stream.read() == b"b"
    found = lookup(lowers, "/d")
    assert found is not None
    assert found.directories == tuple(os.fsencode(f"{layer}/d") for layer in lowers)
    assert (found.layer, lookup(lowers, "d/b").layer) == (0, 1)  # type: ignore[union-attr]


def test_marks_hide_what_lies_below_and_nothing_else(tmp_path: Path) -> None:
    lowers = stack(
        tmp_path,
        (file("d/a"), file("d/b"), file("e/x"), file("f")),
        (file("d/.wh.a"), directory("e"), file("e/.wh..wh..opq"), file("e/y"), file(".wh.f")),
        (file("f/back"),),
    )
    assert names(lowers) == [b"d", b"e", b"f"]
    assert names(lowers, "/d") == [b"b"]
    assert names(lowers, "/e") == [b"y"]
    assert names(lowers, "/f") == [b"back"]
    assert lookup(lowers, "/d/a") is None
    assert lookup(lowers, "/e/x") is None
    assert lookup(lowers, "/f/back/more") is None


def test_a_file_between_two_directories_parts_them(tmp_path: Path) -> None:
    lowers = stack(tmp_path, (file("d/old"),), (file("d"),), (file("d/new"),))
    assert names(lowers, "d") == [b"new"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    lowers = stack(tmp_path, (symlink("l", str(tmp_path)), symlink("s", f"{tmp_path}/secret")))
    assert lookup(lowers, "/l/secret") is None
    with pytest.raises(NotFoundError):
        open_file(lowers, "/l/secret")
    with pytest.raises(NotFoundError):
        open_file(lowers, "/s")
    with pytest.raises(NotFoundError):
        list_dir(lowers, "/l")


def test_an_opaque_root_hides_all_layers_below(tmp_path: Path) -> None:
    lowers = stack(tmp_path, (file("old"),), (file(".wh..wh..opq"), file("middle")), (file("new"),))
    assert visible(lowers) == lowers[:2]
    assert names(lowers) == [b"middle", b"new"]


def test_no_layers_hold_nothing() -> None:
    assert lookup([], "/") is None
    with pytest.raises(NotFoundError):
        list_dir([], "/")
