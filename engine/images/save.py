"""Images leave the store as archives that others read.

Manifests, configurations and blobs go out bit for bit as they came in; a layer that was committed here is
written anew from its tree, and verified while it is written. An image that came by an index goes with all of
that, if all of it is here.
"""

from __future__ import annotations

import contextlib
import json
import os
from _sqlite3 import Connection
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import BinaryIO, Literal, NamedTuple

from engine.errors import ConflictError, NoSpaceError, StoreError, UsageError
from engine.images.publication import lost_blob
from engine.images.tagging import ensure_manifest
from engine.images.wholeness import WholeIndex, for_platform, whole_index
from engine.layers.compression import open_layer
from engine.layers.tarwrite import write_layer
from engine.model import JSON, Progress, ProgressCallback
from engine.oci import documents, platforms, reference
from engine.oci.documents import Platform
from engine.oci.layout import DirectoryWriter, Sink, TarWriter, Writer, put_bytes, put_index
from engine.store import records
from engine.store.deletion import delete_tree
from engine.store.indexes import Document
from engine.store.records import LayerRow, ManifestRow
from engine.store.staging import staging
from engine.store.store import Store

Format = Literal["oci-archive", "oci-dir", "docker-archive"]
FORMATS: tuple[Format, ...] = ("oci-archive", "oci-dir", "docker-archive")
_COPY = 1 << 20


class _Image(NamedTuple):
    name: str | None
    """The tag that it is saved under; None for one that was named by a digest."""
    row: ManifestRow
    layers: tuple[LayerRow, ...]
    whole: WholeIndex | None = None
    """The index that it means, when all of that goes."""
    companions: tuple[_Image, ...] = ()
    """The other images of that."""


def save(
    store: Store,
    names: Sequence[str],
    destination: str | BinaryIO,
    format: Format = "oci-archive",  # noqa: A002 - the word of the command line
    progress: ProgressCallback | None = None,
    *,
    platform: str | None = None,
) -> None:
    """Write the images *names* to *destination*: a path, or a stream for archives.

    What came by an index and is here for all its platforms goes with it, unless a *platform* is chosen or the
    format has no indexes (docker-archive). Raises NotFoundError, AmbiguousError, UsageError, ConflictError if
    a directory is in the way, NoSpaceError, StoreError when a layer is not what it was any more. A path is
    complete or not there at all.
    """
    if format not in FORMATS:
        raise UsageError(f"no format {format}", f"there are {', '.join(FORMATS)}")
    wanted = platforms.parse(platform) if platform else None
    is_whole = not wanted and format != "docker-archive"
    images = [_find(store, name, wanted, is_whole) for name in dict.fromkeys(names)]
    if not images:
        raise UsageError("nothing to save", "no image was named")
    rows = [layer for image in images for each in (image, *image.companions) for layer in each.layers]
    total = sum({layer.blob_digest: layer.blob_size for layer in rows}.values())
    saving = _Saving(store, progress, total)
    write = saving.docker if format == "docker-archive" else saving.oci
    if format == "oci-dir":
        if not isinstance(destination, str):
            raise UsageError("an oci-dir is a directory", "a stream was given", "name a directory")
        with _new_directory(destination) as path:
            write(DirectoryWriter(path), images)
    elif isinstance(destination, str):
        with new_file(destination) as file:
            write(TarWriter(file), images)
    else:
        write(TarWriter(destination), images)


def _find(store: Store, name: str, wanted: Platform | None, is_whole: bool) -> _Image:
    digest = ensure_manifest(store, name)
    connection = store.connection
    tag: str | None = None
    with contextlib.suppress(UsageError):
        tag = reference.normalise(name)
    if tag is None or records.find_tag(connection, tag) != digest:
        tag = (
            f"localhost/{tag}" if tag and records.find_tag(connection, f"localhost/{tag}") == digest else None
        )
    index = reference.index_of(connection, name)
    if wanted:
        return _image(connection, for_platform(connection, index, digest, wanted))._replace(name=tag)
    whole = whole_index(connection, index) if index and is_whole else None
    others = [each for each in whole.manifests if each != digest] if whole else []
    companions = tuple(_image(connection, each) for each in others)
    return _image(connection, digest)._replace(name=tag, whole=whole, companions=companions)


def _image(connection: Connection, digest: str) -> _Image:
    row = records.manifest_row(connection, digest)
    if row is None:
        raise StoreError("the image is gone", "it was removed meanwhile", "look at cowl images")
    return _Image(None, row, tuple(records.manifest_layers(connection, digest)))


class _Saving:
    """Writes images into one archive; what several share is written once."""

    def __init__(self, store: Store, progress: ProgressCallback | None, total: int) -> None:
        self._store = store
        self._progress = progress
        self._total = total
        self._done = 0
        self._put: set[str] = set()

    def oci(self, writer: Writer, images: Sequence[_Image]) -> None:
        """An OCI image layout (image-spec, image-layout.md)."""
        entries = []
        for image in images:
            for each in (image, *image.companions):
                self._put_image(writer, each)
            top = Document(image.row.digest, image.row.media_type, image.row.body)
            if image.whole:
                top = image.whole.top
                for other in (*image.whole.blobs, *image.whole.documents, top):
                    self._put_bytes(writer, other.digest, other.body)
            entry = documents.descriptor(top.media_type, top.digest, len(top.body))
            if image.name:
                entry["annotations"] = {
                    "org.opencontainers.image.ref.name": image.name,
                    "io.containerd.image.name": _full_name(image.name),
                }
            entries.append(entry)
        put_index(writer, entries)
        writer.finish()

    def _put_image(self, writer: Writer, image: _Image) -> None:
        row = image.row
        for position, layer in enumerate(image.layers):
            if self._is_new(layer.blob_digest):
                writer.put(_blob(layer.blob_digest), layer.blob_size, self._layer(image, position))
        self._put_bytes(writer, row.config_digest, row.config)
        self._put_bytes(writer, row.digest, row.body)

    def _put_bytes(self, writer: Writer, digest: str, body: bytes) -> None:
        if self._is_new(digest):
            put_bytes(writer, _blob(digest), body)

    def docker(self, writer: Writer, images: Sequence[_Image]) -> None:
        """A docker-archive: plain layers under their diff IDs, one manifest.json."""
        entries: dict[str, JSON] = {}
        for image in images:
            row = image.row
            diff_ids = json.loads(row.config)["rootfs"]["diff_ids"]
            for position, diff_id in enumerate(diff_ids):
                if self._is_new(diff_id):
                    self._put_plain(writer, image, position, diff_id)
            config = f"{row.config_digest[7:]}.json"
            if self._is_new(row.config_digest):
                put_bytes(writer, config, row.config)
            files = [f"{diff_id[7:]}.tar" for diff_id in diff_ids]
            entry = entries.setdefault(config, {"Config": config, "RepoTags": [], "Layers": files})
            if image.name:
                entry["RepoTags"].append(image.name)
        put_bytes(writer, "manifest.json", documents.encode(list(entries.values())))
        writer.finish()

    def _put_plain(self, writer: Writer, image: _Image, position: int, diff_id: str) -> None:
        layer = image.layers[position]
        name = f"{diff_id[7:]}.tar"
        if layer.blob_digest == diff_id:
            writer.put(name, layer.blob_size, self._layer(image, position))
            return
        with (
            staging(self._store.layout) as area,  # a tar wants to know the size first
            self._open(layer) as blob,
            open(f"{area}/plain", "x+b") as plain,
        ):
            hashed = sha256()
            stream = open_layer(blob, layer.media_type, trusted=True)
            while data := stream.read(_COPY):
                hashed.update(data)
                plain.write(data)
            _verify(diff_id, f"sha256:{hashed.hexdigest()}")
            size = plain.tell()
            plain.seek(0)
            writer.put(name, size, lambda sink: self._copy(plain, sink))

    def _is_new(self, digest: str) -> bool:
        if digest in self._put:
            return False
        self._put.add(digest)
        return True

    def _layer(self, image: _Image, position: int) -> Callable[[Sink], object]:
        """What writes the blob of a layer, verified: where it is wrong, the archive is not finished."""
        layer = image.layers[position]

        def fill(sink: Sink) -> None:
            if layer.stored:
                with self._open(layer) as blob:
                    digest = self._copy(blob, sink)
            else:
                layout = self._store.layout
                lowers = [layout.tree(below.chain_id) for below in image.layers[:position]][::-1]
                try:
                    digest = write_layer(
                        layout.tree(layer.chain_id),
                        _Advancing(sink, self._advance),
                        lowers,
                        layer.blob_digest,
                    ).diff_id
                except StoreError as error:
                    if all(map(os.path.isdir, (layout.tree(layer.chain_id), *lowers))):
                        raise
                    raise lost_blob(layer.blob_digest, self._store.connection) from error
            _verify(layer.blob_digest, digest)

        return fill

    def _open(self, layer: LayerRow) -> BinaryIO:
        try:
            return open(self._store.layout.blob(layer.blob_digest), "rb")
        except FileNotFoundError as error:
            raise lost_blob(layer.blob_digest, self._store.connection) from error

    def _copy(self, source: BinaryIO, sink: Sink) -> str:
        hashed = sha256()
        while data := source.read(_COPY):
            hashed.update(data)
            sink.write(data)
            self._advance(len(data))
        return f"sha256:{hashed.hexdigest()}"

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(Progress("writing layers", self._done, max(self._total, self._done)))


class _Advancing:
    """A sink that reports what it takes."""

    def __init__(self, out: Sink, advance: Callable[[int], None]) -> None:
        self._out = out
        self._advance = advance

    def write(self, data: bytes, /) -> object:
        self._advance(len(data))
        return self._out.write(data)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _full_name(name: str) -> str:
    """*name* with the registry that docker's short names leave out."""
    host, slash, _ = name.partition("/")
    if slash and reference.is_registry(host):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _verify(expected: str, actual: str) -> None:
    if actual != expected:
        raise StoreError(
            f"the layer {expected[:19]} is damaged",
            f"its bytes have the digest {actual[:19]} now",
            "load or commit it again",
        )


@contextlib.contextmanager
def new_file(path: str) -> Iterator[BinaryIO]:
    """A file that appears at *path*, in place of what is there, once it is complete."""
    if os.path.isdir(path):
        raise ConflictError(f"{path} is a directory", "an archive is a file", "name a file, or use oci-dir")
    if os.path.lexists(path) and not os.path.isfile(path):  # /dev/stdout, a fifo
        with _destination_errors(path), open(path, "wb") as file:
            yield file
        return
    temporary = f"{path}.{os.urandom(4).hex()}"
    with _destination_errors(path):
        try:
            with open(temporary, "xb") as file:
                yield file
            os.rename(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


@contextlib.contextmanager
def _new_directory(path: str) -> Iterator[str]:
    """A directory that appears at *path*, where nothing or an empty directory is, once it is complete."""
    path = os.path.normpath(path)
    temporary = f"{path}.{os.urandom(4).hex()}"
    with _destination_errors(path):
        if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
            raise ConflictError(f"{path} exists", "it is not an empty directory", "name another")
        os.mkdir(temporary)
        try:
            yield temporary
            os.rename(temporary, path)
        finally:
            delete_tree(temporary)


@contextlib.contextmanager
def _destination_errors(path: str) -> Iterator[None]:
    """What goes wrong with the destination, in words."""
    import errno

    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                f"no space left for {path}", why, "free some, or choose another place"
            ) from error
        raise StoreError(f"cannot write {path}", why, "choose another place") from error
