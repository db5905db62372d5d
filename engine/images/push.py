"""Images go to registries bit for bit as they came; what a registry has already is not sent again.

A layer that was committed here is written anew from its tree, as plain as its descriptor says, unless it
shall be compressed: then the image gets a manifest of its own in the registry.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import BinaryIO, NamedTuple, get_args

from engine.errors import StoreError, UsageError
from engine.images import remotes
from engine.images.crew import Meter, run_all
from engine.images.manifests import new_manifest
from engine.images.tagging import ensure_manifest
from engine.layers.compression import Compression, open_compressor
from engine.layers.tarwrite import write_layer
from engine.model import ProgressCallback
from engine.oci import documents
from engine.oci.registry import naming
from engine.oci.registry.naming import Remote
from engine.oci.registry.repository import Document
from engine.oci.registry.upload import Uploads
from engine.store import records
from engine.store.records import LayerRow
from engine.store.staging import staging
from engine.store.store import Store

COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
_READ = 1 << 20
UPLOADS = 4
"""Layers that are uploaded at a time."""


class Pushed(NamedTuple):
    """An image that is in a registry now."""

    name: str
    digest: str
    """Of its manifest there."""


class _Blob(NamedTuple):
    """What has to be in the registry before the manifest."""

    digest: str
    size: int
    path: str | None
    """Where the bytes are; None: the layer has to be written anew."""
    position: int


def push(
    store: Store,
    name: str,
    destination: str | None = None,
    *,
    plain_http: bool = False,
    compress: Compression | None = None,
    progress: ProgressCallback | None = None,
) -> Pushed:
    """Push the image *name*, as *destination* if that is given.

    *compress* (gzip or zstd) is for layers that are plain. Raises NotFoundError, AmbiguousError, UsageError,
    DeniedError, RegistryError, NoSpaceError, StoreError.
    """
    if compress is not None and compress not in COMPRESSIONS:
        raise UsageError(f"no compression {compress}", f"there are {', '.join(COMPRESSIONS)}")
    digest = ensure_manifest(store, name)
    remote = naming.remote_of(destination or name)
    if remote.digest and remote.digest != digest:
        raise UsageError(f"{destination} cannot be pushed", "the image has another digest", "name a tag")
    stop = threading.Event()
    with staging(store.layout) as area, remotes.registry(store, remote, plain_http, stop) as connection:
        uploads = Uploads(connection, remote.repository)
        pushing = _Push(store, uploads, remote, area, Meter(progress), stop)
        try:
            return pushing.run(digest, compress)
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

    def run(self, digest: str, compress: Compression | None) -> Pushed:
        """Layers and configuration first, then the manifest that names them."""
        connection = self._store.connection
        row = records.manifest_row(connection, digest)
        if row is None:
            raise StoreError("the image is gone", "it was removed meanwhile", "look at cowl images")
        layers = records.manifest_layers(connection, digest)
        blobs = [self._blob(layer, position) for position, layer in enumerate(layers)]
        if compress:
            document = records.manifest_config(connection, digest)
            blobs, packed = self._compressed(blobs, layers, document["rootfs"]["diff_ids"], compress)
            if packed != layers:
                row = new_manifest(document, packed, row.chain_id, ()).row
        config = f"{self._area}/config"
        with open(config, "xb") as file:
            file.write(row.config)
        unique = {blob.digest: blob for blob in blobs}
        unique[row.config_digest] = _Blob(row.config_digest, len(row.config), config, -1)
        origins = {each: self._origins(each) for each in unique}
        tasks = [lambda blob=blob: self._send(blob, layers, origins[blob.digest]) for blob in unique.values()]
        run_all(tasks, UPLOADS, self._stop)
        target = self._remote.tag or (row.digest if self._remote.digest else "latest")
        self._uploads.manifest(Document(row.body, row.media_type, row.digest), target)
        separator = "@" if target == row.digest else ":"
        return Pushed(f"{self._remote.registry}/{self._remote.repository}{separator}{target}", row.digest)

    def _blob(self, layer: LayerRow, position: int) -> _Blob:
        path = self._store.layout.blob(layer.blob_digest) if layer.stored else None
        return _Blob(layer.blob_digest, layer.blob_size, path, position)

    def _origins(self, digest: str) -> list[str]:
        """Repositories of the same registry that are likely to have the blob."""
        found = self._store.connection.execute(
            "SELECT t.name FROM tags t JOIN manifest_layers l ON l.manifest = t.manifest"
            " WHERE l.blob_digest = ?1 UNION SELECT t.name FROM tags t JOIN manifests m"
            " ON m.digest = t.manifest WHERE m.config_digest = ?1",
            (digest,),
        )
        remotes_of = [naming.remote_of(row[0]) for row in found]
        return list(
            dict.fromkeys(
                each.repository
                for each in remotes_of
                if each.registry == self._remote.registry and each.repository != self._remote.repository
            )
        )[:2]

    def _send(self, blob: _Blob, layers: Sequence[LayerRow], origins: Sequence[str]) -> None:
        uploads = self._uploads
        if uploads.has(blob.digest) or any(uploads.mount(blob.digest, origin) for origin in origins):
            return
        path = blob.path or self._written(layers, blob.position)
        advance = self._meter.of("uploading", blob.digest, blob.size)
        try:
            uploads.blob(blob.digest, blob.size, path, advance)
        except FileNotFoundError as error:
            raise StoreError("a layer is gone", "it was removed meanwhile", "look at cowl images") from error

    def _written(self, layers: Sequence[LayerRow], position: int) -> str:
        """The file with the tar of a layer that was committed here, verified."""
        layer = layers[position]
        layout = self._store.layout
        lowers = [layout.tree(below.chain_id) for below in layers[:position]][::-1]
        path = f"{self._area}/{position}.tar"
        if os.path.exists(path):
            return path
        with open(f"{path}.part", "wb") as file:
            written = write_layer(layout.tree(layer.chain_id), file, lowers)
        if written.diff_id != layer.blob_digest:
            raise StoreError(
                f"the layer {layer.blob_digest[:19]} is damaged",
                f"its tree gives {written.diff_id[:19]} now",
                "commit it again",
            )
        os.rename(f"{path}.part", path)
        return path

    def _compressed(
        self, blobs: Sequence[_Blob], layers: Sequence[LayerRow], diff_ids: Sequence[str], codec: Compression
    ) -> tuple[list[_Blob], list[LayerRow]]:
        """The same with all plain layers compressed."""
        made = dict(enumerate(blobs))
        rows = dict(enumerate(layers))

        def pack(position: int) -> None:
            path = f"{self._area}/{position}.{codec}"
            advance = self._meter.of("compressing", layers[position].blob_digest, layers[position].blob_size)
            digest, size = _pack(
                blobs[position].path or self._written(layers, position), path, codec, advance
            )
            made[position] = _Blob(digest, size, path, position)
            kind = f"{documents.oci_media_type(layers[position].media_type)}+{codec}"
            rows[position] = layers[position]._replace(blob_digest=digest, blob_size=size, media_type=kind)

        plain = [at for at, blob in enumerate(blobs) if blob.digest == diff_ids[at]]
        tasks = [lambda position=position: pack(position) for position in plain]
        run_all(tasks, len(os.sched_getaffinity(0)), self._stop)
        count = range(len(blobs))
        return [made[position] for position in count], [rows[position] for position in count]


class _Hashed:
    """A file that is hashed and counted while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """Take all of *data*."""
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        """Of all that was written."""
        return f"sha256:{self._hash.hexdigest()}"


def _pack(
    source: str, destination: str, codec: Compression, advance: Callable[[int], None]
) -> tuple[str, int]:
    """Compress the file *source*; the digest and the size of what comes out. The same each time."""
    with open(source, "rb") as plain, open(destination, "xb") as file:
        out = _Hashed(file)
        with open_compressor(out, codec) as packing:
            while data := plain.read(_READ):
                packing.write(data)
                advance(len(data))
        return out.digest, out.size
