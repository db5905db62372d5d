"""Names for images; also for layers of images, which get a manifest of their own then."""

from __future__ import annotations

from engine.errors import NotFoundError
from engine.images import forest
from engine.images.manifests import new_manifest
from engine.oci import reference
from engine.oci.configuration import configuration
from engine.store import indexes, records
from engine.store.clock import now
from engine.store.store import Store


def tag(store: Store, source: str, name: str) -> None:
    """Let *name* mean what *source* means. Raises NotFoundError, AmbiguousError, UsageError."""
    normalised = reference.normalise(name)
    digest = ensure_manifest(store, source)
    with store.write() as connection:
        if records.manifest_row(connection, digest) is None:
            reference.resolve_image(connection, source)  # removed a moment ago: says so
        index = reference.index_of(connection, source)
        records.set_tag(connection, normalised, digest, now())
        if index:
            indexes.name(connection, normalised, index)


def untag(store: Store, name: str) -> str:
    """Take the tag *name* off what it means, which stays, and return the tag.

    Raises NotFoundError, UsageError.
    """
    normalised = reference.normalise(name)
    with store.write() as connection:
        for tag in (normalised, f"localhost/{normalised}"):
            if records.delete_tag(connection, tag):
                return tag
    raise NotFoundError(f"no tag {normalised}", "no image has it", "look at cowl images")


def ensure_manifest(store: Store, source: str) -> str:
    """The manifest that *source* means, made from its layers if it is a bare node so far."""
    connection = store.connection
    chain_id, digest = reference.resolve_image(connection, source)
    if digest is not None:
        return digest
    with store.write() as writing:
        layers = forest.layers(writing, chain_id, None)
        document = configuration(writing, chain_id, None)
        manifest = new_manifest(document, layers, chain_id, ())
        records.add_manifest(writing, manifest.row, manifest.layers)
    return manifest.row.digest
