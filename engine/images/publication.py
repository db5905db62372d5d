"""The last step of all that makes images: finished trees and blobs get their places and records at once.

All renames happen inside the one transaction that records them, so that whoever holds the write lock sees
both or neither. What a crash in between leaves is a directory without a record, which the next opening
sweeps.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from engine.errors import StoreError
from engine.store import records
from engine.store.clock import now
from engine.store.faults import point
from engine.store.indexes import NewIndex
from engine.store.indexes import add as add_index
from engine.store.records import LayerRow, ManifestRow, NodeRow
from engine.store.staging import retire, sync, sync_directory
from engine.store.store import Store


class NewNode(NamedTuple):
    """A node of an image to be recorded: with its finished tree, unless the store has it already."""

    row: NodeRow
    staged: str | None
    """The directory that becomes `Layout.layer`."""


class NewBlob(NamedTuple):
    """A blob that a manifest needs: with its bytes, unless the store has them already."""

    digest: str
    staged: str | None


class NewManifest(NamedTuple):
    """A manifest to be recorded, and the names that shall mean it."""

    row: ManifestRow
    layers: tuple[LayerRow, ...]
    names: tuple[str, ...]


class VanishedError(Exception):
    """Another process removed meanwhile what was there when the work was planned: plan again."""


def publish_images(
    store: Store,
    nodes: Sequence[NewNode],
    blobs: Sequence[NewBlob],
    manifests: Sequence[NewManifest],
    step: str,
    indexes: Sequence[NewIndex] = (),
) -> None:
    """Record *nodes* (parents first), *blobs*, *manifests* and *indexes*; everything or nothing.

    *step* names the fault points. What another process recorded meanwhile is used as it is. Raises
    VanishedError, StoreError, NoSpaceError.
    """
    staged = [path for path in (*(n.staged for n in nodes), *(b.staged for b in blobs)) if path]
    if staged:
        sync(staged[0])
    point(f"{step}.after-sync")
    with contextlib.ExitStack() as unless_recorded:
        unless_recorded.callback(store.sweep)  # what was renamed before a failure has no record then
        with store.write() as connection:
            _check(store, connection, nodes, blobs)
            _place(store, connection, nodes, blobs)
            point(f"{step}.after-rename")
            if staged:
                sync_directory(store.layout.layers)
                sync_directory(store.layout.blobs)
            for manifest in manifests:
                records.add_manifest(connection, manifest.row, manifest.layers)
                for name in manifest.names:
                    records.set_tag(connection, name, manifest.row.digest, now())
            for index in indexes:
                add_index(connection, index)
            point(f"{step}.before-commit")
        unless_recorded.pop_all()
    point(f"{step}.after-commit")


def _check(
    store: Store, connection: sqlite3.Connection, nodes: Sequence[NewNode], blobs: Sequence[NewBlob]
) -> None:
    for node in nodes:
        if node.staged is None and records.node_row(connection, node.row.chain_id) is None:
            raise VanishedError
    for blob in blobs:
        if blob.staged is None and not has_blob(store, connection, blob.digest):
            raise VanishedError


def _place(
    store: Store, connection: sqlite3.Connection, nodes: Sequence[NewNode], blobs: Sequence[NewBlob]
) -> None:
    for node in nodes:
        if node.staged and records.add_node(connection, node.row):
            destination = store.layout.layer(node.row.chain_id)
            if os.path.lexists(destination):  # a leftover, as it had no record
                retire(store.layout, destination)
            os.rename(node.staged, destination)
    for blob in blobs:
        if blob.staged:
            os.rename(blob.staged, store.layout.blob(blob.digest))


def lost_blob(digest: str, connection: sqlite3.Connection) -> StoreError:
    """The error for a blob that shall go somewhere and is not there (any more)."""
    if records.is_kept(connection, digest):
        why = "it was damaged or lost; the image runs all the same"
        return StoreError(f"the blob {digest[7:19]} is not here", why, "pull or load the image again")
    return StoreError(f"the layer {digest[:19]} is gone", "it was removed meanwhile", "look at cowl images")


def has_blob(store: Store, connection: sqlite3.Connection, digest: str) -> bool:
    """Whether the blob *digest* is recorded as kept and is there."""
    return records.is_kept(connection, digest) and os.path.exists(store.layout.blob(digest))
