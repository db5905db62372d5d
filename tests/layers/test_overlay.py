"""Random work in real overlay mounts: what `changes` says, what `capture_layer` keeps and what a tar carries
on.

The judge is the kernel: merged trees are written down entry by entry, before and after, and compared the slow
way.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.layers.apply import adopt_parents, apply_layer
from engine.layers.capture import capture_layer
from engine.layers.changes import changes, tree_changes
from engine.layers.stack import list_dir, lookup
from engine.layers.tarwrite import write_layer
from tests.layers.oracle import expected
from tests.layers.overlay import Operation, Overlay, overlay
from tests.layers.trees import Seen, snapshot

pytestmark = pytest.mark.kernel

PATHS = st.lists(st.sampled_from(["a", "b", "c", "a-b"]), min_size=1, max_size=3).map("/".join)
CONTENT = st.sampled_from([b"", b"one", b"two", b"three"])
OPERATIONS: st.SearchStrategy[list[Operation]] = st.lists(
    st.one_of(
        st.tuples(st.just("write"), PATHS, CONTENT),
        st.tuples(st.just("append"), PATHS, CONTENT),
        st.tuples(
            st.sampled_from(["open", "again", "remove", "remake", "replace", "mkdir", "mkdir", "fifo"]), PATHS
        ),
        st.tuples(st.just("chmod"), PATHS, st.sampled_from([0o600, 0o755, 0o4755])),
        st.tuples(st.just("chown"), PATHS, st.sampled_from([0, 1000])),
        st.tuples(st.just("xattr"), PATHS, st.sampled_from(["user.a", "trusted.b"]), CONTENT),
        st.tuples(st.just("unxattr"), PATHS, st.sampled_from(["user.a", "trusted.b"])),
        st.tuples(st.just("utime"), PATHS, st.sampled_from([10**18, 10**18 + 1])),
        st.tuples(st.just("symlink"), PATHS, st.sampled_from(["/a", "b"])),
        st.tuples(st.just("device"), PATHS, st.sampled_from([3, 5])),
        st.tuples(st.sampled_from(["link", "rename"]), PATHS, PATHS),
    ),
    max_size=18,
)
BASE: list[Operation] = [
    ("mkdir", "a/a"),
    ("mkdir", "b/b"),
    ("mkdir", "c"),
    ("write", "a/a/a", b"one"),
    ("write", "a/a/b", b"two"),
    ("write", "a/b", b"three"),
    ("write", "b/b/c", b"one"),
    ("link", "b/c", "b/b/c"),
    ("symlink", "b/a", "b"),
    ("chown", "a/b", 1000),
    ("xattr", "a/a", "user.a", b"one"),
    ("xattr", "a/a/a", "trusted.b", b"two"),
    ("utime", "a/a/a", 10**18 - 5),
]
"""What the first layer is made of, so that most operations find something to work on."""
PATIENT = settings(
    max_examples=70,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Overlay]:
    with overlay() as made:
        yield made


def essence(tree: dict[bytes, Seen]) -> dict[bytes, Seen]:
    """A tree without what a layer does not promise: the times of directories and whiteouts."""
    return {path: seen._replace(mtime_ns=0) if timeless(seen) else seen for path, seen in tree.items()}


def timeless(seen: Seen) -> bool:
    return seen.kind == stat.S_IFDIR or (seen.kind, seen.content) == (stat.S_IFCHR, "0")


def without_links(tree: dict[bytes, Seen]) -> dict[bytes, Seen]:
    return {path: seen._replace(names=()) for path, seen in essence(tree).items()}


def assert_shows(shown: dict[bytes, Seen], after: dict[bytes, Seen]) -> None:
    """A tree shows all that *after* does. Names that a copy without a change had parted may be together
    again.
    """
    assert without_links(shown) == without_links(after)
    for path, seen in after.items():
        assert set(seen.names) <= set(shown[path].names)


@PATIENT
@given(rounds=st.lists(OPERATIONS, min_size=1, max_size=3))
def test_changes_and_captured_layers_are_what_the_kernel_shows(
    kernel: Overlay, tmp_path: Path, rounds: list[list[Operation]]
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
        os.mkdir(f"{scratch}/base")
        lowers = [f"{scratch}/base"]
        for number, operations in enumerate([BASE, *rounds]):
            home = f"{scratch}/{number}"
            os.mkdir(home)
            before, after = kernel.change(lowers, home, operations)
            upper = f"{home}/upper"
            assert sorted(changes(upper, lowers)) == expected(before, after)

            layer = f"{home}/layer"
            os.mkdir(layer)
            captured = capture_layer(upper, lowers, layer)
            assert_shows(kernel.look([layer, *lowers], home), after)
            assert tuple(captured) == tuple(write_layer(layer, None, lowers))

            again = unpacked(layer, lowers, home, captured.diff_id)
            assert_shows(kernel.look([again, *lowers], home), after)
            assert essence(snapshot(again)) == essence(snapshot(layer))
            assert tree_changes([layer, *lowers], [again, *lowers]) == []
            assert sorted(changes(layer, lowers)) == expected(before, after)

            lowers = [layer, *lowers]
            assert as_we_see_it(lowers) == after.keys()
        assert sorted(tree_changes(lowers, lowers[-1:])) == expected(snapshot(lowers[-1]), after)
        assert sorted(tree_changes(lowers[-1:], lowers)) == expected(after, snapshot(lowers[-1]))


def unpacked(layer: str, lowers: list[str], home: str, diff_id: str) -> str:
    """*layer* once more, by way of its tar."""
    out = io.BytesIO()
    write_layer(layer, out, lowers)
    again = f"{home}/again"
    os.mkdir(again)
    applied = apply_layer(io.BytesIO(out.getvalue()), again)
    assert applied.diff_id == diff_id
    adopt_parents(again, applied.implicit, lowers)
    return again


def as_we_see_it(lowers: list[str]) -> set[bytes]:
    """All paths of a stack, by `list_dir`."""
    paths, pending = {b""}, [b""]
    while pending:
        here = pending.pop()
        for name, status in list_dir(lowers, here):
            path = here + b"/" + name if here else name
            paths.add(path)
            location = lookup(lowers, path)
            assert location is not None
            assert location.status.st_ino == status.st_ino
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
    return paths


@PATIENT
@given(base=OPERATIONS, operations=OPERATIONS, chosen=st.sets(st.integers(0, 20)))
def test_a_part_of_the_changes_is_kept_alone(
    kernel: Overlay, tmp_path: Path, base: list[Operation], operations: list[Operation], chosen: set[int]
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
        os.makedirs(f"{scratch}/empty")
        kernel.change([f"{scratch}/empty"], f"{scratch}/base", BASE + base)
        os.mkdir(f"{scratch}/layer0")
        capture_layer(f"{scratch}/base/upper", [f"{scratch}/empty"], f"{scratch}/layer0")
        lowers = [f"{scratch}/layer0", f"{scratch}/empty"]
        before, after = kernel.change(lowers, f"{scratch}/home", operations)
        everything = changes(f"{scratch}/home/upper", lowers)
        wanted = {change.path for index, change in enumerate(everything) if index in chosen}
        layer = f"{scratch}/layer"
        os.mkdir(layer)
        captured = capture_layer(f"{scratch}/home/upper", lowers, layer, lambda change: change.path in wanted)
        assert tuple(captured) == tuple(write_layer(layer, None, lowers))
        kept = changes(layer, lowers)
        for change in everything:
            on_the_way = any(path.startswith(f"{change.path}/") for path in wanted)
            needed = on_the_way and (change.kind == "added" or "type" in change.what)
            assert (change in kept) == (change.path in wanted or needed)
        assert {change.path for change in kept} <= {change.path for change in everything}
        shown = without_links(kernel.look([layer, *lowers], f"{scratch}/home"))
        for path in wanted:
            relative = os.fsencode(path[1:])
            assert shown.get(relative) == without_links(after).get(relative)
        for path, seen in without_links(before).items():
            if path not in {os.fsencode(change.path[1:]) for change in everything} and path in shown:
                assert shown[path] == seen
