"""Deep stacks, and mount points that an image lacks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.store import clock, records
from tests.support import images
from tests.support.captures import run, start
from tests.support.traces import Root

pytestmark = pytest.mark.kernel


def add_layer(engine: Engine, parent: str | None, name: str) -> tuple[str, str]:
    """Record a node on *parent*; its chain ID and the tree to be filled."""
    diff = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
    chain = "sha256:" + hashlib.sha256(f"{parent} {diff}".encode()).hexdigest() if parent else diff
    tree = engine.store.layout.tree(chain)
    os.makedirs(tree)
    with engine.store.write() as connection:
        records.add_node(connection, records.NodeRow(chain, parent, diff, 0, 0, clock.now(), name, ""))
        add_image(connection, chain)
    return chain, tree


def add_image(connection: sqlite3.Connection, chain: str) -> None:
    """An image without a name, as each node has one; its configuration says nothing."""
    nodes = [records.node_row(connection, node) for node in reversed(records.lineage(connection, chain))]
    diffs = [node.diff_id for node in nodes if node]
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diffs}}).encode()
    layers = [records.LayerRow(node.chain_id, node.diff_id, 0, "", False) for node in nodes if node]
    records.add_manifest(
        connection, records.ManifestRow(f"sha256:{chain[-8:]}", "", b"", "", config, chain), layers
    )


def test_a_hundred_and_twenty_eight_layers(root: Root) -> None:
    with Engine(root.path) as engine:
        chain, tree = add_layer(engine, None, "base")
        images.tiny_tree(tree)
        for number in range(1, 128):
            chain, tree = add_layer(engine, chain, f"{number}")
            Path(tree, f"f{number}").write_text(f"{number}")
            Path(tree, "top").write_text(f"{number}")
        done = run(engine, "sh", "-c", "cat /f1 /f64 /top", image=chain)
        assert done.out == "164127"


@pytest.mark.parametrize("kind", ["none", "link", "dangling", "chain"])
def test_what_the_image_lacks_is_made_in_the_init_layer(root: Root, kind: str) -> None:
    with Engine(root.path) as engine:
        chain, tree = add_layer(engine, None, kind)
        images.tiny_tree(tree)
        for name in ("proc", "sys", "dev"):
            os.rmdir(f"{tree}/{name}")
        if kind == "link":
            shutil.move(f"{tree}/etc", f"{tree}/usr/etc")
            os.symlink("usr/etc", f"{tree}/etc")
            os.chmod(f"{tree}/usr/etc", 0o750)
        elif kind == "dangling":
            os.symlink("../run/systemd/resolve/stub.conf", f"{tree}/etc/resolv.conf")
        elif kind == "chain":
            os.symlink("/../../../a/b", f"{tree}/etc/hosts")
            os.symlink("c", f"{tree}/a")
        name = start(
            engine, "sh", "-c", "cat /etc/hosts; head -c 1 /etc/resolv.conf; cat /proc/1/cmdline", image=chain
        )
        assert engine.containers.wait(name) == 0, list(engine.containers.logs(name))
        assert any("localhost" in line.text for line in engine.containers.logs(name))
        assert engine.changes.of(name) == []
        if kind == "link":
            home = engine.store.layout.container(engine.containers.get(name).id)
            assert os.stat(f"{home.init}/usr/etc").st_mode & 0o777 == 0o750


def test_the_root_directory_is_the_images(root: Root) -> None:
    with Engine(root.path) as engine:
        chain, tree = add_layer(engine, None, "root")
        images.tiny_tree(tree)
        os.chmod(tree, 0o751)
        os.chown(tree, 3, 4)
        name = start(engine, "true", image=chain)
        engine.containers.wait(name)
        home = engine.store.layout.container(engine.containers.get(name).id)
        status = os.stat(home.upper)
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o751, 3, 4)
        assert engine.changes.of(name) == []


def test_set_uid_gives_nothing(root: Root) -> None:
    with Engine(root.path) as engine:
        chain, tree = add_layer(engine, None, "suid")
        images.tiny_tree(tree)
        os.chmod(f"{tree}/usr/bin/cat", 0o4755)
        done = run(engine, "cat", "/proc/self/status", image=chain, user="65534")
        assert "Uid:\t65534\t65534\t65534\t65534" in done.out
