"""What is recorded of indexes: images for several machines under one name (image-spec, image-index.md).

An image keeps the index by which it came, so that it is found by the digest of that, and so that one that is
here whole goes to other registries whole. Those that write want to be called inside a transaction.
"""

from __future__ import annotations

from _sqlite3 import Connection
from collections.abc import Collection, Sequence
from typing import NamedTuple


class Document(NamedTuple):
    """A small blob as it came."""

    digest: str
    media_type: str
    body: bytes


class NewIndex(NamedTuple):
    """An index to be recorded, after its manifests."""

    document: Document
    manifests: tuple[tuple[str, int], ...]
    """Those that are here, each with its rank: the lowest is the one for this machine."""
    others: tuple[Document, ...] = ()
    """What it names besides images, and what those name."""
    names: tuple[str, ...] = ()
    """Tags that mean it where it came from; they are recorded already."""


def add(connection: Connection, index: NewIndex) -> None:
    """Record *index*, or what is new of it."""
    digest = index.document.digest
    connection.execute(
        "INSERT OR IGNORE INTO indexes VALUES (?, ?, ?)",
        (digest, index.document.media_type, index.document.body),
    )
    connection.executemany(
        "INSERT OR IGNORE INTO index_manifests VALUES (?, ?, ?)",
        [(digest, manifest, rank) for manifest, rank in index.manifests],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO index_documents VALUES (?, ?, ?, ?)",
        [(digest, *other) for other in index.others],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO tag_indexes VALUES (?, ?)", [(name, digest) for name in index.names]
    )


def name(connection: Connection, tag: str, digest: str) -> None:
    """Let the recorded *tag* mean the index *digest*, too."""
    connection.execute("INSERT OR REPLACE INTO tag_indexes VALUES (?, ?)", (tag, digest))


def manifest_of(connection: Connection, digest: str) -> str | None:
    """The manifest that the index *digest* means on this machine, of those that are here."""
    row = connection.execute(
        "SELECT manifest FROM index_manifests WHERE index_digest = ? ORDER BY rank LIMIT 1", (digest,)
    ).fetchone()
    return row[0] if row else None


def of_tag(connection: Connection, name: str) -> str | None:
    """The index that the normalised *name* named where it came from."""
    row = connection.execute("SELECT index_digest FROM tag_indexes WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def document(connection: Connection, digest: str) -> Document | None:
    """The index *digest* itself."""
    row = connection.execute("SELECT * FROM indexes WHERE digest = ?", (digest,)).fetchone()
    return Document(*row) if row else None


def others(connection: Connection, digest: str) -> list[Document]:
    """What the index *digest* names besides images, and what those name."""
    found = connection.execute(
        "SELECT digest, media_type, body FROM index_documents WHERE index_digest = ?", (digest,)
    )
    return [Document(*row) for row in found]


def companions(connection: Connection, names: Sequence[str]) -> list[str]:
    """The manifests that the tags *names* mean by their indexes."""
    found: dict[str, None] = {}
    for name in names:
        for (manifest,) in connection.execute(
            "SELECT manifest FROM index_manifests JOIN tag_indexes USING (index_digest) WHERE name = ?"
            " ORDER BY rank",
            (name,),
        ):
            found[manifest] = None
    return list(found)


def held(connection: Connection, without: Collection[str] = ()) -> set[str]:
    """The manifests that tags mean by their indexes, the tags *without* left out."""
    rows = connection.execute(
        "SELECT name, manifest FROM index_manifests JOIN tag_indexes USING (index_digest)"
    )
    return {manifest for name, manifest in rows if name not in without}
