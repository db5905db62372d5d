"""All records of a store at one moment, raw, and who relies on what: what a check goes through.

Nothing is taken for granted: links between records may lead nowhere, documents may be no JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine.store.records import LayerRow, ManifestRow, NodeRow
from engine.store.store import Store


class ContainerFacts(NamedTuple):
    """A container's record, its documents unread."""

    id: str
    name: str
    chain_id: str
    manifest: str | None
    created: str
    command: str
    options: str


class Inventory(NamedTuple):
    """The records."""

    nodes: dict[str, NodeRow]
    trees: dict[str, str]
    """By chain ID: the digest that the tree of a node had when it was known to be right."""
    manifests: dict[str, ManifestRow]
    layers: dict[str, list[LayerRow]]
    """By manifest, bottom first."""
    by_node: dict[str, list[LayerRow]]
    """The same layers by their node's chain ID."""
    tags: dict[str, str]
    """By name: the manifest."""
    containers: list[ContainerFacts]

    def lineage(self, chain_id: str) -> list[str]:
        """The node and its parents, top first, as far as they are recorded."""
        found: list[str] = []
        here: str | None = chain_id
        while here is not None and here in self.nodes and here not in found:
            found.append(here)
            here = self.nodes[here].parent
        return found

    def rows_of(self, chain_id: str) -> list[LayerRow]:
        """The node as the manifests that have it describe it."""
        return self.by_node.get(chain_id, [])

    def kept(self) -> dict[str, tuple[str, LayerRow]]:
        """By digest: each blob that is kept, as one manifest and layer describe it."""
        return {
            row.blob_digest: (manifest, row)
            for manifest, rows in self.layers.items()
            for row in rows
            if row.stored
        }

    def names_of(self, manifests: Sequence[str]) -> tuple[str, ...]:
        """How people call these manifests: their tags, or the beginning of a digest."""
        tags = [name for name, manifest in self.tags.items() if manifest in manifests]
        nameless = [digest[:19] for digest in manifests if digest not in self.tags.values()]
        return (*sorted(tags), *sorted(nameless))

    def with_node(self, chain_id: str) -> list[str]:
        """The manifests that have the node among their layers."""
        return [
            manifest
            for manifest, rows in self.layers.items()
            if any(row.chain_id == chain_id for row in rows)
        ]

    def with_blob(self, digest: str) -> list[str]:
        """The manifests that have the kept blob among their layers."""
        return [
            m for m, rows in self.layers.items() if any(r.blob_digest == digest and r.stored for r in rows)
        ]

    def on_node(self, chain_id: str) -> list[ContainerFacts]:
        """The containers that have the node among their layers."""
        return [each for each in self.containers if chain_id in self.lineage(each.chain_id)]

    def on_manifests(self, manifests: Sequence[str]) -> list[ContainerFacts]:
        """The containers that one of *manifests* is needed for: made with it, or on a node of it alone."""
        return [
            each
            for each in self.containers
            if each.manifest in manifests
            or (each.manifest is None and set(self.with_node(each.chain_id)) <= {*manifests})
        ]

    def parents_first(self) -> Iterator[NodeRow]:
        """Every node; what no root leads to comes last."""
        children: dict[str | None, list[NodeRow]] = {}
        for row in self.nodes.values():
            children.setdefault(row.parent, []).append(row)
        seen: set[str] = set()
        pending = list(children.get(None, ()))
        while pending:
            row = pending.pop()
            seen.add(row.chain_id)
            yield row
            pending += children.get(row.chain_id, ())
        yield from (row for row in self.nodes.values() if row.chain_id not in seen)


def take(store: Store) -> Inventory:
    """The records of *store* now. Raises StoreError."""
    with store.read() as connection:
        layers: dict[str, list[LayerRow]] = {}
        by_node: dict[str, list[LayerRow]] = {}
        for manifest, chain, blob, size, media, stored in connection.execute(
            "SELECT manifest, chain_id, blob_digest, blob_size, media_type, stored FROM manifest_layers"
            " ORDER BY manifest, position"
        ):
            row = LayerRow(chain, blob, size, media, bool(stored))
            layers.setdefault(manifest, []).append(row)
            by_node.setdefault(chain, []).append(row)
        return Inventory(
            {row[0]: NodeRow(*row) for row in connection.execute("SELECT * FROM nodes")},
            dict(connection.execute("SELECT chain_id, digest FROM trees").fetchall()),
            {row[0]: ManifestRow(*row) for row in connection.execute("SELECT * FROM manifests")},
            layers,
            by_node,
            dict(connection.execute("SELECT name, manifest FROM tags ORDER BY name").fetchall()),
            [
                ContainerFacts(*row)
                for row in connection.execute(
                    "SELECT id, name, chain_id, manifest, created, command, options FROM containers"
                    " ORDER BY created, id"
                )
            ],
        )
