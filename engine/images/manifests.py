"""Manifests of cowl's own, for what it makes: always OCI's, whatever the layers underneath came as."""

from __future__ import annotations

from collections.abc import Sequence

from engine.images.publication import NewManifest
from engine.model import JSON
from engine.oci import documents
from engine.store.records import LayerRow, ManifestRow


def new_manifest(
    document: JSON, layers: Sequence[LayerRow], chain_id: str, names: tuple[str, ...]
) -> NewManifest:
    """An OCI manifest of cowl's own for the image configuration *document*."""
    config = documents.encode(document)
    config_digest = documents.digest_of(config)
    own = [layer._replace(media_type=documents.oci_media_type(layer.media_type)) for layer in layers]
    body = documents.encode(
        documents.manifest_document(
            documents.descriptor(documents.OCI_CONFIG, config_digest, len(config)),
            [documents.descriptor(row.media_type, row.blob_digest, row.blob_size) for row in own],
        )
    )
    digest = documents.digest_of(body)
    row = ManifestRow(digest, documents.OCI_MANIFEST, body, config_digest, config, chain_id)
    return NewManifest(row, tuple(own), names)
