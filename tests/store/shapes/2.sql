
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

-- What the tree of a node was when it was last known to be right: what `cowl check` compares it with.
CREATE TABLE trees (
    chain_id TEXT PRIMARY KEY REFERENCES nodes (chain_id) ON DELETE CASCADE,
    digest   TEXT NOT NULL                  -- engine.layers.treedigest
) STRICT, WITHOUT ROWID;
