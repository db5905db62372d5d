"""What a name means in a registry: one image for a machine, or all of an index, their documents verified.

Layers are not fetched here, only described: where each will be once it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from engine.errors import ArchiveError, NotFoundError
from engine.images.downloads import Downloads, first
from engine.oci import documents, platforms
from engine.oci.archive import Extent
from engine.oci.bundle import BundledImage, BundledLayer
from engine.oci.documents import Descriptor, Index, Platform
from engine.oci.registry import repository
from engine.oci.registry.repository import Repository
from engine.store import indexes, records
from engine.store.indexes import NewIndex
from engine.store.store import Store

_MAX_NESTING = 4

_T = TypeVar("_T")


class Resolved(NamedTuple):
    """What is to be taken in for one name."""

    images: list[BundledImage]
    """The one that the name means here comes first and has it."""
    came_by: NewIndex | None
    """The index that names them, if they came by one."""


class Resolver:
    """Asks the first of *repositories* that knows."""

    def __init__(self, store: Store, repositories: Sequence[Repository], downloads: Downloads) -> None:
        self._store = store
        self._repositories = repositories
        self._downloads = downloads

    def one(self, target: str, names: tuple[str, ...], wanted: Platform | None) -> Resolved:
        """The image for the platform *wanted*, or for this machine, that *target* (a tag or digest) means.

        Raises NotFoundError, DeniedError, RegistryError, ArchiveError.
        """
        top = self._first(lambda each: each.manifest(target))
        if top.media_type in documents.MANIFESTS:
            return Resolved([self._image(top, names, wanted)], None)
        found, rank = top, 0
        for _ in range(_MAX_NESTING):
            index = documents.decode_index(found.body, found.media_type)
            entry = platforms.choose(index.manifests, wanted or platforms.host())
            rank = platforms.ranks(index.manifests)[entry.digest] if found is top else rank
            found = self._entry(entry)
            if found.media_type in documents.MANIFESTS:
                came_by = NewIndex(_kept(top), ((found.digest, rank),), (), names)
                return Resolved([self._image(found, names, None)], came_by)
        raise _too_deep()

    def whole(self, target: str, names: tuple[str, ...]) -> Resolved:
        """All that *target* means, for whatever machine. Raises as `one` does."""
        top = self._first(lambda each: each.manifest(target))
        if top.media_type in documents.MANIFESTS:
            return Resolved([self._image(top, names, None)], None)
        index = documents.decode_index(top.body, top.media_type)
        parts = _Parts([], [], set())
        self._collect(index, parts, _MAX_NESTING)
        if not parts.manifests:
            raise NotFoundError("the index is empty", "it names no image", "look at the name")
        ranks = platforms.ranks(index.manifests)
        order = sorted(parts.manifests, key=lambda each: ranks.get(each.digest, len(ranks)))
        unique = {each.digest: each for each in order}
        images = [self._image(each, () if at else names, None) for at, each in enumerate(unique.values())]
        here = tuple((digest, ranks.get(digest, len(ranks))) for digest in unique)
        return Resolved(images, NewIndex(_kept(top), here, tuple(parts.others), names))

    def _collect(self, index: Index, parts: _Parts, depth: int) -> None:
        if not depth:
            raise _too_deep()
        for entry in index.manifests:
            if entry.digest in parts.seen:
                continue
            parts.seen.add(entry.digest)
            if platforms.is_attestation(entry):
                parts.others.extend(self._attestation(entry))
            elif entry.media_type in documents.MANIFESTS:
                parts.manifests.append(self._entry(entry))
            elif entry.media_type in documents.INDEXES:
                nested = self._entry(entry)
                parts.others.append(_kept(nested))
                self._collect(documents.decode_index(nested.body, nested.media_type), parts, depth - 1)

    def _attestation(self, entry: Descriptor) -> Iterator[indexes.Document]:
        """The manifest of an attestation and what it names; nothing, if that is too much to keep."""
        found = self._entry(entry)
        manifest = documents.decode(found.body, documents.Manifest, "the manifest of an attestation")
        blobs = [manifest.config, *manifest.layers]
        if all(blob.size <= documents.MAX_DOCUMENT for blob in blobs):
            for blob in blobs:
                yield indexes.Document(blob.digest, blob.media_type, self._document(blob, "attestation"))
            yield _kept(found)

    def _image(
        self, found: repository.Document, names: tuple[str, ...], wanted: Platform | None
    ) -> BundledImage:
        manifest = documents.decode_manifest(found.body, found.media_type)
        row = records.manifest_row(self._store.connection, found.digest)
        body = row.config if row else self._document(manifest.config, "image configuration")
        config = documents.decode_config(body, len(manifest.layers))
        made_for = Platform(config.architecture, config.os, config.variant)
        if wanted and config.architecture and not platforms.fits(made_for, wanted):
            raise NotFoundError(
                f"the image is not for {platforms.shown(wanted)}", f"it is for {platforms.shown(made_for)}"
            )
        layers = tuple(
            BundledLayer(
                Extent(self._downloads.expect(layer), 0, layer.size), diff_id, layer.digest, layer.media_type
            )
            for layer, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True)
        )
        kind = manifest.config.media_type
        return BundledImage(names, found.body, found.media_type, body, kind, config, layers)

    def _entry(self, entry: Descriptor) -> repository.Document:
        found = self._first(lambda each: each.manifest(entry.digest, entry.media_type))
        if len(found.body) != entry.size:
            raise ArchiveError(
                f"the manifest {entry.digest[:19]} has the wrong size",
                f"{len(found.body)} bytes instead of {entry.size}",
            )
        return found

    def _document(self, blob: Descriptor, what: str) -> bytes:
        return self._first(lambda each: each.document(blob, what))

    def _first(self, ask: Callable[[Repository], _T]) -> _T:
        return first(self._repositories, ask)


class _Parts(NamedTuple):
    """What an index names, with all that its indexes name."""

    manifests: list[repository.Document]
    others: list[indexes.Document]
    seen: set[str]
    """What was looked at: an index may name one thing any number of times."""


def _kept(found: repository.Document) -> indexes.Document:
    return indexes.Document(found.digest, found.media_type, found.body)


def _too_deep() -> ArchiveError:
    return ArchiveError("the image is malformed", f"its indexes are nested more than {_MAX_NESTING} deep")
