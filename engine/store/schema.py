"""The records' shape, as the steps that made it: a store of an older shape takes the steps that it lacks.

A step that was ever released is never edited: what changes is a further step. A new store takes all of them,
so that there is one way to come to the present shape, and every test walks it.
"""

from __future__ import annotations

from _sqlite3 import Connection, complete_statement
from collections.abc import Iterator

_BEGINNING = """
CREATE TABLE nodes (
    chain_id   TEXT PRIMARY KEY,
    parent     TEXT REFERENCES nodes (chain_id),
    diff_id    TEXT NOT NULL,
    size       INTEGER NOT NULL,
    file_count INTEGER NOT NULL,
    created    TEXT NOT NULL,
    created_by TEXT NOT NULL,
    comment    TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
CREATE INDEX nodes_by_parent ON nodes (parent);

-- A manifest with its configuration, both byte for byte as they came or were made.
CREATE TABLE manifests (
    digest        TEXT PRIMARY KEY,
    media_type    TEXT NOT NULL,
    body          BLOB NOT NULL,
    config_digest TEXT NOT NULL,
    config        BLOB NOT NULL,
    chain_id      TEXT NOT NULL REFERENCES nodes (chain_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifests_by_node ON manifests (chain_id);

-- The layers of a manifest, bottom first. `stored` says whether the blob is kept under blobs/ (it came from
-- elsewhere) or is written anew from the layer's tree, always to the same bytes (cowl committed it).
CREATE TABLE manifest_layers (
    manifest    TEXT NOT NULL REFERENCES manifests (digest) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    chain_id    TEXT NOT NULL REFERENCES nodes (chain_id),
    blob_digest TEXT NOT NULL,
    blob_size   INTEGER NOT NULL,
    media_type  TEXT NOT NULL,
    stored      INTEGER NOT NULL,
    PRIMARY KEY (manifest, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_layers_by_blob ON manifest_layers (blob_digest);
CREATE INDEX manifest_layers_by_node ON manifest_layers (chain_id);

CREATE TABLE tags (
    name     TEXT PRIMARY KEY,              -- normalised, always with its tag: ubuntu:14.04
    manifest TEXT NOT NULL REFERENCES manifests (digest),
    updated  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_manifest ON tags (manifest);

CREATE TABLE containers (
    id       TEXT PRIMARY KEY,              -- 64 hexadecimal digits
    name     TEXT NOT NULL UNIQUE,
    image    TEXT NOT NULL,                 -- the reference as it was given
    chain_id TEXT NOT NULL REFERENCES nodes (chain_id),
    manifest TEXT REFERENCES manifests (digest),
    created  TEXT NOT NULL,
    command  TEXT NOT NULL,                 -- JSON array: what runs
    options  TEXT NOT NULL                  -- JSON object: LaunchOptions
) STRICT, WITHOUT ROWID;
CREATE INDEX containers_by_node ON containers (chain_id);
"""

_TREES = """
-- What the tree of a node was when it was last known to be right: what `cowl check` compares it with.
CREATE TABLE trees (
    chain_id TEXT PRIMARY KEY REFERENCES nodes (chain_id) ON DELETE CASCADE,
    digest   TEXT NOT NULL                  -- engine.layers.treedigest
) STRICT, WITHOUT ROWID;
"""

_INDEXES = """
-- Indexes by which images came, for as long as one of their manifests is here.
CREATE TABLE indexes (
    digest     TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    body       BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Those manifests of an index that are here; the one with the lowest rank is the one for this machine.
CREATE TABLE index_manifests (
    index_digest TEXT NOT NULL REFERENCES indexes (digest) ON DELETE CASCADE,
    manifest     TEXT NOT NULL REFERENCES manifests (digest) ON DELETE CASCADE,
    rank         INTEGER NOT NULL,
    PRIMARY KEY (index_digest, manifest)
) STRICT, WITHOUT ROWID;
CREATE INDEX index_manifests_by_manifest ON index_manifests (manifest);

-- What an index names besides images, so that it can be pushed whole: attestations with all that they name.
CREATE TABLE index_documents (
    index_digest TEXT NOT NULL REFERENCES indexes (digest) ON DELETE CASCADE,
    digest       TEXT NOT NULL,
    media_type   TEXT NOT NULL,
    body         BLOB NOT NULL,
    PRIMARY KEY (index_digest, digest)
) STRICT, WITHOUT ROWID;

-- The index that a tag named where it came from.
CREATE TABLE tag_indexes (
    name         TEXT PRIMARY KEY REFERENCES tags (name) ON DELETE CASCADE,
    index_digest TEXT NOT NULL REFERENCES indexes (digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_indexes_by_index ON tag_indexes (index_digest);

CREATE TRIGGER tag_moved AFTER UPDATE OF manifest ON tags BEGIN
    DELETE FROM tag_indexes WHERE name = OLD.name;
END;
CREATE TRIGGER index_unused AFTER DELETE ON index_manifests
WHEN NOT EXISTS (SELECT 1 FROM index_manifests WHERE index_digest = OLD.index_digest) BEGIN
    DELETE FROM indexes WHERE digest = OLD.index_digest;
END;
"""

STEPS = (_BEGINNING, _TREES, _INDEXES)
"""SQL scripts; the step at index n makes a store of version n one of version n + 1."""

VERSION = len(STEPS)
"""`PRAGMA user_version` of a store that this code reads and writes."""


def migrate(connection: Connection) -> None:
    """Take the steps that the store lacks. Within one write transaction: after a crash, all or none are done.

    What an older cowl that still runs does with its open connection stays valid only for steps that add.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    for step in STEPS[version:]:
        for statement in _statements(step):
            connection.execute(statement)
    if version < VERSION:
        connection.execute(f"PRAGMA user_version={VERSION}")


def _statements(script: str) -> Iterator[str]:
    """The statements of *script*, each of which ends at the end of a line."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if complete_statement(statement):
            yield statement
            statement = ""
