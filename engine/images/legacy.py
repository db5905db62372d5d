"""Archives that docker wrote before 1.10: a directory for each layer, which names its parent; no manifest.

moby, image/spec, version 1.0. ``repositories`` names the topmost layers; ``<id>/json`` says what is above
which and holds the configuration as it was then. What came later is derived from that: the diff IDs, by
reading each layer once before it is unpacked, and a history of one entry for each layer.
"""

from __future__ import annotations

import json
import os
import re
from hashlib import sha256

import msgspec

from engine.errors import ArchiveError
from engine.layers.compression import open_layer
from engine.model import JSON
from engine.oci import documents
from engine.oci.archive import Archive, Extent, not_an_image, read_document
from engine.oci.bundle import BundledImage, BundledLayer, names_of

_ID = re.compile(r"[0-9a-f]{64}")
_READ = 1 << 20
_OWN_KEYS = ("id", "parent", "parent_id", "layer_id", "throwaway", "Size", "rootfs", "history")
"""What the old configuration says of its layer, not of the image (and what is derived anew)."""

_Repositories = dict[str, dict[str, str]]


class _Layer(msgspec.Struct, frozen=True):
    """What ``<id>/json`` says of its layer."""

    id: str
    parent: str = ""
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    container_config: dict[str, object] | None = None


def is_legacy(archive: Archive) -> bool:
    """Whether *archive* is one from before 1.10."""
    if archive.has("manifest.json") or archive.has("index.json"):
        return False
    return archive.has("repositories") or bool(_ids(archive))


def read_legacy_images(archive: Archive) -> list[BundledImage]:
    """All images in *archive*; without ``repositories``, each layer that no other one lies on, unnamed.

    Raises ArchiveError.
    """
    reader = _Reader(archive)
    if archive.has("repositories"):
        body = read_document(archive, "repositories")
        return reader.named(documents.decode(body, _Repositories, "repositories"))
    return reader.unnamed(_ids(archive))


def _ids(archive: Archive) -> list[str]:
    return [each for each in archive.directories_with("layer.tar") if _ID.fullmatch(each)]


class _Reader:
    """Reads each layer once, however many images have it."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._layers: dict[str, tuple[_Layer, bytes]] = {}
        self._diff_ids: dict[Extent, str] = {}

    def named(self, repositories: _Repositories) -> list[BundledImage]:
        names: dict[str, list[str]] = {}
        for repository, tags in repositories.items():
            for tag, top in tags.items():
                names.setdefault(top, []).append(f"{repository}:{tag}")
        if not names:
            raise not_an_image("its repositories lists nothing")
        return [self._image(top, tuple(names_of(each))) for top, each in names.items()]

    def unnamed(self, ids: list[str]) -> list[BundledImage]:
        below = {self._layer(each)[0].parent for each in ids}
        tops = [each for each in ids if each not in below]
        if not tops:
            raise ArchiveError("the archive is malformed", "its layers lie on each other in a ring")
        return [self._image(top, ()) for top in tops]

    def _image(self, top: str, names: tuple[str, ...]) -> BundledImage:
        lineage = self._lineage(top)
        extents = [self._archive.locate(f"{each}/layer.tar") for each in lineage]
        diff_ids = [self._diff_id(extent) for extent in extents]
        config = self._configuration(top, lineage, diff_ids)
        body = documents.encode(config)
        layers = tuple(
            BundledLayer(extent, diff_id, None, documents.OCI_LAYER)
            for extent, diff_id in zip(extents, diff_ids, strict=True)
        )
        parsed = documents.decode_config(body, len(layers))
        return BundledImage(names, None, documents.OCI_MANIFEST, body, documents.OCI_CONFIG, parsed, layers)

    def _lineage(self, top: str) -> list[str]:
        """The layer *top* and all below it, bottom first."""
        found = []
        at = top
        while at:
            if at in found:
                raise ArchiveError("the archive is malformed", "its layers lie on each other in a ring")
            found.append(at)
            if len(found) > documents.MAX_LAYERS:
                raise ArchiveError("the image has too many layers", f"more than {documents.MAX_LAYERS}")
            at = self._layer(at)[0].parent
        return found[::-1]

    def _layer(self, name: str) -> tuple[_Layer, bytes]:
        """What the archive says of the layer *name*, read, and as it came."""
        if name not in self._layers:
            if not _ID.fullmatch(name):
                raise ArchiveError("the archive is malformed", f"{name[:80]!a} is not the ID of a layer")
            body = read_document(self._archive, f"{name}/json")
            layer = documents.decode(body, _Layer, "a layer's json")
            if layer.id != name:
                raise ArchiveError(
                    "the archive is malformed", f"the layer {name[:12]} says it is {layer.id[:12]!a}"
                )
            self._layers[name] = layer, body
        return self._layers[name]

    def _diff_id(self, extent: Extent) -> str:
        if extent not in self._diff_ids:
            hashed = sha256()
            with open(extent.path, "rb") as file:
                stream = open_layer(_Part(file.fileno(), extent))
                while data := stream.read(_READ):
                    hashed.update(data)
            self._diff_ids[extent] = f"sha256:{hashed.hexdigest()}"
        return self._diff_ids[extent]

    def _configuration(self, top: str, lineage: list[str], diff_ids: list[str]) -> JSON:
        config: JSON = json.loads(self._layer(top)[1])
        for key in _OWN_KEYS:
            config.pop(key, None)
        config["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
        config["history"] = [_entry(self._layer(each)[0]) for each in lineage]
        return config


def _entry(layer: _Layer) -> JSON:
    """What the history says of *layer*."""
    command = (layer.container_config or {}).get("Cmd")
    words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
    entry = {
        "created": layer.created,
        "created_by": " ".join(words),
        "author": layer.author,
        "comment": layer.comment,
    }
    return {key: value for key, value in entry.items() if value}


class _Part:
    """The bytes of one file of an archive as a stream."""

    def __init__(self, descriptor: int, extent: Extent) -> None:
        self._descriptor = descriptor
        self._at = extent.offset
        self._end = extent.offset + extent.size

    def read(self, size: int = -1, /) -> bytes:
        left = self._end - self._at
        data = os.pread(self._descriptor, left if size < 0 else min(size, left), self._at)
        if left and size and not data:
            raise ArchiveError("the archive is truncated", "it ends within a layer", "get a complete copy")
        self._at += len(data)
        return data
