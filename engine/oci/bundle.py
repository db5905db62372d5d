"""What images an archive holds: its names, manifests, configurations and where each layer's bytes are.

docker-archive (moby, image/spec, "Combined Image JSON + Filesystem Changeset Format") and OCI image layouts
(image-spec, image-layout.md). An archive that is both, as docker 25 writes them, is read as an OCI layout, so
that its manifests stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.errors import ArchiveError, NotFoundError, UsageError
from engine.oci import documents, platforms, reference
from engine.oci.archive import Archive, Extent, not_an_image, read_document, read_extent
from engine.oci.documents import Descriptor, DockerImage, ImageConfig, Index
from engine.store.indexes import Document, NewIndex

_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_MAX_NESTING = 4


class BundledLayer(NamedTuple):
    """One layer of a bundled image."""

    extent: Extent
    diff_id: str
    digest: str | None
    """Of the blob as it is in the archive; None where the archive does not say it (docker-archive)."""
    media_type: str


class BundledImage(NamedTuple):
    """One image of an archive, its documents verified; its layers are not read yet."""

    names: tuple[str, ...]
    """Normalised; empty if the archive gives it none."""
    manifest: bytes | None
    """As it came; None in a docker-archive, which has none."""
    media_type: str
    config: bytes
    config_media_type: str
    parsed: ImageConfig
    layers: tuple[BundledLayer, ...]
    is_companion: bool = False
    """Whether it is here only because an index names it, for another machine than this one."""


class Bundle(NamedTuple):
    """What an archive holds."""

    images: list[BundledImage]
    indexes: tuple[NewIndex, ...] = ()
    """Those by which images came; without names where the archive gives none."""


def read_images(archive: Archive, label: str, *, all_platforms: bool = False) -> Bundle:
    """All images in *archive*; *label* (the name of its file) completes names that are only a tag.

    Of an index, the image for this machine has to be there, and those for others are taken along as far as
    the archive has them; with *all_platforms*, all have to be there and none needs to be for this machine.
    Raises ArchiveError.
    """
    if archive.has("index.json") and archive.has("oci-layout"):
        return _OCI(archive, all_platforms).read(label)
    if archive.has("manifest.json"):
        return Bundle(_docker_images(archive))
    raise not_an_image("it has neither manifest.json nor index.json")


def _docker_images(archive: Archive) -> list[BundledImage]:
    entries = documents.decode(read_document(archive, "manifest.json"), list[DockerImage], "manifest.json")
    if not entries:
        raise not_an_image("its manifest.json lists nothing")
    return [_docker_image(archive, entry) for entry in entries]


def _docker_image(archive: Archive, entry: DockerImage) -> BundledImage:
    body = read_document(archive, entry.config)
    files = entry.layers or []
    config = documents.decode_config(body, len(files))
    layers = tuple(
        BundledLayer(archive.locate(file), diff_id, None, documents.OCI_LAYER)
        for file, diff_id in zip(files, config.rootfs.diff_ids, strict=True)
    )
    names = tuple(names_of(entry.repo_tags or []))
    return BundledImage(names, None, documents.OCI_MANIFEST, body, documents.OCI_CONFIG, config, layers)


class _OCI:
    """An OCI layout that is being read."""

    def __init__(self, archive: Archive, all_platforms: bool) -> None:
        self._archive = archive
        self._all_platforms = all_platforms
        self._found: dict[str, BundledImage] = {}
        self._indexes: list[NewIndex] = []

    def read(self, label: str) -> Bundle:
        """All that its index.json lists."""
        archive = self._archive
        layout = documents.decode(read_document(archive, "oci-layout"), documents.LayoutFile, "oci-layout")
        if not layout.image_layout_version.startswith("1."):
            raise not_an_image(f"its OCI layout has the unknown version {layout.image_layout_version}")
        for entry in documents.decode_index(read_document(archive, "index.json")).manifests:
            if platforms.is_attestation(entry):
                continue
            names = tuple(names_of(_oci_names(entry, label)))
            if entry.media_type in documents.INDEXES:
                self._take_index(entry, names)
            elif entry.media_type in documents.MANIFESTS:
                self._take(entry, names)
            else:
                raise not_an_image(f"its index.json lists something of the type {entry.media_type}")
        if not self._found:
            raise not_an_image("its index.json lists no image")
        return Bundle(list(self._found.values()), tuple(self._indexes))

    def _take(self, entry: Descriptor, names: tuple[str, ...], *, is_companion: bool = False) -> None:
        image = self._found.get(entry.digest) or _oci_image(self._archive, entry)
        known = image.names + tuple(name for name in names if name not in image.names)
        alone = is_companion and (image.is_companion or entry.digest not in self._found)
        self._found[entry.digest] = image._replace(names=known, is_companion=alone)

    def _take_index(self, entry: Descriptor, names: tuple[str, ...]) -> None:
        body = _blob(self._archive, entry)
        index = documents.decode_index(body, entry.media_type)
        parts = _Parts({}, {}, set())
        self._collect(index, parts, _MAX_NESTING)
        ranks = platforms.ranks(index.manifests)
        try:
            chosen = _for_this_machine(self._archive, index)
        except NotFoundError as error:
            if not self._all_platforms:
                raise ArchiveError(
                    "the image has no variant for this machine", error.why, "--all-platforms takes the others"
                ) from error
            if not parts.manifests:
                raise not_an_image("its index names no image") from error
            chosen = min(parts.manifests.values(), key=lambda each: ranks.get(each.digest, len(ranks)))
        here = {**parts.manifests, chosen.digest: chosen}
        for each in here.values():
            self._take(each, names if each is chosen else (), is_companion=each is not chosen)
        ranks[chosen.digest] = 0
        ranked = tuple((digest, ranks.get(digest, len(ranks))) for digest in here)
        top = Document(entry.digest, entry.media_type, body)
        self._indexes.append(NewIndex(top, ranked, tuple(parts.others.values()), names))

    def _collect(self, index: Index, parts: _Parts, depth: int) -> None:
        """What *index* names, as far as it is in the archive."""
        if not depth:
            raise _too_deep()
        for entry in index.manifests:
            if entry.digest in parts.seen or not self._is_needed(entry):
                continue
            parts.seen.add(entry.digest)
            if platforms.is_attestation(entry):
                parts.others.update((each.digest, each) for each in self._attestation(entry))
            elif entry.media_type in documents.INDEXES:
                body = _blob(self._archive, entry)
                parts.others[entry.digest] = Document(entry.digest, entry.media_type, body)
                self._collect(documents.decode_index(body, entry.media_type), parts, depth - 1)
            elif entry.media_type in documents.MANIFESTS and self._is_image(entry):
                parts.manifests[entry.digest] = entry

    def _is_needed(self, entry: Descriptor) -> bool:
        """Whether it is there; where all has to be, what is not shows when it is read."""
        return self._all_platforms or self._has(entry)

    def _has(self, blob: Descriptor) -> bool:
        return self._archive.has(_place(blob))

    def _is_image(self, entry: Descriptor) -> bool:
        """Whether it is an image rather than an artifact of another kind, with all of its layers."""
        manifest = documents.decode(_blob(self._archive, entry), documents.Manifest, "a manifest")
        if manifest.config.media_type not in documents.CONFIGS:
            return False
        return all(self._is_needed(blob) for blob in (manifest.config, *manifest.layers))

    def _attestation(self, entry: Descriptor) -> Iterator[Document]:
        """The manifest of an attestation and what it names; nothing, if not all is here or it is too much."""
        body = _blob(self._archive, entry)
        manifest = documents.decode(body, documents.Manifest, "the manifest of an attestation")
        blobs = [manifest.config, *manifest.layers]
        if all(self._has(blob) and blob.size <= documents.MAX_DOCUMENT for blob in blobs):
            for blob in blobs:
                yield Document(blob.digest, blob.media_type, _blob(self._archive, blob))
            yield Document(entry.digest, entry.media_type, body)


class _Parts(NamedTuple):
    """What an index names, with all that its indexes name, by digest."""

    manifests: dict[str, Descriptor]
    others: dict[str, Document]
    seen: set[str]
    """What was looked at: an index may name one thing any number of times."""


def _oci_image(archive: Archive, entry: Descriptor) -> BundledImage:
    body = _blob(archive, entry)
    manifest = documents.decode_manifest(body, entry.media_type)
    config_body = _blob(archive, manifest.config)
    config = documents.decode_config(config_body, len(manifest.layers))
    layers = tuple(
        BundledLayer(_extent(archive, layer), diff_id, layer.digest, layer.media_type)
        for layer, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True)
    )
    return BundledImage((), body, entry.media_type, config_body, manifest.config.media_type, config, layers)


def _for_this_machine(archive: Archive, index: Index) -> Descriptor:
    """The image manifest that *index* means here. Raises NotFoundError if it has none for this machine."""
    for _ in range(_MAX_NESTING):
        entry = platforms.choose(index.manifests, platforms.host())
        if entry.media_type in documents.MANIFESTS:
            return entry
        if entry.media_type not in documents.INDEXES:
            raise not_an_image(f"its index lists something of the type {entry.media_type}")
        index = documents.decode_index(_blob(archive, entry), entry.media_type)
    raise _too_deep()


def _too_deep() -> ArchiveError:
    return ArchiveError("the archive is malformed", f"its indexes are nested more than {_MAX_NESTING} deep")


def _oci_names(entry: Descriptor, label: str) -> Iterator[str]:
    annotations = entry.annotations or {}
    if full := annotations.get(_FULL_NAME):
        yield full
    elif short := annotations.get(_REF_NAME):
        yield short if ":" in short or "/" in short or "@" in short else f"{label}:{short}"


def names_of(given: Iterator[str] | list[str]) -> Iterator[str]:
    """Those of the *given* names that are names, normalised."""
    for name in given:
        try:
            parsed = reference.parse(name)
        except UsageError:
            continue
        yield f"{parsed.name}:{parsed.tag or reference.DEFAULT_TAG}"


def _place(blob: Descriptor) -> str:
    return f"blobs/sha256/{blob.digest.removeprefix('sha256:')}"


def _extent(archive: Archive, blob: Descriptor) -> Extent:
    extent = archive.locate(_place(blob))
    if extent.size != blob.size:
        raise ArchiveError(
            f"the blob {blob.digest[:19]} has the wrong size",
            f"{extent.size} bytes instead of {blob.size}",
            "get a complete copy",
        )
    return extent


def _blob(archive: Archive, blob: Descriptor) -> bytes:
    """The document that *blob* describes, verified."""
    extent = _extent(archive, blob)
    if extent.size > documents.MAX_DOCUMENT:
        raise ArchiveError("a document of the image is too large", f"{extent.size} bytes")
    body = read_extent(extent)
    if documents.digest_of(body) != blob.digest:
        raise wrong_digest(blob.digest, documents.digest_of(body))
    return body


def wrong_digest(expected: str, actual: str) -> ArchiveError:
    """The error for bytes that are not what their name says."""
    return ArchiveError(
        f"the blob {expected[:19]} is damaged", f"its bytes have the digest {actual[:19]}", "get it again"
    )
