"""Single rules of `changes`, `tree_changes`, `capture_layer` and `file_diff`, each by its name."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import NotFoundError
from engine.layers.capture import capture_layer
from engine.layers.changes import changes, tree_changes
from engine.layers.filediff import file_diff
from engine.layers.tarwrite import write_layer
from engine.model import Change
from tests.layers.overlay import Operation, Overlay, overlay

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def kernel() -> Iterator[Overlay]:
    with overlay() as made:
        yield made


class Work:
    """A base layer and a read-write layer over it, in which operations are done by a real overlay mount."""

    def __init__(self, kernel: Overlay, path: Path) -> None:
        self._kernel = kernel
        self._path = path
        self.base = path / "base"
        self.base.mkdir()
        (self.base / "etc").mkdir()
        (self.base / "etc/passwd").write_text("root\ndaemon\nbin\n")
        (self.base / "etc/motd").write_text("hello\n")
        (self.base / "bin").write_bytes(b"\x7fELF\0\0" + bytes(range(256)))
        os.utime(self.base / "etc/motd", ns=(0, 10**18))
        self.lowers = [str(self.base)]
        self.upper = str(path / "home" / "upper")

    def do(self, *operations: Operation) -> list[Change]:
        self._kernel.change(self.lowers, str(self._path / "home"), operations)
        return changes(self.upper, self.lowers)

    def capture(self, **options: Any) -> str:
        layer = str(self._path / "captured")
        os.mkdir(layer)
        captured = capture_layer(self.upper, self.lowers, layer, **options)
        assert tuple(captured) == tuple(write_layer(layer, None, self.lowers))
        return layer


@pytest.fixture
def work(kernel: Overlay, tmp_path: Path) -> Work:
    return Work(kernel, tmp_path)


def short(found: list[Change]) -> list[str]:
    return [f"{change.kind[0].upper()} {change.path} {','.join(change.what)}".strip() for change in found]


def test_nothing_done_is_no_change(work: Work) -> None:
    assert work.do() == []
    assert os.listdir(work.capture()) == []


def test_a_file_opened_for_writing_is_no_change(work: Work) -> None:
    assert work.do(("open", "etc/passwd"), ("append", "etc/motd", b"")) == []
    assert os.path.exists(f"{work.upper}/etc/passwd"), "it was copied up all the same"
    assert os.listdir(work.capture()) == []


def test_the_same_content_written_again_is_a_change_of_time(work: Work) -> None:
    assert short(work.do(("again", "etc/motd"))) == ["M /etc/motd mtime"]


def test_new_content_with_the_old_size_and_time_is_seen(work: Work) -> None:
    assert short(
        work.do(("remove", "etc/motd"), ("write", "etc/motd", b"HELLO\n"), ("utime", "etc/motd", 10**18))
    ) == ["M /etc/motd content"]
    assert os.listdir(f"{work.capture()}/etc") == ["motd"]


def test_each_way_of_modification(work: Work) -> None:
    found = work.do(
        ("chmod", "etc/passwd", 0o600),
        ("chown", "etc/motd", 7),
        ("xattr", "bin", "user.k", b"v"),
        ("chmod", "etc", 0o700),
        ("append", "etc/motd", b"more"),
    )
    assert short(found) == ["M /bin xattr", "M /etc mode", "M /etc/motd content,owner", "M /etc/passwd mode"]
    assert [(change.size, change.old_size) for change in found if change.path == "/etc/motd"] == [(10, 6)]


def test_a_deleted_directory_is_one_change(work: Work) -> None:
    assert short(work.do(("remove", "etc"))) == ["D /etc"]


def test_a_directory_made_again_is_compared_with_the_old_one(work: Work) -> None:
    found = work.do(("remake", "etc"), ("write", "etc/motd", b"new"), ("write", "etc/added", b"x"))
    assert short(found) == ["A /etc/added", "M /etc/motd content", "D /etc/passwd"]
    assert sorted(os.listdir(f"{work.capture()}/etc")) == ["added", "motd", "passwd"]


def test_a_type_that_changed(work: Work) -> None:
    found = work.do(("replace", "etc"), ("remove", "bin"), ("mkdir", "bin/x"))
    assert short(found) == ["M /bin type", "A /bin/x", "M /etc type"]
    assert [change.type for change in found] == ["directory", "directory", "symlink"]


def test_what_came_and_went_is_no_change(work: Work) -> None:
    assert work.do(("write", "x", b""), ("remove", "x"), ("mkdir", "y/z"), ("remove", "y")) == []


def test_only_what_was_asked_for(work: Work) -> None:
    work.do(("write", "etc/new", b""), ("write", "other", b""), ("remove", "bin"), ("write", "etcetera", b""))
    assert short(changes(work.upper, work.lowers, ["/etc"])) == ["A /etc/new"]
    assert short(changes(work.upper, work.lowers, ["etc/new/", "/bin"])) == ["D /bin", "A /etc/new"]
    assert len(changes(work.upper, work.lowers, ["/"])) == 4
    assert changes(work.upper, work.lowers, ["/etc/nothing"]) == []


def test_a_path_whose_parent_went_is_answered_with_the_parent(work: Work) -> None:
    work.do(("remove", "etc"))
    assert short(changes(work.upper, work.lowers, ["/etc/passwd"])) == ["D /etc"]


def test_sorted_by_path(work: Work) -> None:
    work.do(("mkdir", "a/b"), ("write", "a-b", b""), ("write", "a/c", b""))
    paths = [change.path for change in changes(work.upper, work.lowers)]
    assert paths == sorted(paths)


def test_a_name_that_is_not_utf8(work: Work) -> None:
    work.do(("write", "n\udcff", b""))
    assert [os.fsencode(change.path) for change in changes(work.upper, work.lowers)] == [b"/n\xff"]


def test_sockets_are_shown_and_left_out_of_layers(work: Work) -> None:
    work.do(("remove", "bin"))
    os.unlink(f"{work.upper}/bin")
    directory = os.open(work.upper, os.O_RDONLY)
    for name in ("bin", "fresh"):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{directory}/{name}")  # the whole path is longer than a socket's may be
    os.close(directory)
    assert short(changes(work.upper, work.lowers)) == ["M /bin type", "A /fresh"]
    layer = work.capture()
    assert os.listdir(layer) == ["bin"]
    assert short(changes(layer, work.lowers)) == ["D /bin"]


def test_the_root_itself_can_change(work: Work) -> None:
    work.do(("write", "x", b""))
    os.chmod(work.upper, 0o700)
    assert short(changes(work.upper, work.lowers)) == ["M / mode", "A /x"]
    layer = work.capture()
    assert os.stat(layer).st_mode & 0o777 == 0o700
    with open(f"{layer}.tar", "wb") as out:
        write_layer(layer, out, work.lowers)
    listed = subprocess.run(["tar", "-tf", f"{layer}.tar"], capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines() == ["./", "x"]


def test_a_part_without_the_change_of_its_directory(work: Work) -> None:
    work.do(("chmod", "etc", 0o700), ("append", "etc/motd", b"x"))
    layer = work.capture(keep=lambda change: change.path == "/etc/motd")
    assert os.stat(f"{layer}/etc").st_mode & 0o777 == 0o755
    assert short(changes(layer, work.lowers)) == ["M /etc/motd content"]


def test_capturing_twice_gives_the_same_digest(work: Work, tmp_path: Path) -> None:
    work.do(("remake", "etc"), ("write", "etc/x", b"1"), ("link", "y", "etc/x"), ("fifo", "p"))
    (tmp_path / "second").mkdir()
    first = write_layer(work.capture(), None, work.lowers)
    assert capture_layer(work.upper, work.lowers, str(tmp_path / "second")).diff_id == first.diff_id


def test_trees_of_images_are_compared_both_ways(work: Work) -> None:
    work.do(("remove", "etc/motd"), ("write", "new", b"12"))
    layer = work.capture()
    assert short(tree_changes([layer, *work.lowers], work.lowers)) == ["D /etc/motd", "A /new"]
    assert short(tree_changes(work.lowers, [layer, *work.lowers])) == ["A /etc/motd", "D /new"]
    assert tree_changes(work.lowers, work.lowers) == []
    assert {change.path for change in tree_changes([], work.lowers)} == {"/bin", "/etc"}


def test_the_diff_of_a_text(work: Work) -> None:
    work.do(("write", "etc/passwd", b"root\nbin\nlast"))
    diff = file_diff(work.upper, work.lowers, "/etc/passwd")
    assert (diff.kind, diff.binary, diff.added, diff.removed, diff.truncated) == (
        "modified",
        False,
        1,
        1,
        False,
    )
    assert diff.text.splitlines() == [
        "--- a/etc/passwd",
        "+++ b/etc/passwd",
        "@@ -1,3 +1,3 @@",
        " root",
        "-daemon",
        " bin",
        "+last",
        "\\ No newline at end of file",
    ]


def test_the_diff_of_everything_else(work: Work) -> None:
    work.do(
        ("append", "bin", b"\0"),
        ("write", "new", b"one\ntwo\n"),
        ("chmod", "etc/motd", 0o600),
        ("remove", "etc/passwd"),
        ("symlink", "s", "target"),
        ("mkdir", "d"),
    )
    binary = file_diff(work.upper, work.lowers, "/bin")
    assert binary.binary
    assert "00000000  7f 45 4c 46" in binary.text
    new = file_diff(work.upper, work.lowers, "new")
    assert (new.path, new.kind, new.added) == ("/new", "added", 2)
    mode = file_diff(work.upper, work.lowers, "/etc/motd")
    assert mode.text == "Changed: mode 0644 → 0600."
    gone = file_diff(work.upper, work.lowers, "/etc/passwd")
    assert (gone.kind, gone.removed) == ("deleted", 3)
    assert file_diff(work.upper, work.lowers, "/s").text == "A link to 'target' was added."
    assert file_diff(work.upper, work.lowers, "/d").text == "A directory was added."
    with pytest.raises(NotFoundError):
        file_diff(work.upper, work.lowers, "/nothing")


def test_the_diff_of_a_large_text_is_cut(work: Work) -> None:
    work.do(("write", "large", b"line\n" * 1000))
    diff = file_diff(work.upper, work.lowers, "/large", limit=100)
    assert diff.truncated
    assert diff.added == 20
