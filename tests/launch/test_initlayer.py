"""Mount points that an image lacks: the same for its second container, without looking at the image again."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.launch import initlayer, kept, mountpoints
from engine.model import LaunchOptions, Volume
from engine.store.layout import Layout
from tests.support import images

pytestmark = pytest.mark.kernel

Found = dict[str, tuple[int, int, int, float, tuple[tuple[str, bytes], ...]]]


def _found(init: str) -> Found:
    """Everything in *init*: mode, owner, the time of what the image has too, extended attributes."""
    found: Found = {}
    for place, _, files in os.walk(init):
        for path in (place, *(f"{place}/{name}" for name in files)):
            status = os.lstat(path)
            attributes = tuple((name, os.getxattr(path, name)) for name in os.listxattr(path))
            modified = status.st_mtime if path == init else 0
            found[path[len(init) :]] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                modified,
                attributes,
            )
    return found


def _odd(tar: tarfile.TarFile) -> None:
    """A root and an /etc of unusual owners and modes."""
    for name, mode, owner in ((".", 0o1751, 3), ("etc", 0o2775, 7)):
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, owner, owner + 1
        member.mtime = 1_000_000_000
        member.pax_headers = {"SCHILY.xattr.trusted.word": f"of {name}"}
        tar.addfile(member)


@pytest.fixture
def odd(engine: Engine, tmp_path: Path) -> LaunchOptions:
    """Runs `true` in an image that lacks a few places in odd directories."""
    tree = f"{tmp_path}/tree"
    images.tiny_tree(tree)
    base = images.layer(lambda tar: tar.add(tree, "."))
    images.archive(f"{tmp_path}/odd.tar", {"odd:1": [base, images.layer(_odd)]})
    engine.images.load(f"{tmp_path}/odd.tar")
    return LaunchOptions(
        "odd:1", ("true",), network="none", volumes=(Volume(str(tmp_path), "/etc/a/volume"),)
    )


def _run(engine: Engine, options: LaunchOptions) -> Found:
    container = engine.containers.run(options)
    engine.containers.wait(container.id)
    return _found(Layout.of(engine.root).container(container.id).init)


def _kept(engine: Engine) -> list[str]:
    run = Layout.of(engine.root).run
    return [f"{run}/{name}" for name in os.listdir(run) if name.startswith("init-")]


def test_the_second_container_has_what_the_first_one_has(
    engine: Engine, odd: LaunchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _run(engine, odd)
    assert first["/etc"][:3] == (0o042775, 7, 8)
    assert first["/etc"][4] == (("trusted.word", b"of etc"),)
    assert first[""][:3] == (0o041751, 3, 4)
    assert {"/etc/hosts", "/etc/a/volume"} < first.keys()
    assert len(_kept(engine)) == 1
    monkeypatch.delattr(mountpoints, "missing")  # monitors are forked from this process
    second = _run(engine, odd)
    assert second == first


def test_other_mounts_have_another_layer(engine: Engine, odd: LaunchOptions) -> None:
    first = _run(engine, odd)
    other = _run(engine, odd._replace(volumes=()))
    assert "/etc/a/volume" in first
    assert "/etc/a/volume" not in other
    assert len(_kept(engine)) == 2


def test_what_was_changed_before_the_first_start_is_looked_at(engine: Engine, odd: LaunchOptions) -> None:
    _run(engine, odd)
    container = engine.containers.create(odd)
    paths = Layout.of(engine.root).container(container.id)
    os.mkdir(f"{paths.upper}/etc", 0o700)
    os.mkdir(f"{paths.upper}/etc/a", 0o700)
    engine.containers.start(container.id)
    assert engine.containers.wait(container.id) == 0
    assert _found(paths.init)["/etc/a"][0] == 0o040700


def test_a_layer_is_read_as_it_was_kept(engine: Engine, odd: LaunchOptions) -> None:
    made = _run(engine, odd)
    (path,) = _kept(engine)
    entries = initlayer.read(path)
    assert entries is not None
    assert {f"/{entry.path}" if entry.path else "" for entry in entries} == made.keys()
    assert initlayer.read(f"{path}-other") is None


def test_a_full_directory_gets_no_further_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 2)
    for number in range(4):
        kept.keep(f"{tmp_path}/kept/{number}", b"data")
    assert sorted(os.listdir(f"{tmp_path}/kept")) == ["0", "1"]
    assert kept.read(f"{tmp_path}/kept/1", 3) == b"dat"
    kept.keep("/proc/nowhere/at/all", b"data")
    assert kept.read("/proc/nowhere", 3) is None
