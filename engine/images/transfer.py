"""Root file systems in and out as one plain tar: no layers, no history, no configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import BinaryIO

from engine.errors import ArchiveError, NotFoundError
from engine.images.instructions import apply_instructions
from engine.images.manifests import new_manifest
from engine.images.publication import NewNode, publish_images
from engine.images.save import new_file
from engine.layers.apply import apply_layer
from engine.layers.compression import open_layer
from engine.layers.mergedtar import write_merged
from engine.layers.tarwrite import Sink, write_layer
from engine.model import JSON, Progress, ProgressCallback
from engine.oci import documents, reference
from engine.oci.foreign import HEAD, describe
from engine.store.clock import now
from engine.store.faults import point
from engine.store.records import LayerRow, NodeRow
from engine.store.staging import staging
from engine.store.store import Store


def export_tree(
    lowers: Sequence[str], destination: str | BinaryIO, progress: ProgressCallback | None = None
) -> None:
    """Write the merged tree of *lowers* (top first) as a tar to a path or stream.

    The same tree gives the same bytes. A path is complete or not there at all. Raises NoSpaceError,
    StoreError, ConflictError.
    """
    if isinstance(destination, str):
        with new_file(destination) as file:
            write_merged(lowers, _Counted(file.write, progress, "exporting"))
    else:
        write_merged(lowers, _Counted(destination.write, progress, "exporting"))


def import_tree(
    store: Store,
    source: str | BinaryIO,
    name: str,
    *,
    message: str = "",
    instructions: Sequence[str] = (),
    progress: ProgressCallback | None = None,
) -> str:
    """Make an image *name* of one layer from a tar, compressed or not, and return its chain ID.

    The layer is cowl's own: the same tree gives the same chain ID however its tar was written. Raises
    ArchiveError for what is damaged or hostile; UsageError, NotFoundError, NoSpaceError, StoreError.
    """
    tag = reference.normalise(name)
    config = apply_instructions({}, instructions)  # says what is wrong before the long part
    with staging(store.layout) as area:
        tree = f"{area}/layer/diff"
        os.makedirs(tree)
        if isinstance(source, str):
            with _open(source) as file:
                _unpack(file, tree, progress)
        else:
            _unpack(source, tree, progress)
        point("import.after-unpack")
        written = write_layer(tree, None)
        created = now()
        label = os.path.basename(source) if isinstance(source, str) else "-"
        created_by = f"import {label}"
        row = NodeRow(
            written.diff_id,
            None,
            written.diff_id,
            written.size,
            written.file_count,
            created,
            created_by,
            message,
        )
        layer = LayerRow(written.diff_id, written.diff_id, written.tar_size, documents.OCI_LAYER, False)
        document = _configuration(config, written.diff_id, created, created_by, message)
        manifest = new_manifest(document, (layer,), written.diff_id, (tag,))
        publish_images(store, [NewNode(row, f"{area}/layer")], [], [manifest], "import")
    return written.diff_id


def _configuration(config: JSON, diff_id: str, created: str, created_by: str, message: str) -> JSON:
    architecture, variant = documents.platform_of_host()
    entry = {"created": created, "created_by": created_by}
    if message:
        entry["comment"] = message
    return {
        "created": created,
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [entry],
    }


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise NotFoundError(f"cannot read {path}", error.strerror or str(error), "give a tar") from error


def _unpack(source: BinaryIO, tree: str, progress: ProgressCallback | None) -> None:
    reader = _Read(source, progress)
    try:
        applied = apply_layer(open_layer(reader), tree)
    except ArchiveError as error:
        if what := describe(reader.head):
            raise _no_tar(what) from error
        raise
    if not reader.head:
        raise ArchiveError(
            "there is nothing to import", "not even an empty tar came", "look at what writes it"
        )
    if not applied.file_count and reader.head.strip(b"\0") and (what := describe(reader.head)):
        raise _no_tar(what)  # it begins with zeros, as a tar ends


def _no_tar(what: str) -> ArchiveError:
    return ArchiveError("this is not a tar", f"it is {what}", "give a tar of a root file system")


class _Read:
    """A source that reports what is read from it."""

    def __init__(self, source: BinaryIO, progress: ProgressCallback | None) -> None:
        self._source = source
        self._progress = progress
        self._done = 0
        self.head = b""
        """What came first, as far as it is needed to tell what it is."""

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        if len(self.head) < HEAD:
            self.head += data[:HEAD]
        self._done += len(data)
        if self._progress is not None:
            self._progress(Progress("importing", self._done, None))
        return data


class _Counted(Sink):
    """A sink that reports what it takes."""

    def __init__(
        self, write: Callable[[bytes], object], progress: ProgressCallback | None, step: str
    ) -> None:
        self._write = write
        self._progress = progress
        self._step = step
        self._done = 0

    def write(self, data: bytes, /) -> object:
        self._done += len(data)
        if self._progress is not None:
            self._progress(Progress(self._step, self._done, None))
        return self._write(data)
