"""Two trees have one digest exactly if nobody can tell them apart, and what differs is named."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StoreError
from engine.layers.treedigest import differences, tree_digest

NAMES = st.sampled_from([b"a", b"a-", b"a!b", b"a.b", b"\xff", b"z"])
"""Some sort before a slash, some after it: the walk must put them where `differences` expects them."""
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=6)


def grow(tree: bytes, paths: Sequence[Sequence[bytes]]) -> set[bytes]:
    """Make a file at each of *paths* that can be one; what is there then."""
    os.mkdir(tree)
    for names in paths:
        path = os.path.join(tree, *names)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                file.write(b"x")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    found = set()
    for here, directories, files in os.walk(tree):
        for name in (*directories, *files):
            path = os.path.join(here, name)
            os.utime(path, ns=(0, 0))
            found.add(path.removeprefix(tree))
    os.utime(tree, ns=(0, 0))
    return found


@given(PATHS, PATHS)
def test_what_differs_is_what_is_in_one_only(
    tmp_path_factory: pytest.TempPathFactory, one: list[list[bytes]], other: list[list[bytes]]
) -> None:
    home = os.fsencode(tmp_path_factory.mktemp("trees"))
    ours, theirs = grow(home + b"/1", one), grow(home + b"/2", other)
    first, second = os.fsdecode(home + b"/1"), os.fsdecode(home + b"/2")
    said = {tuple(os.fsencode(line).split(b" ", 1)) for line in differences(first, second)}
    missing = {path for path, how in said if how == b"is missing"}
    extra = {path for path, how in said if how == b"is too much"}
    assert missing == theirs - ours
    assert extra == ours - theirs
    changed = {path for path, how in said if how == b"differs"}
    assert all(os.path.isdir(home + b"/1" + path) != os.path.isdir(home + b"/2" + path) for path in changed)
    assert (tree_digest(first).digest == tree_digest(second).digest) == (not said)
    assert tree_digest(first).file_count == len(ours)
    shutil.rmtree(home)


@pytest.mark.kernel
def test_everything_counts(tmp_path: Path) -> None:
    script = """
        mkdir -p d/e; printf 12345 > d/f; ln d/f d/g; ln -s f d/l; mkfifo d/p
        mknod d/w c 0 0; mknod d/c c 1 3
        find . -exec touch -h -d @1 {} +
    """
    changes = {
        "printf 12346 > d/f; touch -d @1 d/f": 5,
        "chmod 600 d/f": 5,
        "chown 1 d/e": 5,
        "chown -h 1 d/l": 5,
        "touch -d @2 d/f": 5,
        "setfattr -n user.x -v 1 d/f": 5,
        "setfattr -n trusted.overlay.opaque -v y d/e": 5,
        "ln -sfn g d/l; touch -h -d @1 d/l d": 5,
        "rm d/c; mknod d/c c 1 5; touch -d @1 d/c d": 5,
        "rm d/w; touch d/w; touch -d @1 d/w d": 5,
        "cp -a d/g d/h; mv d/h d/g; touch -d @1 d": 10,
    }
    digests = set()
    for number, change in enumerate(["", *changes]):
        tree = tmp_path / str(number)
        tree.mkdir()
        subprocess.run(["sh", "-ec", script], cwd=tree, check=True)
        before = tree_digest(str(tree))
        assert (before.size, before.file_count) == (5, 8)
        subprocess.run(["sh", "-ec", change], cwd=tree, check=True)
        found = tree_digest(str(tree))
        assert found.size == changes.get(change, 5)
        digests.add(found.digest)
    assert len(digests) == len(changes) + 1


@pytest.mark.kernel
def test_what_does_not_count(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "f").write_bytes(b"x")
    os.mknod(tree / "w", 0o020000, 0)
    os.utime(tree, ns=(0, 0))
    before = tree_digest(str(tree))
    os.utime(tree / "w", ns=(5, 5))
    os.chmod(tree / "w", 0o600)
    os.setxattr(tree, "trusted.overlay.origin", b"x")
    (tree / "f").read_bytes()
    assert tree_digest(str(tree)) == before


def test_a_tree_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        tree_digest(str(tmp_path / "nothing"))
