"""Who takes how much of the store: what of each image others have too, and what it has alone."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from engine.images import prune
from engine.store import partials
from engine.store.store import Store


class ImageUsage(NamedTuple):
    """One image: a manifest with all its names. Bytes of files in its layers and of its kept blobs."""

    names: tuple[str, ...]
    chain_id: str
    manifest_digest: str
    size: int
    shared: int
    """Bytes of layers and blobs that another image has too."""
    exclusive: int
    """Bytes that would come free if this image alone were removed."""
    containers: int


class Usage(NamedTuple):
    """A store."""

    images: tuple[ImageUsage, ...]
    """Largest exclusive bytes first."""
    nodes: int
    nodes_size: int
    blobs: int
    blobs_size: int
    reclaimable: int
    """Bytes that `prune` would free."""
    reclaimable_all: int
    """Bytes that `prune --all` would free."""
    downloads: int
    """Downloads that did not come to their end; a pull goes on with them, `prune` takes them away."""
    downloads_size: int


def usage(store: Store) -> Usage:
    """What the images of *store* take, as recorded."""
    dangling, unused = prune.preview(store).size, prune.preview(store, True).size
    with store.read() as connection:
        nodes, nodes_size = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM nodes"
        ).fetchone()
        blobs, blobs_size = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM"
            " (SELECT max(blob_size) AS size FROM manifest_layers WHERE stored GROUP BY blob_digest)"
        ).fetchone()
        images = sorted(
            _images(connection), key=lambda each: (-each.exclusive, each.names, each.manifest_digest)
        )
    parts = [size for _, size in partials.unfinished(store.layout)]
    return Usage(
        tuple(images), nodes, nodes_size, blobs, blobs_size, dangling, unused, len(parts), sum(parts)
    )


def _images(connection: sqlite3.Connection) -> list[ImageUsage]:
    parts: dict[str, dict[str, int]] = {}
    for kind, manifest, key, size in connection.execute(
        "SELECT 'node', l.manifest, l.chain_id, n.size FROM manifest_layers l JOIN nodes n USING (chain_id)"
        " UNION SELECT 'blob', manifest, blob_digest, blob_size FROM manifest_layers WHERE stored"
    ):
        parts.setdefault(manifest, {})[f"{kind} {key}"] = size
    users: dict[str, int] = {}
    for own in parts.values():
        for part in own:
            users[part] = users.get(part, 0) + 1
    names: dict[str, list[str]] = {}
    for name, manifest in connection.execute("SELECT name, manifest FROM tags ORDER BY name"):
        names.setdefault(manifest, []).append(name)
    containers = dict(
        connection.execute(
            "SELECT manifest, count(*) FROM containers WHERE manifest IS NOT NULL GROUP BY 1"
        ).fetchall()
    )
    found = []
    for digest, chain_id in connection.execute("SELECT digest, chain_id FROM manifests"):
        own = parts.get(digest, {})
        size = sum(own.values())
        exclusive = sum(count for part, count in own.items() if users[part] == 1)
        found.append(
            ImageUsage(
                tuple(names.get(digest, ())),
                chain_id,
                digest,
                size,
                size - exclusive,
                exclusive,
                containers.get(digest, 0),
            )
        )
    return found
