"""What the tests of this room do with stores: look at them from outside, make containers that never run."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.model import LaunchOptions
from engine.oci.reference import resolve_image
from engine.store import clock, records
from engine.store.layout import ContainerPaths
from engine.store.records import ContainerRow
from engine.store.store import Store
from tests.layers.overlay import Operation, Overlay
from tests.layers.trees import Seen

NewStore = Callable[[], Store]


class Archives(NamedTuple):
    """One image in all its forms, and its tree as umoci sees it."""

    layout: str
    oci: str
    docker: str
    tree: dict[bytes, Seen]


def merged(store: Store, mounts: Overlay, name: str) -> dict[bytes, Seen]:
    """The tree of the image *name* as the kernel merges it."""
    chain_id, _ = resolve_image(store.connection, name)
    trees = [store.layout.tree(each) for each in records.lineage(store.connection, chain_id)]
    home = f"{store.layout.root}/mounted-{os.urandom(4).hex()}"
    try:
        return mounts.look(trees, home)
    finally:
        for directory in (f"{home}/merged", home):
            os.rmdir(directory)


def new_container(store: Store, name: str, image: str, command: Sequence[str] = ("sh",)) -> ContainerPaths:
    """A container as recorded and laid out, that never ran."""
    chain_id, manifest = resolve_image(store.connection, image)
    bare = manifest if records.find_tag(store.connection, image) else None
    row = ContainerRow(
        os.urandom(32).hex(), name, image, chain_id, bare, clock.now(), tuple(command), LaunchOptions(image)
    )
    paths = store.layout.container(row.id)
    with store.write() as connection:
        records.add_container(connection, row)
        for directory in (paths.home, paths.upper, paths.work, paths.init, paths.rootfs):
            os.makedirs(directory)
    return paths


def change(store: Store, mounts: Overlay, name: str, operations: Sequence[Operation]) -> dict[bytes, Seen]:
    """Do *operations* in the container *name*, on a real overlay; its merged tree afterwards."""
    row = records.container_row(store.connection, name)
    trees = [store.layout.tree(each) for each in records.lineage(store.connection, row.chain_id)]
    return mounts.change(trees, store.layout.container(row.id).home, operations)[1]


def remove_container(store: Store, name: str) -> None:
    row = records.container_row(store.connection, name)
    with store.write() as connection:
        records.delete_container(connection, row.id)
    store.sweep()


def problems(store: Store) -> list[str]:
    """What is wrong with a store that nobody works on: records without directories, and the reverse."""
    layout = store.layout
    found = []
    connection = sqlite3.connect(layout.database)
    try:
        if (said := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            found.append(said)
        found += [f"broken link: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        nodes = {row[0][7:] for row in connection.execute("SELECT chain_id FROM nodes")}
        blobs = {
            row[0][7:] for row in connection.execute("SELECT blob_digest FROM manifest_layers WHERE stored")
        }
        uncovered = connection.execute(
            "SELECT chain_id FROM nodes WHERE chain_id NOT IN (SELECT chain_id FROM manifest_layers)"
        )
        found += [f"no manifest has the node {row[0]}" for row in uncovered]
    finally:
        connection.close()
    on_disk = set(os.listdir(layout.layers))
    found += [f"layer without a record: {name}" for name in on_disk - nodes]
    found += [f"record without a layer: {name}" for name in nodes - on_disk]
    kept = set(os.listdir(layout.blobs))
    found += [f"blob without a record: {name}" for name in kept - blobs]
    found += [f"record without a blob: {name}" for name in blobs - kept]
    found += [
        f"left in {place}: {name}" for place in (layout.staging, layout.trash) for name in os.listdir(place)
    ]
    return found


def in_process(
    store: Store, code: str, *arguments: str, fault: str = "", wait: bool = True
) -> subprocess.Popen[str]:
    """Run *code* in another process that has `store`, `images`, `changes` and the *arguments* as `args`."""
    whole = (
        "import sys\n"
        "from engine.store.store import Store\n"
        "from engine.images.images import Images\n"
        "from engine.changes import Changes\n"
        "store = Store(sys.argv[1]); images = Images(store); changes = Changes(store); args = sys.argv[2:]\n"
        f"{code}\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", whole, store.layout.root, *arguments],
        env={**os.environ, "COWL_FAULT": fault},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        child.outs = child.communicate(timeout=120)  # type: ignore[attr-defined]
    return child
