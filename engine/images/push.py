"""Images go to registries bit for bit as they came; what a registry has already is not sent again.

A layer that was committed here is written anew from its tree, as plain as its descriptor says, unless it
shall be compressed: then the image gets a manifest of its own in the registry. An image that came by an index
goes with all of that, if all of it is here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from engine.errors import StoreError, UsageError
from engine.images import remotes
from engine.images.crew import Meter, run_all
from engine.images.manifests import new_manifest
from engine.images.packing import compress_file
from engine.images.publication import lost_blob
from engine.images.tagging import ensure_manifest
from engine.images.wholeness import WholeIndex, for_platform, whole_index
from engine.layers.compression import Compression
from engine.layers.tarwrite import write_layer
from engine.model import ProgressCallback
from engine.oci import documents, platforms, reference
from engine.oci.registry import naming
from engine.oci.registry.naming import Remote
from engine.oci.registry.repository import Document
from engine.oci.registry.upload import Uploads
from engine.store import records
from engine.store.records import LayerRow, ManifestRow
from engine.store.staging import staging
from engine.store.store import Store

DEFAULT_COMPRESSION: Compression = "gzip"
"""What every registry and engine knows."""
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
UPLOADS = 4
"""Layers that are uploaded at a time."""
_ORIGINS = """
WITH held (name, manifest) AS (
    SELECT name, manifest FROM tags
    UNION SELECT name, manifest FROM tag_indexes JOIN index_manifests USING (index_digest)
)
SELECT name FROM held JOIN manifest_layers USING (manifest) WHERE blob_digest = ?1
UNION SELECT name FROM held JOIN manifests ON digest = manifest WHERE config_digest = ?1
UNION SELECT name FROM tag_indexes JOIN index_documents USING (index_digest) WHERE digest = ?1
"""


class Pushed(NamedTuple):
    """An image that is in a registry now."""

    name: str
    digest: str
    """Of its manifest there, or of the index."""


class _Blob(NamedTuple):
    """What has to be in the registry before the manifest."""

    digest: str
    size: int
    path: str | None
    """Where the bytes are; None: the layer has to be written anew."""
    layers: tuple[LayerRow, ...] = ()
    """The layer itself and those under it, bottom first."""


def push(
    store: Store,
    name: str,
    destination: str | None = None,
    *,
    platform: str | None = None,
    plain_http: bool = False,
    compress: Compression | Literal["none"] | None = None,
    progress: ProgressCallback | None = None,
) -> Pushed:
    """Push the image *name*, as *destination* if that is given.

    What came by an index and is here for all its platforms goes with it, unless a *platform* is chosen.
    *compress* (gzip or zstd) is for layers that are plain, and for one platform. Without it, layers that were
    made here are compressed with gzip, as docker does, but for a registry on loopback; ``none`` leaves them
    as they are. Raises NotFoundError, AmbiguousError, UsageError, DeniedError, RegistryError, NoSpaceError,
    StoreError.
    """
    if compress not in (None, "none", *COMPRESSIONS):
        raise UsageError(f"no compression {compress}", f"there are none, {', '.join(COMPRESSIONS)}")
    digest = ensure_manifest(store, name)
    index = reference.index_of(store.connection, name)
    if platform:
        digest = for_platform(store.connection, index, digest, platforms.parse(platform))
    chosen = None if compress == "none" else compress
    whole = whole_index(store.connection, index) if index and not (platform or chosen) else None
    sent = whole.top.digest if whole else digest
    remote = naming.remote_of(destination or name)
    if remote.digest and remote.digest != sent:
        raise UsageError(
            f"{destination or name} cannot be pushed", f"its digest is {sent[:19]}", "name a tag"
        )
    own = compress is None and not naming.is_loopback(remote.registry)
    stop = threading.Event()
    with staging(store.layout) as area, remotes.registry(store, remote, plain_http, stop) as connection:
        uploads = Uploads(connection, remote.repository)
        pushing = _Push(store, uploads, remote, area, Meter(progress), stop)
        try:
            if whole:
                return pushing.whole(whole)
            return pushing.one(digest, DEFAULT_COMPRESSION if own else chosen, own=own)
        finally:
            stop.set()


class _Push:
    """One push of one image."""

    def __init__(
        self, store: Store, uploads: Uploads, remote: Remote, area: str, meter: Meter, stop: threading.Event
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._remote = remote
        self._area = area
        self._meter = meter
        self._stop = stop

    def one(self, digest: str, compress: Compression | None, *, own: bool) -> Pushed:
        """An image: layers and configuration first, then the manifest that names them.

        Plain layers are compressed if *compress* says how, with *own* only those that were made here.
        """
        row, layers = self._manifest(digest)
        blobs = self._layers(layers)
        elsewhere = _elsewhere(row)
        if compress:
            document = records.manifest_config(self._store.connection, digest)
            plain = [
                at
                for at, diff_id in enumerate(document["rootfs"]["diff_ids"])
                if blobs[at].digest == diff_id and not (own and layers[at].stored)
            ]
            blobs, packed = self._compressed(blobs, layers, plain, compress)
            if packed != layers:
                row, elsewhere = new_manifest(document, packed, row.chain_id, ()).row, set()
        config = self._file(row.config_digest, row.config)
        self._send_all([*(blob for blob in blobs if blob.digest not in elsewhere), config])
        return self._put(Document(row.body, row.media_type, row.digest))

    def whole(self, index: WholeIndex) -> Pushed:
        """An index with all that it names, each before what names it."""
        rows = [self._manifest(digest) for digest in index.manifests]
        elsewhere = set().union(*(_elsewhere(row) for row, _ in rows))
        blobs = [blob for _, layers in rows for blob in self._layers(layers) if blob.digest not in elsewhere]
        blobs += [self._file(row.config_digest, row.config) for row, _ in rows]
        blobs += [self._file(other.digest, other.body) for other in index.blobs]
        self._send_all(blobs)
        for row, _ in rows:
            self._uploads.manifest(Document(row.body, row.media_type, row.digest), row.digest)
        for other in index.documents:
            self._uploads.manifest(Document(other.body, other.media_type, other.digest), other.digest)
        return self._put(Document(index.top.body, index.top.media_type, index.top.digest))

    def _put(self, document: Document) -> Pushed:
        remote = self._remote
        target = remote.tag or (document.digest if remote.digest else "latest")
        self._uploads.manifest(document, target)
        separator = "@" if target == document.digest else ":"
        return Pushed(f"{remote.registry}/{remote.repository}{separator}{target}", document.digest)

    def _manifest(self, digest: str) -> tuple[ManifestRow, list[LayerRow]]:
        row = records.manifest_row(self._store.connection, digest)
        if row is None:
            raise StoreError("the image is gone", "it was removed meanwhile", "look at cowl images")
        return row, records.manifest_layers(self._store.connection, digest)

    def _layers(self, layers: Sequence[LayerRow]) -> list[_Blob]:
        return [self._blob(layers, position) for position in range(len(layers))]

    def _blob(self, layers: Sequence[LayerRow], position: int) -> _Blob:
        layer = layers[position]
        path = self._store.layout.blob(layer.blob_digest) if layer.stored else None
        return _Blob(layer.blob_digest, layer.blob_size, path, tuple(layers[: position + 1]))

    def _file(self, digest: str, body: bytes) -> _Blob:
        path = f"{self._area}/{digest.removeprefix('sha256:')}"
        with open(path, "wb") as file:
            file.write(body)
        return _Blob(digest, len(body), path)

    def _send_all(self, blobs: Sequence[_Blob]) -> None:
        unique = {blob.digest: blob for blob in blobs}
        origins = {each: self._origins(each) for each in unique}
        tasks = [lambda blob=blob: self._send(blob, origins[blob.digest]) for blob in unique.values()]
        run_all(tasks, UPLOADS, self._stop, self._uploads.connection.abort)

    def _origins(self, digest: str) -> list[str]:
        """Repositories of the same registry that are likely to have the blob."""
        found = self._store.connection.execute(_ORIGINS, (digest,))
        remotes_of = [naming.remote_of(row[0]) for row in found]
        return list(
            dict.fromkeys(
                each.repository
                for each in remotes_of
                if each.registry == self._remote.registry and each.repository != self._remote.repository
            )
        )[:2]

    def _send(self, blob: _Blob, origins: Sequence[str]) -> None:
        uploads = self._uploads
        if uploads.has(blob.digest) or any(uploads.mount(blob.digest, origin) for origin in origins):
            return
        path = blob.path or self._written(blob.layers)
        advance = self._meter.of("uploading", blob.digest, blob.size)
        advance(0)  # from now on time counts
        try:
            uploads.blob(blob.digest, blob.size, path, advance)
        except FileNotFoundError as error:
            raise lost_blob(blob.digest, self._store.connection) from error

    def _written(self, layers: Sequence[LayerRow]) -> str:
        """The file with the tar of a layer that was committed here, the last of *layers*, verified."""
        layer = layers[-1]
        layout = self._store.layout
        lowers = [layout.tree(below.chain_id) for below in layers[:-1]][::-1]
        path = f"{self._area}/{layer.chain_id.removeprefix('sha256:')}.tar"
        if os.path.exists(path):
            return path
        with open(f"{path}.part", "wb") as file:
            written = write_layer(layout.tree(layer.chain_id), file, lowers, layer.blob_digest)
        if written.diff_id != layer.blob_digest:
            raise StoreError(
                f"the layer {layer.blob_digest[:19]} is damaged",
                f"its tree gives {written.diff_id[:19]} now",
                "commit it again",
            )
        os.rename(f"{path}.part", path)
        return path

    def _compressed(
        self, blobs: Sequence[_Blob], layers: Sequence[LayerRow], plain: Sequence[int], codec: Compression
    ) -> tuple[list[_Blob], list[LayerRow]]:
        """The same with the layers in the places *plain* compressed."""
        made = dict(enumerate(blobs))
        rows = dict(enumerate(layers))

        def pack(position: int) -> None:
            path = f"{self._area}/{position}.{codec}"
            advance = self._meter.of("compressing", layers[position].blob_digest, layers[position].blob_size)
            source = blobs[position].path or self._written(blobs[position].layers)
            digest, size = compress_file(source, path, codec, advance)
            made[position] = _Blob(digest, size, path)
            kind = f"{documents.oci_media_type(layers[position].media_type)}+{codec}"
            rows[position] = layers[position]._replace(blob_digest=digest, blob_size=size, media_type=kind)

        tasks = [lambda position=position: pack(position) for position in plain]
        run_all(tasks, len(os.sched_getaffinity(0)), self._stop)
        count = range(len(blobs))
        return [made[position] for position in count], [rows[position] for position in count]


def _elsewhere(row: ManifestRow) -> set[str]:
    """The layers that registries do not keep: their descriptors say where they are."""
    manifest = documents.decode_manifest(row.body, row.media_type)
    return {layer.digest for layer in manifest.layers if layer.urls}
