"""What nothing needs any more: images without a name and without a container, on request those with a name.

Downloads that did not come to their end go, too.

A manifest is needed by a name, by a container made with it, and by a container on a bare node if no other
manifest has that node. What goes is worked out anew inside the transaction that takes it away.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from engine.images import removal
from engine.images.removal import Plan
from engine.model import Removal, RemovalItem
from engine.store import indexes, partials
from engine.store.faults import point
from engine.store.store import Store


def preview(store: Store, everything: bool = False, without: Sequence[str] = ()) -> Removal:
    """What `prune` would take away; with *everything*, names without a container too.

    *without* are IDs of containers to be thought away: they are about to be removed.
    """
    with store.read() as connection:
        plan = _plan(connection, everything, frozenset(without))
        return _removal(store, connection, plan)


def prune(store: Store, everything: bool = False) -> Removal:
    """Take away what nothing needs, and say what that was. Raises StoreError."""
    with store.write(frees=True) as connection:
        plan = _plan(connection, everything, frozenset())
        effect = _removal(store, connection, plan)
        removal.forget(connection, plan)
        point("prune.before-commit")
    point("prune.after-commit")
    removal.delete(store, plan, "prune")
    partials.sweep(store.layout, everything=True)
    return effect


def _removal(store: Store, connection: sqlite3.Connection, plan: Plan) -> Removal:
    what = list(removal.describe(connection, plan))
    what += [f"blob {digest[7:19]} ({size} bytes)" for digest, size in plan.blobs.items()]
    unfinished = partials.unfinished(store.layout)
    what += [f"unfinished download {digest[7:19]} ({size} bytes)" for digest, size in unfinished]
    tagged = _tagged(connection)
    nameless = [digest for digest in plan.manifests if digest not in tagged]
    if not what and nameless:
        what.append(f"{len(nameless)} image configurations without a name")
    size = plan.size + sum(size for _, size in unfinished)
    items = [RemovalItem("manifest", digest, 0, "an image without a name") for digest in nameless]
    items += removal.items(connection, plan)
    items += [RemovalItem("download", digest, size, "unfinished") for digest, size in unfinished]
    return Removal(tuple(what), plan.nodes, (), size, (), tuple(items))


def _tagged(connection: sqlite3.Connection) -> set[str]:
    tagged = {digest for (digest,) in connection.execute("SELECT manifest FROM tags")}
    return tagged | indexes.held(connection)


def _plan(connection: sqlite3.Connection, everything: bool, without: frozenset[str]) -> Plan:
    containers = [
        (chain_id, manifest)
        for identity, chain_id, manifest in connection.execute(
            "SELECT id, chain_id, manifest FROM containers"
        )
        if identity not in without
    ]
    needed = {manifest for _, manifest in containers if manifest}
    if not everything:
        needed |= _tagged(connection)
    for chain_id in sorted({chain_id for chain_id, manifest in containers if not manifest}):
        covering = _covering(connection, chain_id)
        if covering and not needed.intersection(covering):
            needed.add(covering[0])
    going = [
        digest
        for (digest,) in connection.execute("SELECT digest FROM manifests ORDER BY digest")
        if digest not in needed
    ]
    gone = set(going)
    tags = [
        name
        for name, digest in connection.execute("SELECT name, manifest FROM tags ORDER BY name")
        if digest in gone
    ]
    return removal.plan_for(connection, tags, going)


def _covering(connection: sqlite3.Connection, chain_id: str) -> list[str]:
    """Manifests that have the node: one with a name first, then the one with the fewest layers."""
    found = connection.execute(
        "SELECT l.manifest FROM manifest_layers l WHERE l.chain_id = ?"
        " ORDER BY NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest = l.manifest),"
        " (SELECT count(*) FROM manifest_layers m WHERE m.manifest = l.manifest), l.manifest",
        (chain_id,),
    )
    return [digest for (digest,) in found]
