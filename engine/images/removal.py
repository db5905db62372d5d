"""What `rmi` takes away: names, manifests that nothing names any more, the nodes and blobs of only those.

Every node is a layer of at least one recorded manifest, always: a manifest stays for as long as a name means
it, a container was made with it, or a container made from a bare node relies on it for that node.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

from engine.errors import InUseError, UsageError
from engine.model import Removal, RemovalItem
from engine.oci.reference import normalise, resolve_image
from engine.store import indexes, records
from engine.store.deletion import delete_tree
from engine.store.faults import point
from engine.store.records import LayerRow, NodeRow
from engine.store.staging import retire
from engine.store.store import Store


class Plan(NamedTuple):
    """What is to be taken away, and why not."""

    tags: tuple[str, ...]
    manifests: tuple[str, ...]
    nodes: tuple[str, ...]
    """Children before their parents."""
    blobs: dict[str, int]
    """Kept blobs, with their sizes."""
    size: int
    blocked_by: tuple[str, ...]


def preview(store: Store, names: Sequence[str]) -> Removal:
    """What removing *names* would take away. Raises NotFoundError, AmbiguousError, UsageError."""
    with store.read() as connection:
        plan = _plan(connection, names)
        what = describe(connection, plan)
        listed = items(connection, plan)
    return Removal(what, plan.nodes, (), plan.size, plan.blocked_by, listed)


def describe(connection: sqlite3.Connection, plan: Plan) -> tuple[str, ...]:
    """A sentence fragment for each name and node of *plan*."""
    what = [f"tag {tag}" for tag in plan.tags]
    for chain_id in plan.nodes:
        row = records.node_row(connection, chain_id)
        assert row is not None
        what.append(f"image {chain_id[7:19]} ({row.size} bytes in {row.file_count} files)")
    return tuple(what)


def items(connection: sqlite3.Connection, plan: Plan) -> tuple[RemovalItem, ...]:
    """Each name, node and blob of *plan*."""
    found = [RemovalItem("tag", tag, 0) for tag in plan.tags]
    for chain_id in plan.nodes:
        row = records.node_row(connection, chain_id)
        assert row is not None
        found.append(RemovalItem("image", chain_id, row.size, f"{row.file_count} files"))
    found += [RemovalItem("blob", digest, size) for digest, size in plan.blobs.items()]
    return tuple(found)


def remove(store: Store, names: Sequence[str]) -> Removal:
    """Remove *names* and what only they need, and say what that was.

    Raises InUseError when something needs it, and then removes nothing; NotFoundError, AmbiguousError,
    UsageError.
    """
    effect = preview(store, names)
    with store.write(frees=True) as connection:
        plan = _plan(connection, names)
        if plan.blocked_by:
            raise InUseError(
                f"cannot remove {' '.join(names)}", "; ".join(plan.blocked_by), _hint(plan.blocked_by)
            )
        listed = items(connection, plan)
        forget(connection, plan)
        point("remove.before-commit")
    point("remove.after-commit")
    delete(store, plan, "remove")
    return effect._replace(nodes=plan.nodes, size=plan.size, items=listed)


def forget(connection: sqlite3.Connection, plan: Plan) -> None:
    """Take the records of *plan* away, within a transaction; `delete` follows it."""
    for tag in plan.tags:
        records.delete_tag(connection, tag)
    for digest in plan.manifests:
        connection.execute("DELETE FROM manifests WHERE digest = ?", (digest,))
    for chain_id in plan.nodes:
        connection.execute("DELETE FROM nodes WHERE chain_id = ?", (chain_id,))


def delete(store: Store, plan: Plan, step: str) -> None:
    """Delete the trees and blobs whose records are gone; *step* names the fault point."""
    with store.write(frees=True) as connection:  # another process may have loaded the same again since
        trashed = [
            store.layout.layer(chain_id)
            for chain_id in plan.nodes
            if records.node_row(connection, chain_id) is None
        ]
        trashed += [
            store.layout.blob(digest) for digest in plan.blobs if not records.is_kept(connection, digest)
        ]
        retired = [retire(store.layout, path) for path in trashed]
    point(f"{step}.after-rename")
    for path in filter(None, retired):
        delete_tree(path)


def _hint(blocked_by: Sequence[str]) -> str:
    in_use = any("container" in reason for reason in blocked_by)
    return "remove that container first: cowl rm" if in_use else "remove what is on top of it first"


def _plan(connection: sqlite3.Connection, names: Sequence[str]) -> Plan:
    tags: list[str] = []
    manifests: list[str] = []
    for name in names:
        own_tags, own_manifests = _meant(connection, name)
        tags += [tag for tag in own_tags if tag not in tags]
        manifests += [digest for digest in own_manifests if digest not in manifests]
    for digest in indexes.companions(connection, tags):  # those for other machines, unless they are used
        if digest not in manifests and not users(connection, digest, (digest,)):
            manifests.append(digest)
    held = indexes.held(connection, tags)
    going = [
        digest
        for digest in manifests
        if digest not in held and not set(records.tags_of_manifest(connection, digest)).difference(tags)
    ]
    blocked = [reason for digest in going for reason in users(connection, digest, going)]
    for name in names:
        chain_id, manifest = resolve_image(connection, name)
        if manifest is None:
            blocked += _needed_by(connection, chain_id)
    return plan_for(connection, tags, going, tuple(dict.fromkeys(blocked)))


def plan_for(
    connection: sqlite3.Connection, tags: Sequence[str], going: Sequence[str], blocked: tuple[str, ...] = ()
) -> Plan:
    """The plan that takes *tags* and the manifests *going* away, with what only these need."""
    layers = [layer for digest in going for layer in records.manifest_layers(connection, digest)]
    gone = frozenset(going)
    rows = _orphans(connection, layers, gone)
    blobs = _orphaned_blobs(connection, layers, gone)
    size = sum(row.size for row in rows) + sum(blobs.values())
    return Plan(tuple(tags), tuple(going), tuple(row.chain_id for row in rows), blobs, size, blocked)


def _meant(connection: sqlite3.Connection, name: str) -> tuple[list[str], list[str]]:
    """The tags and manifests that *name* asks to remove: one tag, or all that a digest or chain ID has."""
    chain_id, manifest = resolve_image(connection, name)
    if manifest is None:
        return [], []
    try:
        tag = normalise(name)
    except UsageError:
        tag = ""
    for candidate in (tag, f"localhost/{tag}"):
        if records.find_tag(connection, candidate) == manifest:
            return [candidate], [manifest]
    digests = [manifest] if "@" in name else records.manifests_of_node(connection, chain_id)
    return [tag for digest in digests for tag in records.tags_of_manifest(connection, digest)], digests


def users(connection: sqlite3.Connection, digest: str, going: Collection[str]) -> list[str]:
    """Containers that need the manifest *digest*."""
    reasons = [
        f"container {name} uses it"
        for (name,) in connection.execute(
            "SELECT name FROM containers WHERE manifest = ? ORDER BY 1", (digest,)
        )
    ]
    bare = connection.execute(
        "SELECT c.name, c.chain_id FROM containers c JOIN manifest_layers l ON l.chain_id = c.chain_id"
        " WHERE c.manifest IS NULL AND l.manifest = ? ORDER BY 1",
        (digest,),
    ).fetchall()
    for name, chain_id in bare:
        if not _others_with(connection, chain_id, going):
            reasons.append(f"container {name} uses its layer {chain_id[7:19]}")
    return reasons


def _others_with(connection: sqlite3.Connection, chain_id: str, going: Collection[str]) -> bool:
    found = connection.execute("SELECT manifest FROM manifest_layers WHERE chain_id = ?", (chain_id,))
    return any(digest not in going for (digest,) in found)


def _needed_by(connection: sqlite3.Connection, chain_id: str) -> list[str]:
    """Why a node without a manifest of its own cannot go: it is a part of images."""
    found = connection.execute(
        "SELECT DISTINCT coalesce(t.name, substr(m.chain_id, 8, 12)) FROM manifest_layers l"
        " JOIN manifests m ON m.digest = l.manifest LEFT JOIN tags t ON t.manifest = m.digest"
        " WHERE l.chain_id = ? ORDER BY 1",
        (chain_id,),
    )
    return [f"image {name} needs {chain_id[7:19]}" for (name,) in found]


def _orphans(
    connection: sqlite3.Connection, layers: Sequence[LayerRow], going: Collection[str]
) -> list[NodeRow]:
    """Nodes of *layers* that no manifest but those *going* has, children first."""
    found: dict[str | None, NodeRow] = {}
    for chain_id in dict.fromkeys(layer.chain_id for layer in layers):
        row = records.node_row(connection, chain_id)
        if row and not _others_with(connection, chain_id, going):
            found[chain_id] = row

    def depth(row: NodeRow) -> int:
        count = 0
        while parent := found.get(row.parent):
            row, count = parent, count + 1
        return count

    return sorted(found.values(), key=lambda row: (-depth(row), row.chain_id))


def _orphaned_blobs(
    connection: sqlite3.Connection, layers: Sequence[LayerRow], going: Collection[str]
) -> dict[str, int]:
    """Kept blobs of *layers*, with their sizes, that no manifest but those *going* has."""
    found = {layer.blob_digest: layer.blob_size for layer in layers if layer.stored}
    for digest in list(found):
        users = connection.execute(
            "SELECT manifest FROM manifest_layers WHERE blob_digest = ? AND stored", (digest,)
        )
        if any(user not in going for (user,) in users):
            del found[digest]
    return found
