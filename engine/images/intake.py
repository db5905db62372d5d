"""What comes into the store from elsewhere: images whose documents are known, and their layers' bytes.

Only what is missing is unpacked. Everything is prepared in a staging area and published in one step, so that
an intake that ends early, for whatever reason, leaves the store as it was.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from engine.errors import StoreError
from engine.images.publication import NewBlob, NewManifest, NewNode, VanishedError, has_blob, publish_images
from engine.images.unpacking import Job, Unpacked
from engine.layers.apply import adopt_parents
from engine.layers.compression import codec_of
from engine.model import JSON
from engine.oci import documents, history
from engine.oci.archive import Extent, read_extent
from engine.oci.bundle import BundledImage, BundledLayer
from engine.store import records
from engine.store.clock import normalise
from engine.store.faults import point
from engine.store.indexes import NewIndex
from engine.store.records import LayerRow, ManifestRow, NodeRow
from engine.store.store import Store

ATTEMPTS = 5
"""How often an intake is planned anew because others removed what it was to build on."""

Unpack: TypeAlias = Callable[[Sequence[Job]], Sequence[Unpacked]]


class _Planned(NamedTuple):
    """A layer of an image in its place."""

    chain_id: str
    parent: str | None
    layer: BundledLayer
    entry: JSON
    """What the image's history says of it."""


class Intake:
    """One attempt at taking *images* into *store*, prepared in the new directory *area*.

    *owned* says that the files with the layers are the store's to keep: then they are moved instead of
    copied, and they may be missing until they are unpacked.
    """

    def __init__(
        self, store: Store, area: str, images: Sequence[BundledImage], *, owned: bool = False
    ) -> None:
        self._store = store
        self._area = area
        self._images = images
        self._owned = owned
        self._step = "pull" if owned else "load"
        self._planned = _plan(images)
        self._nodes: dict[str, _Planned] = {}
        for each in self._planned:
            self._nodes.setdefault(each.chain_id, each)
        self._digests = {each.layer.extent: _known_digest(each.layer) for each in self._planned}
        self._unpacked: dict[str, Unpacked] = {}
        self._kept: dict[Extent, str] = {}
        self._written_anew: set[tuple[str, str | None]] = set()

    def prepare(self, unpack: Unpack) -> None:
        """Have *unpack* verify and unpack what the store lacks."""
        os.mkdir(self._area)
        with self._store.read() as connection:
            planned = [(node, job) for node in self._planned if (job := self._job(connection, node))]
        results = unpack([job for _, job in planned])
        for (node, job), result in zip(planned, results, strict=True):
            self._digests[node.layer.extent] = result.digest
            if job.tree is not None:
                self._unpacked[node.chain_id] = result
        point(f"{self._step}.after-unpack")
        for node in self._nodes.values():
            if unpacked := self._unpacked.get(node.chain_id):
                implicit = [os.fsencode(path) for path in unpacked.implicit]
                self._adopt(node, implicit)

    def _job(self, connection: sqlite3.Connection, node: _Planned) -> Job | None:
        """What is to be done for *node*: nothing, if its tree and its blob are there."""
        layer = node.layer
        extent = layer.extent
        tree = blob = None
        digest = self._digests[extent]
        if records.node_row(connection, node.chain_id) is None:
            tree = self._tree(node) if self._nodes[node.chain_id] is node else None
        elif digest and records.is_written_anew(connection, node.chain_id, digest):
            self._written_anew.add((node.chain_id, digest))
            return None
        if extent not in self._kept and not (digest and has_blob(self._store, connection, digest)):
            blob = f"{self._area}/blob-{len(self._kept)}"
            self._kept[extent] = extent.path if self._owned else blob
        if tree is None and blob is None:
            return None
        if self._owned:
            blob = None
        return Job(
            extent.path,
            extent.offset,
            extent.size,
            digest,
            layer.diff_id,
            layer.media_type,
            blob,
            tree,
            self._owned,
        )

    def _adopt(self, node: _Planned, implicit: list[bytes]) -> None:
        try:
            adopt_parents(self._tree(node), implicit, self._trees_below(node))
        except StoreError as error:
            connection = self._store.connection
            known = [each for each in self._nodes if each not in self._unpacked]
            if all(records.node_row(connection, each) for each in known):
                raise
            raise VanishedError from error

    def _staged(self, node: _Planned) -> str:
        return f"{self._area}/{node.chain_id.removeprefix('sha256:')}"

    def _tree(self, node: _Planned) -> str:
        return f"{self._staged(node)}/diff"

    def _trees_below(self, node: _Planned) -> list[str]:
        """The trees under a layer, top first, wherever they are now."""
        trees = []
        while node.parent is not None:
            node = self._nodes[node.parent]
            is_new = node.chain_id in self._unpacked
            trees.append(self._tree(node) if is_new else self._store.layout.tree(node.chain_id))
        return trees

    def publish(self, indexes: Sequence[NewIndex] = ()) -> None:
        """Record all of it, and the *indexes* by which it came.

        Raises VanishedError if others removed what was to be used.
        """
        nodes = [self._new_node(node) for node in self._nodes.values()]
        blobs: dict[str, NewBlob] = {}
        for node in self._planned:
            digest = self._digest(node.layer)
            if (node.chain_id, digest) not in self._written_anew:
                blobs.setdefault(digest, NewBlob(digest, self._kept.get(node.layer.extent)))
        manifests = [self._new_manifest(image) for image in self._images]
        publish_images(self._store, nodes, list(blobs.values()), manifests, self._step, indexes)

    def _digest(self, layer: BundledLayer) -> str:
        digest = self._digests[layer.extent]
        assert digest is not None
        return digest

    def _new_node(self, node: _Planned) -> NewNode:
        unpacked = self._unpacked.get(node.chain_id)
        row = NodeRow(
            node.chain_id,
            node.parent,
            node.layer.diff_id,
            unpacked.size if unpacked else 0,
            unpacked.file_count if unpacked else 0,
            normalise(history.text_of(node.entry, "created")),
            history.text_of(node.entry, "created_by"),
            history.text_of(node.entry, "comment"),
        )
        return NewNode(row, self._staged(node) if unpacked else None)

    def _new_manifest(self, image: BundledImage) -> NewManifest:
        chain = documents.chain_ids([layer.diff_id for layer in image.layers])
        layers = []
        for chain_id, layer in zip(chain, image.layers, strict=True):
            digest = self._digest(layer)
            stored = (chain_id, digest) not in self._written_anew
            layers.append(LayerRow(chain_id, digest, layer.extent.size, _media_type(layer), stored))
        config_digest = documents.digest_of(image.config)
        body = image.manifest or documents.encode(
            documents.manifest_document(
                documents.descriptor(image.config_media_type, config_digest, len(image.config)),
                [documents.descriptor(row.media_type, row.blob_digest, row.blob_size) for row in layers],
            )
        )
        digest = documents.digest_of(body)
        row = ManifestRow(digest, image.media_type, body, config_digest, image.config, chain[-1])
        return NewManifest(row, tuple(layers), image.names)


def _plan(images: Sequence[BundledImage]) -> list[_Planned]:
    """Every layer of *images* in its place, parents first; a node once for each form in which it comes."""
    planned: dict[tuple[str, Extent], _Planned] = {}
    for image in images:
        entries = history.of_layers(json.loads(image.config).get("history") or [], len(image.layers))
        parent = None
        chain = documents.chain_ids([layer.diff_id for layer in image.layers])
        for chain_id, layer, entry in zip(chain, image.layers, entries, strict=True):
            planned.setdefault((chain_id, layer.extent), _Planned(chain_id, parent, layer, entry))
            parent = chain_id
    return list(planned.values())


def _codec(layer: BundledLayer) -> str:
    return codec_of(read_extent(layer.extent, 6))


def _known_digest(layer: BundledLayer) -> str | None:
    """The digest that the bytes of *layer* have to have; a plain layer's is its diff ID."""
    return layer.digest or (layer.diff_id if _codec(layer) == "none" else None)


def _media_type(layer: BundledLayer) -> str:
    """As the manifest says it; where there is none, what the bytes are."""
    codec = "none" if layer.digest else _codec(layer)
    return f"{layer.media_type}+{codec}" if codec in ("gzip", "zstd") else layer.media_type
