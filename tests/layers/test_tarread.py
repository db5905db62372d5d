"""The reader against what `tarfile` and GNU tar write, in all their formats, and against damaged archives."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ArchiveError
from engine.layers.apply import apply_layer
from engine.layers.tarmember import CHAR, DIRECTORY, FILE, LINK, SYMLINK, Member
from engine.layers.tarread import TarReader
from tests.layers.tars import directory, file, link, node, symlink, tar
from tests.layers.trees import snapshot


class Dribble:
    """A stream that gives less than it is asked for, as a socket does."""

    def __init__(self, data: bytes, most: int) -> None:
        self._inner = io.BytesIO(data)
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        return self._inner.read(min(size, self._most) if size >= 0 else self._most)


def read(data: bytes, most: int = 1 << 20) -> list[tuple[Member, bytes]]:
    reader = TarReader(Dribble(data, most))
    return [(member, reader.read_data(1 << 30)) for member in reader]


FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(
                st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]),
                min_size=1,
                max_size=150,
            ),
            st.binary(max_size=1500),
            st.integers(0, 0o7777),
            st.integers(0, 2**31),
            st.integers(0, 2**33 - 1),
        ),
        max_size=6,
    ),
    st.sampled_from(["gnu", "pax"]),
    st.sampled_from([1, 100, 511, 512, 700, 1 << 20]),
)
def test_what_tarfile_writes_is_read(
    entries: list[tuple[str, bytes, int, int, int]], form: str, most: int
) -> None:
    made = [
        file(name, data, mode=mode, uid=owner, gid=owner + 1, mtime=mtime)
        for name, data, mode, owner, mtime in entries
    ]
    found = read(tar(*made, form=FORMATS[form]), most)
    assert [
        (member.name.decode(), data, member.mode, member.uid, member.mtime_ns) for member, data in found
    ] == [(name, data, mode, owner, mtime * 10**9) for name, data, mode, owner, mtime in entries]


@pytest.mark.parametrize("form", FORMATS)
def test_every_kind_of_entry(form: str) -> None:
    data = tar(
        directory("d/"),
        file("d/f", b"x" * 1025),
        symlink("d/s", "../elsewhere"),
        link("d/l", "d/f"),
        node("d/c", "char", devmajor=5, devminor=1),
        node("d/p", "fifo"),
        file("p" * 90 + "/" + "n" * 90, b"1"),
        form=FORMATS[form],
    )
    members = [member for member, _ in read(data)]
    assert [member.kind for member in members] == [DIRECTORY, FILE, SYMLINK, LINK, CHAR, b"6", FILE]
    assert members[2].link == b"../elsewhere"
    assert members[3].link == b"d/f"
    assert members[4].device == (5, 1)
    assert members[6].name == b"p" * 90 + b"/" + b"n" * 90


@pytest.fixture
def rich_tree(tmp_path: Path) -> Path:
    """What makes formats differ: long, odd and binary names, big owners, fine and old times, holes,
    attributes.
    """
    tree = tmp_path / "tree"
    deep = tree / ("d" * 80) / ("e" * 80) / ("f" * 80)
    deep.mkdir(parents=True)
    (deep / ("g" * 200)).write_bytes(b"deep")
    (tree / "é\n ").write_bytes(b"odd")
    with open(os.fsencode(tree) + b"/\xff\xfe", "wb") as binary:
        binary.write(b"not UTF-8")
    (tree / ("L" * 99)).symlink_to("t" * 300)
    os.link(deep / ("g" * 200), tree / "same")
    os.mkfifo(tree / "fifo")
    (tree / "old").write_bytes(b"")
    os.utime(tree / "old", ns=(0, 1_600_000_000_123_456_789))
    (tree / "owned").write_bytes(b"")
    os.chown(tree / "owned", 3_000_000, 4_000_000)
    os.chmod(tree / "owned", 0o6711)
    for count, name in ((1, "sparse"), (30, "holes")):
        with open(tree / name, "wb") as holes:
            for index in range(count):
                holes.seek(index * 100_000 + 70_000)
                holes.write(b"data" * 2000)
            holes.truncate(5_000_000)
    return tree


@pytest.mark.kernel
@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=gnu", "--sparse"],
        ["--format=pax"],
        ["--format=pax", "--sparse", "--sparse-version=0.0"],
        ["--format=pax", "--sparse", "--sparse-version=0.1"],
        ["--format=pax", "--sparse", "--sparse-version=1.0"],
        ["--format=pax", "--xattrs", "--xattrs-include=*"],
        ["--format=pax", "--pax-option=globexthdr.name=g,comment=hello"],
    ],
    ids=" ".join,
)
def test_what_gnu_tar_writes_is_unpacked_equal(tmp_path: Path, rich_tree: Path, options: list[str]) -> None:
    if "--xattrs" in options:
        os.setxattr(rich_tree / "old", "user.k", b"\0v\n")
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", *options, "-C", rich_tree, "-cf", archive, "."], check=True)
    copy, judge = tmp_path / "copy", tmp_path / "judge"
    copy.mkdir()
    judge.mkdir()
    with open(archive, "rb", buffering=0) as stream:
        apply_layer(stream, str(copy))
    extract = ["tar", "--xattrs", "--xattrs-include=*", "-xpf", archive, "-C", judge]
    subprocess.run(extract, check=True)
    assert snapshot(copy) == snapshot(judge)
    if "--sparse" in options:
        assert os.stat(copy / "sparse").st_blocks * 512 < 1_000_000


def test_the_old_unix_format_and_its_directories() -> None:
    data = tar(directory("d"), file("f", b"abc"), form=tarfile.USTAR_FORMAT)
    old = bytearray(data)
    for start, name in ((0, b"d/"), (512, b"f")):
        old[start : start + 2] = name.ljust(2, b"\0")
        old[start + 156] = 0
        old[start + 257 : start + 345] = bytes(88)
        old[start + 148 : start + 156] = b" " * 8
        old[start + 148 : start + 156] = b"%06o\0 " % sum(old[start : start + 512])
    found = read(bytes(old))
    assert [(member.name, member.kind, content) for member, content in found] == [
        (b"d/", DIRECTORY, b""),
        (b"f", FILE, b"abc"),
    ]


def test_pax_records_override_and_globals_last() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"gid": "77"}) as archive:
        info = tarfile.TarInfo("short")
        info.pax_headers = {"path": "other", "mtime": "-1.25", "SCHILY.xattr.user.a": "b=c"}
        archive.addfile(info)
        archive.addfile(tarfile.TarInfo("second"))
    (first, _), (second, _) = read(out.getvalue())
    assert (first.name, first.gid, first.mtime_ns, first.xattrs) == (
        b"other",
        77,
        -1_250_000_000,
        {"user.a": b"b=c"},
    )
    assert (second.name, second.gid, second.xattrs) == (b"second", 77, {})


def test_libarchives_attributes_are_decoded() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("f")
        info.pax_headers = {"LIBARCHIVE.xattr.user.a%20b": "AAEC/w"}
        archive.addfile(info)
    ((member, _),) = read(out.getvalue())
    assert member.xattrs == {"user.a b": b"\0\1\2\xff"}


def test_an_archive_may_lack_its_end_marker() -> None:
    assert len(read(tar(file("f", b"x"))[:1024])) == 1
    assert read(b"") == []


@given(st.integers(0, 4000))
@settings(deadline=None)
def test_a_truncated_archive_is_refused(length: int) -> None:
    whole = tar(directory("d"), file("d/f", b"x" * 1800), file("g" * 120, b"y"))
    cut = whole[: min(length, len(whole))]
    boundary = {0, 512, 512 + 512 + 2048, 512 + 512 + 2048 + 3 * 512, 512 + 512 + 2048 + 3 * 512 + 512}
    if len(cut) in boundary or len(cut) > max(boundary):
        return
    with pytest.raises(ArchiveError):
        read(cut)


def damaged(offset: int, field: bytes, *, header: int = 0, fix: bool = True) -> bytes:
    """A small archive with *field* in one of its headers, checksum made right again."""
    data = bytearray(tar(file("f", b"x" * 600), form=tarfile.GNU_FORMAT))
    data[header + offset : header + offset + len(field)] = field
    if fix:
        data[header + 148 : header + 156] = b" " * 8
        data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(damaged(0, b"z", fix=False), id="checksum"),
        pytest.param(damaged(124, b"77777777777\0"), id="size beyond the end"),
        pytest.param(damaged(124, b"\x80" + b"\xff" * 11), id="size beyond all files"),
        pytest.param(damaged(124, b"\xff" * 12), id="negative size"),
        pytest.param(damaged(124, b"0000000_12\0\0"), id="size with an underscore"),
        pytest.param(damaged(124, b"0x10\0\0\0\0\0\0\0\0"), id="hexadecimal size"),
        pytest.param(damaged(124, b"-0000000010\0"), id="signed size"),
        pytest.param(damaged(108, b"\xff" * 8), id="negative owner"),
        pytest.param(damaged(108, b"\x80\0\0\1\0\0\0\0"), id="owner beyond 32 bits"),
        pytest.param(damaged(136, b"\x80" + b"\xff" * 11), id="time beyond all clocks"),
        pytest.param(damaged(156, b"Z"), id="unknown type"),
        pytest.param(damaged(156, b"L"), id="name of a name"),
        pytest.param(damaged(156, b"x"), id="PAX header that is none"),
        pytest.param(damaged(156, b"S"), id="sparse file without map"),
        pytest.param(damaged(0, bytes(512), fix=False), id="lone zero block"),
    ],
)
def test_a_malformed_header_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(data)


def pax(body: bytes, kind: bytes = b"x") -> bytes:
    """An archive of one file after a PAX header with exactly this *body*."""
    info = tarfile.TarInfo("pax")
    info.type = kind
    info.size = len(body)
    return (
        info.tobuf(tarfile.USTAR_FORMAT)
        + body.ljust(-(-len(body) // 512) * 512, b"\0")
        + tar(file("f", b"x"))
    )


@pytest.mark.parametrize(
    "body",
    [
        b"10 path=ab\n",
        b"12 path=ab\n",
        b"99 path=ab\n",
        b"path=ab\n",
        b"-1 path=ab\n",
        b"0 a=b\n",
        b"5 =b\n",
        b"6 abc\n",
        b"12 path=a\0c\n",
        b"11 size=-1\n",
        b"11 size=0x\n",
        b"12 size=1_0\n",
        b"13 mtime=nan\n",
        b"13 mtime=1e9\n",
        b"29 mtime=9999999999999999999\n",
        b"18 uid=4294967295\n",
        b"9" * 5000,
        b"26 GNU.sparse.numbytes=1\n",
        b"22 GNU.sparse.size=1\n25 GNU.sparse.map=0,1,1\n",
        b"22 GNU.sparse.size=1\n23 GNU.sparse.map=0,2\n",
        b"22 GNU.sparse.size=9\n27 GNU.sparse.map=1,1,0,1\n",
        b"22 GNU.sparse.major=2\n22 GNU.sparse.minor=0\n",
        b"28 LIBARCHIVE.xattr.a=****\n",
        b"17 SCHILY.xattr.=\n",
    ],
)
def test_a_malformed_pax_header_is_refused(body: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(pax(body))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_damage_makes_it_fail_in_any_other_way(data: st.DataObject) -> None:
    whole = bytearray(
        tar(directory("d"), file("d/" + "g" * 120, b"x" * 700, mtime=1.5), symlink("s", "t" * 120))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, 6000))
        whole[where : where + 1] = data.draw(st.binary(max_size=3))
    for start in range(0, len(whole) - 511, 512):
        if whole[start + 257 : start + 262] == b"ustar":
            whole[start + 148 : start + 156] = b" " * 8
            whole[start + 148 : start + 156] = b"%06o\0 " % sum(whole[start : start + 512])
    try:
        found = read(bytes(whole))
    except ArchiveError:
        return
    for member, content in found:
        assert len(content) == member.size
