"""A layer that two processes unpack is the layer that one unpacks: same tree, same account, same errors."""

from __future__ import annotations

import io
import os
import random
import signal
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ArchiveError, CowlError, NoSpaceError, StoreError
from engine.layers.apply import Applied, apply_layer
from engine.layers.child import Child
from engine.layers.tardata import CHUNK
from tests.layers.tars import BLOCK, Entry, directory, file, link, node, symlink, tar
from tests.layers.trees import Seen, snapshot

pytestmark = pytest.mark.kernel

Outcome = tuple[Applied | str, dict[bytes, Seen]]


class Dribble(io.BytesIO):
    """A stream that gives at most *most* bytes at once."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._most if size is None or size < 0 else min(size, self._most))


def look(tree: Path) -> dict[bytes, Seen]:
    """What is there; when a whiteout was made is of no interest."""
    found = snapshot(str(tree))
    return {
        path: seen._replace(mtime_ns=0) if stat.S_ISCHR(seen.kind) else seen for path, seen in found.items()
    }


def apply(data: bytes, tree: Path, *, fork: bool, most: int = CHUNK) -> Outcome:
    tree.mkdir(parents=True)
    try:
        return apply_layer(Dribble(data, most), str(tree), fork=fork), look(tree)
    except CowlError as error:
        return f"{type(error).__name__}: {error}", {}


def both(tmp_path: Path, data: bytes, most: int = CHUNK) -> Outcome:
    where = tmp_path / str(len(list(tmp_path.iterdir())))
    before = children()
    one, two = (apply(data, where / str(fork), fork=fork, most=most) for fork in (False, True))
    assert two == one
    assert children() <= before
    return two


def children() -> set[str]:
    """Processes that this one has started and not waited for, dead ones too."""
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/c", "a/b/c", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "../a", "n" * 200]
)
ENTRIES = st.one_of(
    st.builds(
        file, NAMES, st.sampled_from([b"", b"x" * 511, b"y" * 70_000]), mode=st.sampled_from([0o644, 0o4755])
    ),
    st.builds(directory, NAMES),
    st.builds(symlink, NAMES, NAMES),
    st.builds(link, NAMES, NAMES),
    st.builds(node, NAMES, st.just("fifo")),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ENTRIES, max_size=10), st.sampled_from([100, 512, 5000, CHUNK]))
def test_any_layer(tmp_path: Path, entries: list[Entry], most: int) -> None:
    data = tar(*entries)
    both(tmp_path, data, most)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ENTRIES, min_size=1, max_size=5), st.integers(1, 4))
def test_any_truncated_layer(tmp_path: Path, entries: list[Entry], cut: int) -> None:
    """Of two faults either may be told first: what is written and what is read go on side by side."""
    data = tar(*entries).rstrip(b"\0")
    cut_off = data[: max(1, len(data) - cut)]
    tree = tmp_path / str(len(list(tmp_path.iterdir())))
    tree.mkdir()
    with pytest.raises(ArchiveError):
        apply_layer(Dribble(cut_off, 5000), str(tree), fork=True)


def test_data_over_many_chunks(tmp_path: Path) -> None:
    numbers = random.Random(7)
    sizes = [0, 1, CHUNK - BLOCK, CHUNK, CHUNK + 1, 12 * CHUNK + 77, 3]
    data = tar(directory("d"), *(file(f"d/{size}", numbers.randbytes(size)) for size in sizes))
    applied, tree = both(tmp_path, data)
    assert isinstance(applied, Applied)
    assert applied.size == sum(sizes)
    assert {path for path in tree if path} == {b"d", *(b"d/%d" % size for size in sizes)}


def test_data_that_nobody_takes(tmp_path: Path) -> None:
    raw = bytearray(tar(file("dump", bytes(20 * CHUNK)), file("after", b"x")))
    raw[156:157] = b"D"  # a directory's listing, as GNU tar's incremental archives have it
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:BLOCK])
    applied, tree = both(tmp_path, bytes(raw))
    assert isinstance(applied, Applied)
    assert {b"dump", b"after"} < set(tree)


def test_sparse_files_stay_sparse(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "holes", "wb") as file_:
        for offset in (0, 5 << 20, 30 << 20):
            file_.seek(offset)
            file_.write(b"data")
        file_.truncate(64 << 20)
    for form in ("gnu", "pax"):
        archive = subprocess.check_output(
            ["tar", "-C", source, "--sparse", f"--format={form}", "-cf", "-", "holes"]
        )
        applied, tree = both(tmp_path, archive)
        assert isinstance(applied, Applied)
        assert applied.size == 64 << 20
        assert tree[b"holes"].content


def test_a_full_disk_is_the_childs_news(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        with pytest.raises(NoSpaceError):
            apply_layer(io.BytesIO(tar(file("big", b"x" * (40 * CHUNK)))), str(small), fork=True)
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_source_that_fails_ends_the_child(tmp_path: Path) -> None:
    class Broken(Dribble):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 3 * CHUNK:
                raise ArchiveError("it broke")
            return super().read(size)

    before = children()
    with pytest.raises(ArchiveError, match="it broke"):
        apply_layer(Broken(tar(file("big", b"x" * (9 * CHUNK))), CHUNK), str(tmp_path), fork=True)
    assert children() <= before


def test_a_child_that_is_killed_is_told_of() -> None:
    with (
        Child(lambda: os.kill(os.getpid(), signal.SIGKILL)) as child,
        pytest.raises(StoreError, match="signal 9"),
    ):
        child.result()
