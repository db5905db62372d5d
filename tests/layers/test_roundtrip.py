"""A random tree goes through `write_layer` and `apply_layer` and comes out equal, entry by entry."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from engine.layers.apply import apply_layer
from engine.layers.tarwrite import write_layer
from tests.layers.trees import TREES, Planned, build, snapshot

pytestmark = pytest.mark.kernel

PATIENT = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@PATIENT
@given(plan=TREES)
def test_what_is_written_is_unpacked_equal(tmp_path: Path, plan: list[tuple[list[bytes], Planned]]) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
        tree, copy = f"{scratch}/tree", f"{scratch}/copy"
        os.mkdir(tree)
        os.mkdir(copy)
        build(tree, plan)
        out = io.BytesIO()
        written = write_layer(tree, out)
        data = out.getvalue()
        assert written.tar_size == len(data)
        applied = apply_layer(io.BytesIO(data), copy)
        assert snapshot(copy) == snapshot(tree)
        assert applied == (written.diff_id, written.size, written.file_count, ())
        assert write_layer(copy, None).diff_id == written.diff_id


@PATIENT
@given(plan=TREES)
def test_gnu_tar_unpacks_what_is_written(tmp_path: Path, plan: list[tuple[list[bytes], Planned]]) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
        tree, copy = f"{scratch}/tree", f"{scratch}/copy"
        os.mkdir(tree)
        os.mkdir(copy)
        build(tree, plan)
        with open(f"{scratch}/layer.tar", "wb") as out:
            write_layer(tree, out)
        command = [
            "tar",
            "-x",
            "-p",
            "--same-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-f",
            f"{scratch}/layer.tar",
        ]
        done = subprocess.run([*command, "-C", copy], check=True, capture_output=True)
        assert done.stderr == b"" or b"implausibly old" in done.stderr or b"in the future" in done.stderr
        assert snapshot(copy) == snapshot(tree)


@PATIENT
@given(plan=TREES)
def test_tarfile_reads_what_is_written(tmp_path: Path, plan: list[tuple[list[bytes], Planned]]) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
        tree = f"{scratch}/tree"
        os.mkdir(tree)
        build(tree, plan)
        out = io.BytesIO()
        written = write_layer(tree, out)
        out.seek(0)
        seen = snapshot(tree)
        with tarfile.open(fileobj=out, mode="r:") as archive:
            members = archive.getmembers()
        assert len(members) == written.file_count + 1
        for member in members:
            entry = seen[b"" if member.name == "." else os.fsencode(member.name)]
            assert (member.uid, member.gid) == entry.owner
            assert member.size == (entry.size if member.isreg() else 0)
            if not member.issym():
                assert member.mode == entry.mode


def test_the_same_tree_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "d").mkdir(parents=True)
        order = ["x", "y", "d/z"] if name == "one" else ["d/z", "y", "x"]
        for file in order:
            (tmp_path / name / file).write_text(file)
        for path in [*order, "d", ""]:
            os.utime(tmp_path / name / path, ns=(5, 1_700_000_000_000_000_007))
    first, second = (write_layer(str(tmp_path / name), None) for name in ("one", "two"))
    assert first == second
    shutil.copystat(tmp_path / "one" / "x", tmp_path / "two" / "y")
    os.utime(tmp_path / "two" / "y", ns=(5, 1_700_000_000_000_000_008))
    assert write_layer(str(tmp_path / "two"), None).diff_id != first.diff_id


def test_pax_headers_stand_only_where_ustar_cannot_say_it(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"1")
    os.utime(tmp_path / "plain", (1, 1))
    os.utime(tmp_path, (1, 1))
    out = io.BytesIO()
    write_layer(str(tmp_path), out)
    assert b"PaxHeaders" not in out.getvalue()
    os.utime(tmp_path / "plain", ns=(1, 1_500_000_000_000_000_001))
    out = io.BytesIO()
    write_layer(str(tmp_path), out)
    assert out.getvalue().count(b"PaxHeaders") == 1
    assert b"30 mtime=1500000000.000000001\n" in out.getvalue()


def test_file_capabilities_and_set_id_bits_survive(tmp_path: Path) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    tree.mkdir()
    copy.mkdir()
    (tree / "ping").write_bytes(b"#!")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.chown(tree / "ping", 7, 8)
    os.setxattr(tree / "ping", "security.capability", capability)
    (tree / "su").write_bytes(b"#!")
    os.chown(tree / "su", 7, 8)
    os.chmod(tree / "su", 0o6755)
    out = io.BytesIO()
    write_layer(str(tree), out)
    apply_layer(io.BytesIO(out.getvalue()), str(copy))
    assert os.getxattr(copy / "ping", "security.capability") == capability
    assert os.stat(copy / "su").st_mode & 0o7777 == 0o6755


def test_long_runs_of_zeros_take_no_space(tmp_path: Path) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    tree.mkdir()
    copy.mkdir()
    with open(tree / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(40 << 20)
        file.write(b"end")
    out = io.BytesIO()
    write_layer(str(tree), out)
    apply_layer(io.BytesIO(out.getvalue()), str(copy))
    assert (copy / "sparse").read_bytes() == (tree / "sparse").read_bytes()
    assert os.stat(copy / "sparse").st_blocks * 512 < 2 << 20


@pytest.mark.parametrize(("mode", "told"), [(0o700, ["."]), (0o755, [])])
def test_every_layer_tells_of_a_root_that_is_not_the_usual_one(
    tmp_path: Path, mode: int, told: list[str]
) -> None:
    """Other engines show the root of the topmost layer."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for directory in (lower, upper):
        directory.mkdir()
        directory.chmod(mode)
        os.chown(directory, 0, 0)
    out = io.BytesIO()
    write_layer(str(upper), out, [str(lower)])
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert tar.getnames() == told
