"""Layer tars made to break out, and a tree of canaries beside the layer that nothing may ever touch."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ArchiveError
from engine.layers.apply import adopt_parents, apply_layer
from tests.layers.tars import Entry, directory, file, link, node, symlink, tar
from tests.layers.trees import Seen, snapshot

pytestmark = pytest.mark.kernel


class Cage:
    """A directory for layers, surrounded by canaries."""

    def __init__(self, path: Path, *, fork: bool) -> None:
        self.path = path
        self._fork = fork
        self.outside = path / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")
        (self.outside / "dir").mkdir()
        (path / "canary").write_text("alive")
        self._layers = 0
        self._before = self._look()

    def apply(self, *entries: Entry) -> Path:
        self._layers += 1
        tree = self.path / "layers" / str(self._layers)
        tree.mkdir(parents=True)
        try:
            applied = apply_layer(io.BytesIO(tar(*entries)), str(tree), fork=self._fork)
            adopt_parents(str(tree), applied.implicit, [])
        finally:
            assert self._look() == self._before, "something outside the layer was touched"
        return tree

    def _look(self) -> dict[bytes, Seen]:
        return {
            path: seen._replace(mtime_ns=0 if path == b"" else seen.mtime_ns)
            for path, seen in snapshot(self.path).items()
            if not path.startswith(b"layers")
        }


@pytest.fixture(params=["one process", "two processes"])
def cage(tmp_path: Path, request: pytest.FixtureRequest) -> Cage:
    return Cage(tmp_path, fork=request.param == "two processes")


def outside(cage: Cage) -> str:
    return str(cage.outside)


UP = "../" * 12
ATTACKS: dict[str, Callable[[str], tuple[Entry, ...]]] = {
    "dots": lambda out: (file("../../canary", b"dead"),),
    "dots within": lambda out: (directory("a"), file("a/../../../canary", b"dead")),
    "dots that stay inside": lambda out: (directory("a"), file("a/../b")),
    "dots at the end": lambda out: (directory("a/.."),),
    "absolute link, then through it": lambda out: (symlink("l", out), file("l/secret", b"dead")),
    "relative link, then through it": lambda out: (symlink("l", "../../outside"), file("l/secret", b"dead")),
    "link to far above, then through it": lambda out: (symlink("l", UP + out), file("l/new", b"dead")),
    "link to a link": lambda out: (symlink("a", out), symlink("b", "a"), file("b/secret", b"dead")),
    "directory through a link": lambda out: (symlink("l", out), directory("l/made")),
    "link through a link": lambda out: (symlink("l", out), symlink("l/made", "/")),
    "device through a link": lambda out: (symlink("l", out), node("l/d", "block", devmajor=8)),
    "hard link to the outside": lambda out: (link("h", "../../canary"),),
    "hard link to an absolute path": lambda out: (link("h", out + "/secret"), file("h", b"dead")),
    "hard link through a link": lambda out: (symlink("l", out), link("h", "l/secret"), file("h", b"dead")),
    "hard link to a directory": lambda out: (directory("d"), link("h", "d")),
    "hard link to nothing": lambda out: (link("h", "nothing"),),
    "hard link to itself": lambda out: (file("h"), link("h", "h")),
    "hard link to the root": lambda out: (link("h", "/"),),
    "hard link to what was deleted": lambda out: (file(".wh.x"), link("h", "x")),
    "the root as a link": lambda out: (symlink("./", out), file("secret", b"dead")),
    "the root as a link, by an empty name": lambda out: (symlink("/", out),),
    "the root as a file": lambda out: (file("."),),
    "whiteout of the root": lambda out: (file(".wh."),),
    "whiteout of the parent": lambda out: (file(".wh..."),),
    "whiteout of itself": lambda out: (file("a/.wh.."),),
    "children of a whiteout": lambda out: (file(".wh.a/b"),),
    "children of a file": lambda out: (file("a"), file("a/b")),
    "links in a ring": lambda out: (symlink("a", "b"), symlink("b", "a"), file("a/x")),
    "link to itself": lambda out: (symlink("a", "a/a"), file("a/x")),
    "a name beyond the kernel's": lambda out: (file("n" * 300),),
    "a path beyond the kernel's": lambda out: (file("n/" * 3000 + "n"),),
    "a link without target": lambda out: (symlink("s", ""),),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_leaves_no_trace_outside(cage: Cage, attack: str) -> None:
    with pytest.raises(ArchiveError):
        cage.apply(*ATTACKS[attack](outside(cage)))


def test_a_link_to_the_outside_may_be_kept_as_a_link(cage: Cage) -> None:
    tree = cage.apply(symlink("l", outside(cage)), file("f", b"x"))
    assert os.readlink(tree / "l") == outside(cage)


def test_marks_do_not_pass_through_links_or_files(cage: Cage) -> None:
    tree = cage.apply(
        directory("d"),
        file("d/x", b"kept"),
        file("f", b"kept"),
        symlink("out", outside(cage)),
        symlink("in", "d"),
        file("in/through"),
        *(file(f"{place}/.wh.{name}") for place in ("out", "in", "f", "out/dir") for name in ("x", "secret")),
        *(file(f"{place}/.wh..wh..opq") for place in ("out", "in", "f")),
    )
    assert sorted(snapshot(tree)) == [b"", b"d", b"d/through", b"d/x", b"f", b"in", b"out"]
    assert os.listxattr(tree / "d") == []


def test_an_entry_replaces_a_link_and_not_its_target(cage: Cage) -> None:
    target = outside(cage)
    tree = cage.apply(
        symlink("f", f"{target}/secret"),
        file("f", b"mine", mode=0o777, uid=7),
        symlink("d", target),
        directory("d", mode=0o700, uid=7),
        file("d/secret", b"mine"),
        symlink("w", f"{target}/dir"),
        file(".wh.w"),
        symlink("n", f"{target}/secret"),
        node("n", "fifo", uid=7),
    )
    assert (tree / "f").read_bytes() == (tree / "d" / "secret").read_bytes() == b"mine"


def test_a_directory_swapped_for_a_link_after_it_was_used(cage: Cage) -> None:
    with pytest.raises(ArchiveError):
        cage.apply(directory("d"), file("d/x"), symlink("d", outside(cage)), file("d/secret", b"dead"))
    with pytest.raises(ArchiveError):
        cage.apply(
            directory("d"), file("d/x"), link("h", "d/x"), symlink("d", outside(cage)), link("h", "d/secret")
        )


def test_metadata_of_a_directory_that_became_a_link_goes_nowhere(cage: Cage) -> None:
    tree = cage.apply(directory("d", mode=0o777, uid=7, mtime=1), symlink("d", outside(cage)))
    assert os.path.islink(tree / "d")


def test_a_path_as_deep_as_the_kernel_takes_it(cage: Cage) -> None:
    deep = "d/" * 500
    tree = cage.apply(
        file(f"{deep}f", b"deep"), file(f"{deep}g"), file("d/" * 300 + "h"), link("l", f"{deep}f")
    )
    assert (tree / "l").read_bytes() == b"deep"
    assert len(os.listdir("/proc/self/fd")) < 100, "descriptors were left open"


NAMES = st.sampled_from(
    ["a", "b", "a/b", "b/a", "a/b/c", "./", ".", "/", "..", "a/..", "l", "l/a", "l/l", "l/b/c"]
)
TARGETS = st.sampled_from(
    ["/", "..", "../..", "../../outside", "/outside", "a", "b", "a/b", "l", "../canary", "./l"]
)
ENTRIES = st.one_of(
    st.builds(file, NAMES, st.just(b"dead")),
    st.builds(directory, NAMES, mode=st.sampled_from([0, 0o777, 0o2755])),
    st.builds(symlink, NAMES, TARGETS),
    st.builds(link, NAMES, st.one_of(TARGETS, NAMES)),
    st.builds(node, NAMES, st.sampled_from(["fifo", "char"])),
    st.builds(lambda name: file(f"{name}/.wh.a"), NAMES),
    st.builds(lambda name: file(f"{name}/.wh..wh..opq"), NAMES),
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(entries=st.lists(ENTRIES, max_size=10))
def test_no_mixture_gets_out(cage: Cage, entries: list[Entry]) -> None:
    try:
        cage.apply(*entries)
    except ArchiveError as error:
        assert str(error)


@pytest.mark.parametrize("seed", range(40))
def test_two_processes_make_what_one_makes(tmp_path: Path, seed: int) -> None:
    """Layers with damage anywhere: both ways the same tree and digest, or both refuse."""
    chance = random.Random(seed)
    names = ["a", "b", "a/b", "c/d/e", "n" * 120, "l", "l/x", "a/.wh.b"]
    entries = []
    for _ in range(chance.randrange(1, 40)):
        name = chance.choice(names)
        size = chance.choice([0, 1, 511, 512, 70_000, 1 << 20, 3_000_000])
        entries.append(
            chance.choice(
                [file(name, chance.randbytes(size)), directory(name), symlink(name, "a"), link(name, "b")]
            )
        )
    whole = bytearray(tar(*entries))
    if chance.random() < 0.5:
        at = chance.randrange(len(whole))
        whole[at : at + chance.choice([0, 1, 512])] = chance.randbytes(chance.choice([0, 1, 512]))
    outcomes: list[object] = []
    for fork in (False, True):
        tree = tmp_path / str(fork)
        tree.mkdir()
        try:
            applied = apply_layer(io.BytesIO(bytes(whole)), str(tree), fork=fork)
        except ArchiveError:
            outcomes.append("refused")  # for the first thing wrong that either of the two comes upon
            continue
        seen = {
            path: each._replace(mtime_ns=0 if each.content == "0" else each.mtime_ns)
            for path, each in snapshot(tree).items()
        }
        outcomes.append((applied, seen))
    assert outcomes[0] == outcomes[1]
