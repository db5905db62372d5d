"""The forest as it is recorded: nodes with who uses them, images, histories, documents to inspect."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict

from engine.model import JSON, Image, Node
from engine.oci import history
from engine.oci.configuration import configuration, covering_manifest
from engine.store import records
from engine.store.records import NodeRow


def forest(connection: sqlite3.Connection) -> list[Node]:
    """Every node: parents before their children, siblings by time and chain ID, each tree in one piece."""
    children: dict[str | None, list[NodeRow]] = defaultdict(list)
    for row in records.nodes(connection):
        children[row.parent].append(row)
    for siblings in children.values():
        siblings.sort(key=lambda row: (row.created, row.chain_id), reverse=True)
    tags = _tags_by_node(connection)
    containers = _containers_by_node(connection)
    nodes = []
    pending = list(children[None])
    while pending:
        row = pending.pop()
        nodes.append(_node(row, tags, containers))
        pending.extend(children.get(row.chain_id, ()))
    return nodes


def node(connection: sqlite3.Connection, chain_id: str) -> Node | None:
    """One node of the forest."""
    row = records.node_row(connection, chain_id)
    if row is None:
        return None
    return _node(row, _tags_by_node(connection), _containers_by_node(connection))


def _node(row: NodeRow, tags: dict[str, list[str]], containers: dict[str, list[str]]) -> Node:
    return Node(
        *row, tags=tuple(tags.get(row.chain_id, ())), containers=tuple(containers.get(row.chain_id, ()))
    )


def _tags_by_node(connection: sqlite3.Connection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, _, chain_id in records.tags(connection):
        found[chain_id].append(name)
    return found


def _containers_by_node(connection: sqlite3.Connection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for chain_id, name in connection.execute("SELECT chain_id, name FROM containers ORDER BY name"):
        found[chain_id].append(name)
    return found


def images(connection: sqlite3.Connection) -> list[Image]:
    """Every tag with what it names, by name."""
    found = connection.execute(
        "SELECT t.name, m.digest, m.chain_id, m.config FROM tags t JOIN manifests m ON m.digest = t.manifest"
        " ORDER BY t.name"
    )
    return [Image(name, digest, chain_id, json.loads(config)) for name, digest, chain_id, config in found]


def layers(connection: sqlite3.Connection, chain_id: str, manifest: str | None) -> list[records.LayerRow]:
    """The layers up to *chain_id*, bottom first, as *manifest*, or another that has them, describes them."""
    rows = records.manifest_layers(connection, manifest or covering_manifest(connection, chain_id))
    return rows[: len(records.lineage(connection, chain_id))]


def history_of(connection: sqlite3.Connection, chain_id: str, manifest: str | None) -> list[JSON]:
    """How the image came about, newest first: its configuration's entries, with the nodes that they made."""
    config = configuration(connection, chain_id, manifest)
    chain = records.lineage(connection, chain_id)[::-1]
    tags = _tags_by_node(connection)
    entries = config.get("history") or []
    if sum(not entry.get("empty_layer") for entry in entries) != len(chain):
        entries = [{} for _ in chain]
    found = []
    position = 0
    for entry in entries:
        empty = bool(entry.get("empty_layer"))
        row = None if empty else records.node_row(connection, chain[position])
        position += not empty
        found.append(
            {
                "chain_id": row.chain_id if row else None,
                "created": entry.get("created") or (row.created if row else None),
                "created_by": history.text_of(entry, "created_by"),
                "author": history.text_of(entry, "author"),
                "comment": history.text_of(entry, "comment"),
                "size": row.size if row else 0,
                "empty_layer": empty,
                "tags": list(tags.get(row.chain_id, ())) if row else [],
            }
        )
    return found[::-1]


def inspection(connection: sqlite3.Connection, chain_id: str, manifest: str | None) -> JSON:
    """All that is known of an image, as one document."""
    found = node(connection, chain_id)
    assert found is not None
    trees = [records.node_row(connection, each) for each in records.lineage(connection, chain_id)]
    document = found._asdict()
    document["tags"] = list(found.tags)
    document["containers"] = list(found.containers)
    document["children"] = records.children(connection, chain_id)
    document["total_size"] = sum(row.size for row in trees if row)
    document["manifest_digest"] = manifest
    row = records.manifest_row(connection, manifest) if manifest else None
    document["media_type"] = row.media_type if row else None
    document["config_digest"] = row.config_digest if row else None
    document["layers"] = [layer._asdict() for layer in layers(connection, chain_id, manifest)]
    document["config"] = configuration(connection, chain_id, manifest)
    return document
