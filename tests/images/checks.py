"""What the tests of checks do with stores: look at them, and change them behind their back."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.images.check import check
from engine.images.damage import CheckReport
from engine.images.images import Images
from engine.images.load import load
from engine.store.store import Store
from tests.images import peers
from tests.images.archives import docker_archive, simple_layer
from tests.layers import tars

FIRST = tars.tar(
    tars.directory("etc"),
    tars.file("etc/passwd", b"root"),
    tars.file("etc/twin", b"twin"),
    tars.link("etc/other", "etc/twin"),
    tars.symlink("etc/link", "passwd"),
    tars.directory("tmp", mode=0o1777),
    tars.directory("gone"),
    tars.file("gone/x", b"x"),
)
SECOND = tars.tar(
    tars.file("tmp/deep/new", b"new"), tars.file("etc/.wh.link", b""), tars.file(".wh.gone", b"")
)


@contextlib.contextmanager
def still(_: str) -> Iterator[bool]:
    """No container runs."""
    yield True


def look(store: Store, repair: bool = False) -> CheckReport:
    return check(store, repair=repair, quiet=still)


def make_archives(where: Path) -> None:
    """Make `a.tar`, `b.tar` and `root`, a store that has both.

    `a:1` has two layers, the second compressed, and `b:1` the first of them and one more.
    """
    second = gzip.compress(SECOND, mtime=0)
    store = Store(str(where / "root"))
    load(store, docker_archive(where / "a.tar", [FIRST, second], names=("a:1",)))
    load(store, docker_archive(where / "b.tar", [FIRST, simple_layer("three")], names=("b:1",)))
    report = look(store)
    assert report.is_clean, report
    assert (report.nodes, report.blobs, report.manifests) == (3, 3, 2)
    store.close()


def take(store: Store, archives: Path) -> Images:
    """Make the empty *store* a copy of the one that `make_archives` made."""
    store.close()
    shutil.rmtree(store.layout.root)
    peers.run("cp", "-a", str(archives / "root"), store.layout.root)
    return Images(store)


def layer_of(store: Store, name: str) -> str:
    """The tree of an image's topmost layer."""
    return store.layout.tree(Images(store).resolve(name).chain_id)


def base_of(store: Store) -> str:
    parent = Images(store).resolve("a:1").parent
    assert parent is not None
    return store.layout.tree(parent)


def flip(path: str) -> None:
    """Change one bit, and nothing that stat(2) could tell."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
