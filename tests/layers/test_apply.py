"""What a layer tar means: whiteouts, opaque directories, implicit parents, the last of several entries."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

import pytest

from engine.errors import ArchiveError, NoSpaceError
from engine.layers import apply, directories
from engine.layers.apply import Applied, adopt_parents, apply_layer
from engine.layers.stack import list_dir, lookup
from tests.layers.overlay import overlay
from tests.layers.tars import Entry, directory, file, link, node, symlink, tar
from tests.layers.trees import Seen, snapshot

pytestmark = pytest.mark.kernel
OPAQUE = "trusted.overlay.opaque"


def unpack(tmp_path: Path, *entries: Entry, name: str = "layer") -> tuple[Path, Applied]:
    tree = tmp_path / name
    tree.mkdir()
    return tree, apply_layer(io.BytesIO(tar(*entries)), str(tree))


def is_whiteout(path: Path) -> bool:
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return OPAQUE in os.listxattr(path) and os.getxattr(path, OPAQUE) == b"y"


def merged(tmp_path: Path, *layers: tuple[Entry, ...]) -> dict[bytes, Seen]:
    """What the kernel shows of *layers*, lowest first."""
    trees = []
    for index, entries in enumerate(layers):
        tree, applied = unpack(tmp_path, *entries, name=f"layer{index}")
        adopt_parents(str(tree), applied.implicit, trees)
        trees.insert(0, str(tree))
    with overlay() as kernel:
        shown = kernel.look(trees, str(tmp_path))
    ours, pending = {b""}, [b""]
    while pending:
        here = pending.pop()
        for name, status in list_dir(trees, here):
            ours.add(here + b"/" + name if here else name)
            if stat.S_ISDIR(status.st_mode):
                pending.append(here + b"/" + name if here else name)
    assert ours == shown.keys()
    return shown


LOWER = (directory("a"), file("a/b", b"1"), directory("a/d"), file("a/d/e", b"2"), file("f", b"3"))


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        pytest.param((file(".wh.f"),), "a a/b a/d a/d/e", id="file"),
        pytest.param((file(".wh.a"),), "f", id="directory"),
        pytest.param((file("a/.wh..wh..opq"),), "a f", id="opaque"),
        pytest.param((file("a/.wh..wh..opq"), file("a/n")), "a a/n f", id="opaque first"),
        pytest.param((file("a/n"), file("a/.wh..wh..opq")), "a a/n f", id="opaque last"),
        pytest.param((file(".wh.a"), directory("a"), file("a/n")), "a a/n f", id="deleted, then made"),
        pytest.param((directory("a"), file("a/n"), file(".wh.a")), "a a/n f", id="made, then deleted below"),
        pytest.param((file(".wh.a"), file("a/n")), "a a/n f", id="deleted, then an implicit parent"),
        pytest.param((file("a/.wh.d"), file("a/d/c")), "a a/b a/d a/d/c f", id="whiteout, then below it"),
        pytest.param((file("a/d/c"), file("a/.wh.d")), "a a/b a/d a/d/c f", id="below it, then whiteout"),
        pytest.param((file(".wh.f"), file("f", b"new")), "a a/b a/d a/d/e f", id="file deleted, then made"),
        pytest.param(
            (file("f", b"new"), file(".wh.f")), "a a/b a/d a/d/e f", id="file made, then deleted below"
        ),
        pytest.param(
            (file(".wh.nothing"), file("a/.wh.nothing")), "a a/b a/d a/d/e f", id="whiteout of nothing"
        ),
        pytest.param((node("f", "char"),), "a a/b a/d a/d/e", id="overlayfs' own whiteout"),
        pytest.param((file(".wh..wh.plnk"), file(".wh..wh..opqx")), "a a/b a/d a/d/e f", id="notes of aufs"),
        pytest.param((file("a"),), "a f", id="directory becomes a file"),
        pytest.param((directory("f"), file("f/x")), "a a/b a/d a/d/e f f/x", id="file becomes a directory"),
        pytest.param((symlink("a", "f"),), "a f", id="directory becomes a link"),
        pytest.param(
            (file(".wh.a"), file("a"), directory("a")), "a f", id="deleted, a file, and a directory after all"
        ),
    ],
)
def test_what_a_layer_does_to_the_one_below(tmp_path: Path, upper: tuple[Entry, ...], left: str) -> None:
    assert sorted(merged(tmp_path, LOWER, upper)) == [b"", *(path.encode() for path in left.split())]


def test_what_was_deleted_can_come_back(tmp_path: Path) -> None:
    shown = merged(tmp_path, LOWER, (file(".wh.a"),), (directory("a"), file("a/new")))
    assert set(shown) == {b"", b"a", b"a/new", b"f"}


def test_a_directory_that_became_a_link_and_one_again(tmp_path: Path) -> None:
    shown = merged(tmp_path, LOWER, (symlink("a", "f"),), (directory("a"), file("a/new")))
    assert set(shown) == {b"", b"a", b"a/new", b"f"}


def test_a_new_directory_is_not_opaque(tmp_path: Path) -> None:
    tree, _ = unpack(tmp_path, directory("n"), file("m/x"))
    assert not is_opaque(tree / "n")
    assert not is_opaque(tree / "m")


def test_whiteouts_on_disk_are_what_overlayfs_wants(tmp_path: Path) -> None:
    tree, applied = unpack(tmp_path, file("d/.wh.x"), file("d/.wh..wh..opq"), file(".wh.y"))
    assert is_whiteout(tree / "d" / "x")
    assert is_whiteout(tree / "y")
    assert is_opaque(tree / "d")
    assert applied.file_count == 3
    assert applied.size == 0


def test_times_of_directories_are_set_after_their_children(tmp_path: Path) -> None:
    tree, _ = unpack(
        tmp_path,
        directory("./", mtime=5),
        directory("d", mtime=1000),
        directory("d/e", mtime=7),
        file("d/e/f"),
    )
    assert [os.stat(tree / path).st_mtime for path in ("", "d", "d/e")] == [5, 1000, 7]


def test_a_link_keeps_its_own_time(tmp_path: Path) -> None:
    tree, _ = unpack(tmp_path, file("target", mtime=3), symlink("s", "target", mtime=1000))
    assert os.lstat(tree / "s").st_mtime == 1000
    assert os.stat(tree / "target").st_mtime == 3


def test_set_id_sticky_and_closed_directories(tmp_path: Path) -> None:
    tree, _ = unpack(
        tmp_path,
        directory("g", mode=0o2775, gid=50),
        file("g/f", uid=0, gid=0),
        directory("t", mode=0o1777),
        directory("closed", mode=0),
        file("closed/f", b"x"),
    )
    assert os.stat(tree / "g").st_mode & 0o7777 == 0o2775
    assert os.stat(tree / "g/f").st_gid == 0, "a file does not inherit the group of a set-group-ID directory"
    assert os.stat(tree / "t").st_mode & 0o7777 == 0o1777
    assert os.stat(tree / "closed").st_mode & 0o7777 == 0


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        tree, _ = unpack(tmp_path, file("a", mode=0o666), file("b", mode=0o600), directory("d", mode=0o777))
    finally:
        os.umask(before)
    assert [os.stat(tree / name).st_mode & 0o7777 for name in "abd"] == [0o666, 0o600, 0o777]


def test_missing_parents_are_named_and_take_the_metadata_below(tmp_path: Path) -> None:
    lower, _ = unpack(
        tmp_path,
        directory("./", mode=0o711),
        directory("tmp", mode=0o1777, uid=3, gid=4, mtime=99, pax_headers={"SCHILY.xattr.user.k": "v"}),
        name="lower",
    )
    upper, applied = unpack(tmp_path, file("tmp/x"), file("new/y/z"), name="upper")
    assert applied.implicit == (b"", b"new", b"new/y", b"tmp")
    adopt_parents(str(upper), applied.implicit, [str(lower)])
    status = os.stat(upper / "tmp")
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime) == (0o1777, 3, 4, 99)
    assert os.getxattr(upper / "tmp", "user.k") == b"v"
    assert os.stat(upper).st_mode & 0o7777 == 0o711
    assert os.stat(upper / "new/y").st_mode & 0o7777 == 0o755


def test_a_later_entry_makes_a_parent_explicit(tmp_path: Path) -> None:
    tree, applied = unpack(tmp_path, file("d/f"), directory("d", mode=0o700, mtime=9))
    assert applied.implicit == (b"",)
    assert os.stat(tree / "d").st_mode & 0o777 == 0o700
    assert os.stat(tree / "d").st_mtime == 9


@pytest.mark.parametrize("first", ["file", "directory", "symlink", "fifo", "char", "block", "link"])
@pytest.mark.parametrize("second", ["file", "directory", "symlink", "fifo", "char", "block", "link"])
def test_the_last_entry_of_a_name_counts(tmp_path: Path, first: str, second: str) -> None:
    def entry(kind: str) -> Entry:
        if kind in ("symlink", "link"):
            return "x", kind, {"linkname": "other", "mode": 0o644}
        return "x", kind, {"devmajor": 1, "devminor": 3} if kind in ("char", "block") else {}

    tree, applied = unpack(tmp_path, file("other", b"12345"), entry(first), entry(second))
    alone, alone_applied = unpack(tmp_path, file("other", b"12345"), entry(second), name="alone")
    kinds = [stat.S_IFMT(os.lstat(path / "x").st_mode) for path in (tree, alone)]
    assert kinds[0] == kinds[1]
    assert (applied.size, applied.file_count) == (alone_applied.size, alone_applied.file_count)
    assert (tree / "other").read_bytes() == b"12345"


def test_a_directory_that_is_replaced_takes_its_contents_along(tmp_path: Path) -> None:
    deep = "d/" * 60
    tree, applied = unpack(
        tmp_path,
        *(directory("d/" * depth, mode=0o700) for depth in range(1, 61)),
        file(f"{deep}f", b"gone"),
        file("d/.5", b"gone too"),
        symlink("d", "/etc"),
        directory("d"),
        file("d/stays", b"here"),
    )
    assert sorted(snapshot(tree)) == [b"", b"d", b"d/stays"]
    assert (applied.file_count, applied.size) == (2, 4)


def test_hard_links_share_an_inode_and_count_once(tmp_path: Path) -> None:
    tree, applied = unpack(
        tmp_path,
        file("a", b"12345", uid=9),
        link("d/b", "a"),
        link("c", "./d/b"),
        link("e", "/a"),
        symlink("s", "a"),
        link("t", "s"),
    )
    assert {os.stat(tree / name).st_ino for name in ("a", "d/b", "c", "e")} == {os.stat(tree / "a").st_ino}
    assert os.path.islink(tree / "t")
    assert (applied.size, applied.file_count) == (5, 7)


def test_a_repeated_hard_link_is_no_second_entry(tmp_path: Path) -> None:
    _, applied = unpack(tmp_path, file("a", b"x"), link("b", "a"), link("b", "a"))
    assert applied.file_count == 2


def test_links_among_the_parents_are_followed_inside_the_tree(tmp_path: Path) -> None:
    tree, _ = unpack(
        tmp_path,
        directory("usr/lib"),
        symlink("lib", "usr/lib"),
        symlink("abs", "/lib"),
        symlink("up", "../../../../usr"),
        file("lib/one"),
        file("abs/two"),
        file("up/lib/three"),
        file("lib/new/four"),
        link("five", "abs/one"),
    )
    assert sorted(os.listdir(tree / "usr/lib")) == ["new", "one", "three", "two"]
    assert os.listdir(tree / "usr/lib/new") == ["four"]
    assert os.path.islink(tree / "lib")
    assert os.stat(tree / "five").st_nlink == 2


def test_private_attributes_of_overlayfs_never_come_from_a_tar(tmp_path: Path) -> None:
    xattrs = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}
    tree, _ = unpack(tmp_path, directory("d", pax_headers=xattrs), file("f", pax_headers=xattrs))
    assert os.listxattr(tree / "d") == []
    assert os.listxattr(tree / "f") == []


def test_names_that_only_look_odd(tmp_path: Path) -> None:
    tree, _ = unpack(
        tmp_path, file("/abs/f"), file("./a//b/./c"), file("..x"), file("...y/z"), directory(".")
    )
    assert sorted(snapshot(tree)) == sorted([
        b"", b"abs", b"abs/f", b"a", b"a/b", b"a/b/c", b"..x", b"...y", b"...y/z",
    ])  # fmt: skip


def test_the_digest_covers_what_follows_the_end_marker(tmp_path: Path) -> None:
    data = tar(file("a", b"x" * 3_000_000)) + b"trailing" * 500_000
    tree = tmp_path / "t"
    tree.mkdir()
    applied = apply_layer(io.BytesIO(data), str(tree))
    assert applied.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_an_empty_layer(tmp_path: Path) -> None:
    tree, applied = unpack(tmp_path)
    assert (applied.size, applied.file_count, applied.implicit) == (0, 0, (b"",))
    assert lookup([str(tree)], "/") is not None


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = f"""
import io, subprocess, sys
from engine.layers.apply import apply_layer
from engine.errors import ArchiveError, NoSpaceError
from engine.layers import apply, directories
from tests.layers.tars import file, tar
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", {str(tmp_path)!r}], check=True)
try:
    apply_layer(io.BytesIO(tar(file("big", b"x" * 3_000_000))), {str(tmp_path)!r})
except NoSpaceError as error:
    sys.exit("NoSpaceError: " + str(error))
"""
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr.startswith(NoSpaceError.__name__), done.stderr


def test_directories_that_were_settled_on_the_way_are_as_they_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer of very many directories gives most of them their metadata before it is at its end."""
    entries: list[Entry] = [directory("./", mode=0o711, mtime=9)]
    for number in range(12):
        owner = {"mode": 0o2750 + number % 8, "uid": number, "gid": 2 * number, "mtime": number + 0.25}
        entries += [
            directory(f"{number}", **owner),
            directory(f"{number}/in", **owner),
            file(f"{number}/in/f"),
        ]
    entries += [file(f"{number}/late", uid=7) for number in range(12)]
    entries += [file(f"{number}/in/.wh.gone") for number in range(6)]
    entries += [file(f"{number}/new/f") for number in range(3, 9)]
    entries += [
        directory("5", mode=0o700, mtime=99),
        symlink("6", "7"),
        file("6/in/through"),
        file("8/.wh..wh..opq"),
        directory("9", mode=0o700),
        file("9/ours"),
    ]
    usual, applied = unpack(tmp_path, *entries, name="usual")
    monkeypatch.setattr(directories, "_MOST", 3)
    settled, again = unpack(tmp_path, *entries, name="settled")
    assert again == applied
    timeless = [
        {path: seen._replace(mtime_ns=0) if stat.S_ISCHR(seen.kind) else seen for path, seen in tree.items()}
        for tree in (snapshot(settled), snapshot(usual))
    ]
    assert timeless[0] == timeless[1]
    assert os.stat(settled / "4" / "in").st_mode & 0o7777 == 0o2754
    for name in ("4/late", "9/ours"):
        assert os.stat(settled / name).st_gid == 0, "new files do not inherit a group"


def test_directories_without_entries_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "_MAX_IMPLICIT", 10)
    unpack(tmp_path, *(file(f"{number}/f") for number in range(9)), name="few")
    with pytest.raises(ArchiveError, match="too many"):
        unpack(tmp_path, *(file(f"{number}/f") for number in range(12)), name="many")


@pytest.mark.parametrize("name", ["d/", "d//", "./d///", "/d/", ".//d/.//", "d/."])
def test_names_are_taken_however_many_slashes_they_have(tmp_path: Path, name: str) -> None:
    tree, applied = unpack(tmp_path, directory(name, mode=0o700), file(f"{name}/f", b"x"))
    assert sorted(snapshot(tree)) == [b"", b"d", b"d/f"]
    assert applied.implicit == (b"",)
