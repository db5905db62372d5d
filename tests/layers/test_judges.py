"""Random trees between cowl and other people's tar: what one writes the other unpacks to the same tree."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.layers.apply import apply_layer
from engine.layers.tarread import TarReader
from engine.layers.tarwrite import write_layer
from tests.layers.trees import TREES, Planned, Seen, build, snapshot

pytestmark = [pytest.mark.kernel, pytest.mark.peers("tar", "bsdtar")]
Plan = list[tuple[list[bytes], Planned]]

FEW = settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
XATTRS = ["--xattrs", "--xattrs-include=*"]
WRITERS = {
    "GNU tar, pax": ["tar", "--format=posix", *XATTRS],
    "GNU tar, pax, sparse 1.0": ["tar", "--format=posix", "--sparse", *XATTRS],
    "GNU tar, gnu": ["tar", "--format=gnu", "--sparse"],
    "bsdtar, gnutar": ["bsdtar", "--format=gnutar"],
    "bsdtar, pax": [
        "bsdtar",
        "--format=pax",
        "--no-read-sparse",
        "--xattrs",
        "--no-acls",
    ],
}


def below_root(tree: str) -> dict[bytes, Seen]:
    """What bsdtar can be the judge of: not the root, the time of which it does not restore; not times before
    1970 that are no whole seconds; not attributes with `=` in their names, the escape of which it takes for
    another name. (It cuts names of sparse files that are not UTF-8, and so is told not to look for holes.)
    """
    return {
        path: seen._replace(
            mtime_ns=max(seen.mtime_ns, 0),
            xattrs=tuple(each for each in seen.xattrs if not {"%", "="} & set(each[0])),
        )
        for path, seen in snapshot(tree).items()
        if path
    }


@pytest.mark.parametrize("writer", WRITERS)
@FEW
@given(plan=TREES)
def test_what_others_write_is_unpacked_equal(tmp_path: Path, writer: str, plan: Plan) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
        tree, copy, judge = (f"{scratch}/{name}" for name in ("tree", "copy", "judge"))
        for path in (tree, copy, judge):
            os.mkdir(path)
        build(tree, plan)
        archive = f"{scratch}/it.tar"
        subprocess.run([*WRITERS[writer], "-C", tree, "-cf", archive, "."], check=True, capture_output=True)
        with open(archive, "rb", buffering=0) as stream:
            apply_layer(stream, copy)
        command, *options = WRITERS[writer]
        kept = [option for option in options if "xattrs" in option]
        extract = [command, "-xp", "--same-owner", *kept, "-f", archive, "-C", judge]
        subprocess.run(extract, check=True, capture_output=True)
        assert below_root(copy) == below_root(judge)


@FEW
@given(plan=TREES)
def test_bsdtar_unpacks_what_is_written(tmp_path: Path, plan: Plan) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
        tree, copy = f"{scratch}/tree", f"{scratch}/copy"
        os.mkdir(tree)
        os.mkdir(copy)
        build(tree, [(names, each._replace(mtime_ns=abs(each.mtime_ns))) for names, each in plan])
        with open(f"{scratch}/it.tar", "wb") as out:
            write_layer(tree, out)
        command = ["bsdtar", "-xp", "--xattrs", "--same-owner", "-f", f"{scratch}/it.tar", "-C", copy]
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode:  # it warns of names that are not UTF-8, and takes them all the same
            assert b"can't be converted" in done.stderr
        assert below_root(copy) == below_root(tree)


@FEW
@given(
    name=st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name),
    link=st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    owner=st.integers(0, 2**32 - 2),
    time=st.integers(-(2**34), 2**34),
)
def test_headers_that_tarfile_writes(name: bytes, link: bytes, form: int, owner: int, time: int) -> None:
    """Names of any bytes, base-256 and decimal numbers, times before 1970."""
    info = tarfile.TarInfo(os.fsdecode(name))
    info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(link)
    info.uid, info.gid, info.mtime = owner, owner // 2, time
    block = info.tobuf(form, "utf-8", "surrogateescape")
    (member,) = TarReader(io.BytesIO(block + bytes(1024)))
    assert (member.name, member.link) == (name, link)
    assert (member.uid, member.gid, member.mtime_ns) == (owner, owner // 2, time * 10**9)


def test_a_binary_name_that_says_so(tmp_path: Path) -> None:
    """POSIX.1-2017, pax: hdrcharset=BINARY stands before names that are not UTF-8; bsdtar writes it."""
    (tmp_path / "tree").mkdir()
    name = b"\xff\xfe" * 60
    with open(os.fsencode(tmp_path) + b"/tree/" + name, "wb"):
        pass
    archive = tmp_path / "it.tar"
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    command = ["bsdtar", "--format=pax", "-C", tmp_path / "tree", "-cf", archive, "."]
    subprocess.run(command, check=True, env=environment)
    assert b"hdrcharset=BINARY" in archive.read_bytes()
    (tmp_path / "copy").mkdir()
    with archive.open("rb") as stream:
        apply_layer(stream, str(tmp_path / "copy"))
    assert set(snapshot(tmp_path / "copy")) == {b"", name}
