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


def read_images(archive: Archive, label: str) -> list[BundledImage]:
    """All images in *archive*; *label* (the name of its file) completes names that are only a tag.

    Raises ArchiveError.
    """
    if archive.has("index.json") and archive.has("oci-layout"):
        return _oci_images(archive, label)
    if archive.has("manifest.json"):
        return _docker_images(archive)
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


def _oci_images(archive: Archive, label: str) -> list[BundledImage]:
    layout = documents.decode(read_document(archive, "oci-layout"), documents.LayoutFile, "oci-layout")
    if not layout.image_layout_version.startswith("1."):
        raise not_an_image(f"its OCI layout has the unknown version {layout.image_layout_version}")
    index = documents.decode_index(read_document(archive, "index.json"))
    found: dict[str, BundledImage] = {}
    for entry in index.manifests:
        if platforms.is_attestation(entry):
            continue
        chosen = _for_this_machine(archive, entry)
        names = tuple(names_of(_oci_names(entry, label)))
        earlier = found.get(chosen.digest)
        image = earlier or _oci_image(archive, chosen)
        known = image.names + tuple(name for name in names if name not in image.names)
        found[chosen.digest] = image._replace(names=known)
    if not found:
        raise not_an_image("its index.json lists no image")
    return list(found.values())


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


def _for_this_machine(archive: Archive, entry: Descriptor) -> Descriptor:
    """The image manifest that *entry* means: itself, or the one of an index that this machine can run."""
    for _ in range(_MAX_NESTING):
        if entry.media_type in documents.MANIFESTS:
            return entry
        if entry.media_type not in documents.INDEXES:
            raise not_an_image(f"its index.json lists something of the type {entry.media_type}")
        index = documents.decode_index(_blob(archive, entry), entry.media_type)
        entry = _for_host(index)
    raise ArchiveError("the archive is malformed", f"its indexes are nested more than {_MAX_NESTING} deep")


def _for_host(index: Index) -> Descriptor:
    try:
        return platforms.choose(index.manifests, platforms.host())
    except NotFoundError as error:
        raise ArchiveError("the image has no variant for this machine", error.why) from error


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


def _extent(archive: Archive, blob: Descriptor) -> Extent:
    extent = archive.locate(f"blobs/sha256/{blob.digest.removeprefix('sha256:')}")
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
