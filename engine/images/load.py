"""Images of others come into the store: docker-archive and OCI layouts, whatever made them.

Only what is missing is unpacked. Everything is prepared in a staging area, layers side by side, and published
in one step, so that a load that ends early, for whatever reason, leaves the store as it was.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from engine.errors import NotFoundError, StoreError
from engine.images import history
from engine.images.publication import NewBlob, NewManifest, NewNode, VanishedError, has_blob, publish_images
from engine.images.unpacking import Job, Unpacked
from engine.images.workers import unpack_all
from engine.layers.apply import adopt_parents
from engine.layers.compression import codec_of, open_layer
from engine.model import JSON, Progress, ProgressCallback
from engine.oci import documents
from engine.oci.archive import Archive, DirectoryArchive, Extent, TarArchive, read_extent
from engine.oci.bundle import BundledImage, BundledLayer, read_images
from engine.store import records
from engine.store.clock import normalise
from engine.store.faults import point
from engine.store.records import LayerRow, ManifestRow, NodeRow
from engine.store.staging import staging_area
from engine.store.store import Store

_ATTEMPTS = 5
_COPY = 1 << 20
_SUFFIXES = re.compile(r"(\.(tar|oci|docker|tgz|gz|zst|zstd|xz|bz2|image|img))+$")


def load(store: Store, source: str | BinaryIO, progress: ProgressCallback | None = None) -> list[str]:
    """Load every image of *source*: a file, a directory, or a stream. Returns their names.

    An image that the archive does not name is called after its file. Raises ArchiveError for what is damaged,
    hostile or no image; NotFoundError for a source that is not there; NoSpaceError; StoreError.
    """
    with staging_area(store.layout) as area:
        archive, label = _open(source, area.path)
        images = _with_names(read_images(archive, label), label)
        point("load.after-read")
        for attempt in range(_ATTEMPTS):
            loading = _Loading(store, f"{area.path}/{attempt}", images)
            try:
                loading.prepare(area.lock, progress)
                loading.publish()
            except VanishedError:
                continue
            return [name for image in images for name in image.names]
    raise StoreError("the images cannot be loaded", "others keep removing parts of them", "try again")


# Sources


def _open(source: str | BinaryIO, area: str) -> tuple[Archive, str]:
    """The archive, and what its images are called when it does not say."""
    if not isinstance(source, str):
        path = _regular_file_of(source) or _spool(source, area)
        return TarArchive(_decompressed(path, area)), ""
    try:
        status = os.stat(source)
    except OSError as error:
        raise NotFoundError(
            f"cannot read {source}", error.strerror or str(error), "give an archive"
        ) from error
    label = _label(source)
    if stat.S_ISDIR(status.st_mode):
        return DirectoryArchive(source), label
    if not stat.S_ISREG(status.st_mode):
        with open(source, "rb") as stream:
            return TarArchive(_decompressed(_spool(stream, area), area)), label
    return TarArchive(_decompressed(source, area)), label


def _regular_file_of(stream: BinaryIO) -> str | None:
    """A path for the file behind *stream*, if there is one and nothing was read from it yet."""
    try:
        descriptor = stream.fileno()
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0:
            return f"/proc/{os.getpid()}/fd/{descriptor}"
    except OSError:
        return None
    return None


def _spool(stream: BinaryIO, area: str) -> str:
    path = f"{area}/stream"
    with open(path, "xb") as file:
        shutil.copyfileobj(stream, file, _COPY)
    return path


def _decompressed(path: str, area: str) -> str:
    """*path*, or a plain copy of it if it is compressed as a whole."""
    try:
        with open(path, "rb") as file:
            head = file.read(6)
    except OSError as error:
        raise NotFoundError(f"cannot read {path}", error.strerror or str(error), "give an archive") from error
    if codec_of(head) == "none":
        return path
    plain = f"{area}/plain"
    with open(path, "rb") as file, open(plain, "xb") as copy:
        shutil.copyfileobj(open_layer(file), copy, _COPY)
    return plain


def _label(path: str) -> str:
    name = os.path.basename(os.path.abspath(path)).lower()
    return re.sub(r"[^a-z0-9]+", "-", _SUFFIXES.sub("", name)).strip("-")


def _with_names(images: list[BundledImage], label: str) -> list[BundledImage]:
    """*images*, each with a name: an image that nothing names could not be found again."""
    named = []
    for image in images:
        names = image.names
        if not names:
            digits = documents.digest_of(image.config)[7:19]
            names = (f"{label}:latest" if label and len(images) == 1 else f"{label or 'loaded'}:{digits}",)
        named.append(image._replace(names=names))
    return named


# Loading


class _Planned(NamedTuple):
    """A layer of an image in its place."""

    chain_id: str
    parent: str | None
    layer: BundledLayer
    entry: JSON
    """What the image's history says of it."""


class _Loading:
    """One attempt at loading *images* into *store*, in the directory *area*."""

    def __init__(self, store: Store, area: str, images: list[BundledImage]) -> None:
        self._store = store
        self._area = area
        self._images = images
        self._nodes = _plan(images)
        self._digests = {node.layer.extent: _known_digest(node.layer) for node in self._nodes.values()}
        self._unpacked: dict[str, Unpacked] = {}
        self._kept: dict[Extent, str] = {}
        self._written_anew: set[str] = set()

    def prepare(self, lock: int, progress: ProgressCallback | None) -> None:
        """Unpack and verify what the store lacks."""
        os.mkdir(self._area)
        with self._store.read() as connection:
            planned = [(node, job) for node in self._nodes.values() if (job := self._job(connection, node))]
        jobs = [job for _, job in planned]
        results = unpack_all(jobs, lock, _reporter(progress, sum(job.size for job in jobs)))
        for (node, job), result in zip(planned, results, strict=True):
            self._digests[node.layer.extent] = result.digest
            if job.tree is not None:
                self._unpacked[node.chain_id] = result
        point("load.after-unpack")
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
            tree = self._tree(node)
        elif digest and records.is_written_anew(connection, node.chain_id, digest):
            self._written_anew.add(node.chain_id)
            return None
        if extent not in self._kept and not (digest and has_blob(self._store, connection, digest)):
            blob = self._kept[extent] = f"{self._area}/blob-{len(self._kept)}"
        if tree is None and blob is None:
            return None
        return Job(
            extent.path, extent.offset, extent.size, digest, layer.diff_id, layer.media_type, blob, tree
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

    def publish(self) -> None:
        """Record all of it. Raises VanishedError if others removed what was to be used."""
        nodes = [self._new_node(node) for node in self._nodes.values()]
        blobs: dict[str, NewBlob] = {}
        for node in self._nodes.values():
            if node.chain_id not in self._written_anew:
                digest = self._digest(node.layer)
                blobs.setdefault(digest, NewBlob(digest, self._kept.get(node.layer.extent)))
        manifests = [self._new_manifest(image) for image in self._images]
        publish_images(self._store, nodes, list(blobs.values()), manifests, "load")

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
            stored = chain_id not in self._written_anew
            digest = self._digest(layer)
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


def _plan(images: list[BundledImage]) -> dict[str, _Planned]:
    """Every node of *images* once, parents first."""
    nodes: dict[str, _Planned] = {}
    for image in images:
        entries = history.of_layers(json.loads(image.config).get("history") or [], len(image.layers))
        parent = None
        chain = documents.chain_ids([layer.diff_id for layer in image.layers])
        for chain_id, layer, entry in zip(chain, image.layers, entries, strict=True):
            nodes.setdefault(chain_id, _Planned(chain_id, parent, layer, entry))
            parent = chain_id
    return nodes


def _codec(layer: BundledLayer) -> str:
    return codec_of(read_extent(layer.extent, 6))


def _known_digest(layer: BundledLayer) -> str | None:
    """The digest that the bytes of *layer* have to have; a plain layer's is its diff ID."""
    return layer.digest or (layer.diff_id if _codec(layer) == "none" else None)


def _media_type(layer: BundledLayer) -> str:
    """As the manifest says it; where there is none, what the bytes are."""
    codec = "none" if layer.digest else _codec(layer)
    return f"{layer.media_type}+{codec}" if codec in ("gzip", "zstd") else layer.media_type


def _reporter(progress: ProgressCallback | None, total: int) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(Progress("unpacking layers", done, total))

    return advance
