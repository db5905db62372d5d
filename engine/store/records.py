"""What is recorded: small functions over a connection, one statement or two each.

Those that write want to be called inside `engine.store.database.transaction`. Nothing here looks at the disk.
"""

from __future__ import annotations

import json
from _sqlite3 import Connection, IntegrityError
from collections.abc import Sequence
from typing import Any

from engine.errors import AmbiguousError, ConflictError, NotFoundError
from engine.model import JSON, Health, LaunchOptions, Limits, PublishedPort, Volume
from engine.record import Record

MIN_PREFIX = 4
"""Hexadecimal digits of a chain ID that are enough to name a node, if they are unique."""


class NodeRow(Record):
    """A node as recorded; `engine.model.Node` adds who uses it."""

    chain_id: str
    parent: str | None
    diff_id: str
    size: int
    file_count: int
    created: str
    created_by: str
    comment: str


class ManifestRow(Record):
    """A manifest and its configuration, as bytes."""

    digest: str
    media_type: str
    body: bytes
    config_digest: str
    config: bytes
    chain_id: str


class LayerRow(Record):
    """One layer of a manifest: the node that it makes and the blob that it came as."""

    chain_id: str
    blob_digest: str
    blob_size: int
    media_type: str
    stored: bool
    """Whether the blob is kept; otherwise the layer's tree gives its bytes."""


class ContainerRow(Record):
    """A container as recorded: what never changes while it runs."""

    id: str
    name: str
    image: str
    chain_id: str
    manifest: str | None
    created: str
    command: tuple[str, ...]
    options: LaunchOptions


# Nodes


def node_row(connection: Connection, chain_id: str) -> NodeRow | None:
    """The node *chain_id*, if it is recorded."""
    row = connection.execute("SELECT * FROM nodes WHERE chain_id = ?", (chain_id,)).fetchone()
    return NodeRow(*row) if row else None


def nodes(connection: Connection) -> list[NodeRow]:
    """Every node, in no order that matters."""
    return [NodeRow(*row) for row in connection.execute("SELECT * FROM nodes")]


def add_node(connection: Connection, node: NodeRow) -> bool:
    """Record *node* (its parent first); False if it is recorded already."""
    done = connection.execute("INSERT OR IGNORE INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", node)
    return done.rowcount == 1


def lineage(connection: Connection, chain_id: str) -> list[str]:
    """The node *chain_id* and its parents, top first: the order of overlayfs' lower directories."""
    found = connection.execute(
        "WITH RECURSIVE up (chain_id, parent, depth) AS ("
        " SELECT chain_id, parent, 0 FROM nodes WHERE chain_id = ?"
        " UNION ALL SELECT n.chain_id, n.parent, up.depth + 1 FROM nodes n JOIN up ON n.chain_id = up.parent)"
        " SELECT chain_id FROM up ORDER BY depth",
        (chain_id,),
    )
    return [row[0] for row in found]


def children(connection: Connection, chain_id: str) -> list[str]:
    """The nodes directly on top of *chain_id*."""
    found = connection.execute("SELECT chain_id FROM nodes WHERE parent = ? ORDER BY 1", (chain_id,))
    return [row[0] for row in found]


def nodes_by_prefix(connection: Connection, digits: str) -> list[str]:
    """The nodes whose chain ID begins with the hexadecimal *digits*."""
    start = f"sha256:{digits}"
    found = connection.execute(
        "SELECT chain_id FROM nodes WHERE chain_id >= ? AND chain_id < ? ORDER BY 1", (start, start + "g")
    )
    return [row[0] for row in found]


def set_tree_digest(connection: Connection, chain_id: str, digest: str) -> None:
    """Record what the tree of a node is, now that it is known to be right; nothing for a node that went."""
    connection.execute(
        "INSERT OR REPLACE INTO trees SELECT chain_id, ? FROM nodes WHERE chain_id = ?", (digest, chain_id)
    )


# Manifests and tags


def manifest_row(connection: Connection, digest: str) -> ManifestRow | None:
    """The manifest *digest*, if it is recorded."""
    row = connection.execute("SELECT * FROM manifests WHERE digest = ?", (digest,)).fetchone()
    return ManifestRow(*row) if row else None


def manifest_config(connection: Connection, digest: str) -> JSON:
    """The image configuration document of the manifest *digest*. Raises NotFoundError."""
    row = connection.execute("SELECT config FROM manifests WHERE digest = ?", (digest,)).fetchone()
    if row is None:
        raise NotFoundError(f"no manifest {digest}", "the store does not have it", "look at cowl images")
    document: JSON = json.loads(row[0])
    return document


def add_manifest(connection: Connection, manifest: ManifestRow, layers: Sequence[LayerRow]) -> None:
    """Record *manifest* with its *layers*, bottom first; nothing changes if it is recorded already."""
    done = connection.execute("INSERT OR IGNORE INTO manifests VALUES (?, ?, ?, ?, ?, ?)", manifest)
    if done.rowcount == 1:
        connection.executemany(
            "INSERT INTO manifest_layers VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(manifest.digest, position, *layer) for position, layer in enumerate(layers)],
        )


def manifest_layers(connection: Connection, digest: str) -> list[LayerRow]:
    """The layers of the manifest *digest*, bottom first."""
    found = connection.execute(
        "SELECT chain_id, blob_digest, blob_size, media_type, stored FROM manifest_layers"
        " WHERE manifest = ? ORDER BY position",
        (digest,),
    )
    return [LayerRow(chain, blob, size, media, bool(stored)) for chain, blob, size, media, stored in found]


def is_written_anew(connection: Connection, chain_id: str, blob_digest: str) -> bool:
    """Whether the tree of *chain_id* gives the bytes of the blob *blob_digest*, which is not kept then."""
    found = connection.execute(
        "SELECT 1 FROM manifest_layers WHERE chain_id = ? AND blob_digest = ? AND NOT stored LIMIT 1",
        (chain_id, blob_digest),
    )
    return found.fetchone() is not None


def is_kept(connection: Connection, blob_digest: str) -> bool:
    """Whether the blob *blob_digest* is recorded as kept."""
    found = connection.execute(
        "SELECT 1 FROM manifest_layers WHERE blob_digest = ? AND stored LIMIT 1", (blob_digest,)
    )
    return found.fetchone() is not None


def manifests_of_node(connection: Connection, chain_id: str) -> list[str]:
    """Manifests whose topmost layer is *chain_id*: those with the newest tag first."""
    found = connection.execute(
        "SELECT m.digest FROM manifests m LEFT JOIN tags t ON t.manifest = m.digest WHERE m.chain_id = ?"
        " GROUP BY m.digest ORDER BY max(t.updated) DESC NULLS LAST, m.digest",
        (chain_id,),
    )
    return [row[0] for row in found]


def find_tag(connection: Connection, name: str) -> str | None:
    """The manifest that the normalised *name* means."""
    row = connection.execute("SELECT manifest FROM tags WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def tags(connection: Connection) -> list[tuple[str, str, str]]:
    """Name, manifest and chain ID of every tag, by name."""
    return connection.execute(
        "SELECT name, manifest, chain_id FROM tags JOIN manifests ON digest = manifest ORDER BY name"
    ).fetchall()


def tags_of_manifest(connection: Connection, digest: str) -> list[str]:
    """The names that mean the manifest *digest*."""
    found = connection.execute("SELECT name FROM tags WHERE manifest = ? ORDER BY 1", (digest,))
    return [row[0] for row in found]


def set_tag(connection: Connection, name: str, manifest: str, now: str) -> None:
    """Let the normalised *name* mean *manifest* from now on."""
    connection.execute(
        "INSERT INTO tags VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET manifest = excluded.manifest, updated = excluded.updated",
        (name, manifest, now),
    )


def delete_tag(connection: Connection, name: str) -> bool:
    """Forget the normalised *name*; whether it was there."""
    return connection.execute("DELETE FROM tags WHERE name = ?", (name,)).rowcount == 1


# Containers

_CONTAINER = "SELECT id, name, image, chain_id, manifest, created, command, options FROM containers"


def add_container(connection: Connection, container: ContainerRow) -> None:
    """Record *container*. Raises ConflictError if its name is taken, NotFoundError if its node is gone."""
    try:
        connection.execute(
            "INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *container[:6],
                json.dumps(container.command),
                encode_options(container.options),
            ),
        )
    except IntegrityError as error:
        if error.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE":
            raise name_taken(container.name) from error
        if error.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
            raise image_gone(container.image) from error
        raise


def rename_container(connection: Connection, container_id: str, name: str) -> None:
    """Give the container another name. Raises ConflictError if that is taken."""
    try:
        connection.execute("UPDATE containers SET name = ? WHERE id = ?", (name, container_id))
    except IntegrityError as error:
        raise name_taken(name) from error


def set_options(connection: Connection, container_id: str, options: LaunchOptions) -> None:
    """Record other options, as limits can change."""
    connection.execute(
        "UPDATE containers SET options = ? WHERE id = ?", (encode_options(options), container_id)
    )


def delete_container(connection: Connection, container_id: str) -> ContainerRow | None:
    """Forget the container and return its record; None if it is forgotten already."""
    found = connection.execute(f"{_CONTAINER} WHERE id = ?", (container_id,)).fetchone()
    connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))
    return _container(found) if found else None


def containers(connection: Connection) -> list[ContainerRow]:
    """Every container, oldest first."""
    # Of a crowd most were made alike: the same text is read once.
    known: dict[str, LaunchOptions] = {}
    return [_container(row, known) for row in connection.execute(f"{_CONTAINER} ORDER BY created, id")]


def container_networks(connection: Connection) -> list[tuple[str, str, str]]:
    """ID, name and network of every container, oldest first: for those who look at a crowd, often."""
    known: dict[str, str] = {}
    found = []
    for identity, name, text in connection.execute(
        "SELECT id, name, options FROM containers ORDER BY created, id"
    ):
        network = known.get(text)
        if network is None:
            network = known[text] = decode_options(text).network
        found.append((identity, name, network))
    return found


def container_row(connection: Connection, reference: str) -> ContainerRow:
    """The container that *reference* means: a name, a full ID, or a prefix that only one ID has.

    Raises NotFoundError, or AmbiguousError with the matches.
    """
    row = connection.execute(
        f"{_CONTAINER} WHERE name = ?1 OR id = ?1 ORDER BY name <> ?1", (reference,)
    ).fetchone()
    if row:
        return _container(row)
    found = []
    if reference and not reference.strip("0123456789abcdef"):
        found = connection.execute(
            f"{_CONTAINER} WHERE id >= ? AND id < ? ORDER BY id LIMIT 9", (reference, reference + "g")
        ).fetchall()
    if not found:
        raise NotFoundError(f"no container {reference}", "no name or ID matches", "look at cowl ps -a")
    if len(found) > 1:
        matches = ", ".join(f"{row[0][:12]} ({row[1]})" for row in found[:8]) + (
            ", …" if len(found) > 8 else ""
        )
        raise AmbiguousError(
            f"{reference} is ambiguous", f"it matches {matches}", "give more digits or the name"
        )
    return _container(found[0])


def image_gone(name: str) -> NotFoundError:
    """The error for an image that was there when its name was looked up."""
    return NotFoundError(f"no image {name}", "it was removed a moment ago", "look at cowl images")


def name_taken(name: str) -> ConflictError:
    """The error for a container name in use."""
    return ConflictError(
        f"the name {name} is in use", "a container has it", f"choose another, or cowl rm {name}"
    )


def _container(row: tuple[Any, ...], known: dict[str, LaunchOptions] | None = None) -> ContainerRow:
    identity, name, image, chain_id, manifest, created, command, text = row
    argv = tuple(json.loads(command))
    options = None if known is None else known.get(text)
    if options is None:
        options = decode_options(text)
        if known is not None:
            known[text] = options
    return ContainerRow(identity, name, image, chain_id, manifest, created, argv, options)


def encode_options(options: LaunchOptions) -> str:
    """*options* as the JSON object that is recorded."""
    document = options._asdict()
    document["limits"] = options.limits._asdict()
    document["volumes"] = [volume._asdict() for volume in options.volumes]
    document["health"] = options.health and options.health._asdict()
    document["publish"] = [port._asdict() for port in options.publish]
    return json.dumps(document, separators=(",", ":"))


def decode_options(text: str) -> LaunchOptions:
    """The options that `encode_options` wrote; what an older cowl did not know has its default."""
    document = json.loads(text)
    fields: JSON = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name in LaunchOptions._fields
    }
    fields["limits"] = Limits(**document.get("limits", {}))
    fields["volumes"] = tuple(Volume(**volume) for volume in document.get("volumes", ()))
    if fields.get("health"):
        fields["health"] = Health(**fields["health"] | {"argv": tuple(fields["health"]["argv"])})
    fields["publish"] = tuple(PublishedPort(**port) for port in document.get("publish", ()))
    return LaunchOptions(**fields)
