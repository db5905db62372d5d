"""Indexes of which all is here, as they have to be before they can go anywhere."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from engine.errors import NotFoundError
from engine.oci import documents, platforms
from engine.oci.documents import Platform
from engine.store import indexes, records
from engine.store.indexes import Document


class WholeIndex(NamedTuple):
    """An index and all that it names."""

    top: Document
    manifests: tuple[str, ...]
    blobs: tuple[Document, ...]
    """Of what is no image: attestations."""
    documents: tuple[Document, ...]
    """Manifests of those, then indexes in it, each before the one that names it."""


def whole_index(connection: sqlite3.Connection, digest: str) -> WholeIndex | None:
    """The index *digest* if all that it names is here. Raises ArchiveError."""
    top = indexes.document(connection, digest)
    if top is None:
        return None
    others = {other.digest: other for other in indexes.others(connection, digest)}
    manifests: dict[str, None] = {}
    named: dict[str, Document] = {}

    def collect(body: bytes, media_type: str) -> bool:
        for entry in documents.decode_index(body, media_type).manifests:
            if entry.digest in manifests:
                continue
            other = others.get(entry.digest)
            if other is None and records.manifest_row(connection, entry.digest) is None:
                return False
            if other is None:
                manifests[entry.digest] = None
            elif other.digest not in named:
                if other.media_type in documents.INDEXES and not collect(other.body, other.media_type):
                    return False
                named[other.digest] = other
        return True

    if not collect(top.body, top.media_type):
        return None
    blobs = tuple(other for other in others.values() if other.digest not in named)
    return WholeIndex(top, tuple(manifests), blobs, tuple(named.values()))


def for_platform(connection: sqlite3.Connection, index: str | None, manifest: str, wanted: Platform) -> str:
    """The manifest for *wanted* among those that came by *index*, or *manifest* if it is for that.

    Raises NotFoundError.
    """
    found = indexes.document(connection, index) if index else None
    if found is None:
        config = records.manifest_config(connection, manifest)
        made_for = Platform(*(str(config.get(key, "")) for key in ("architecture", "os", "variant")))
        if platforms.fits(made_for, wanted):
            return manifest
        raise NotFoundError(
            f"the image is not for {platforms.shown(wanted)}", f"it is for {platforms.shown(made_for)}"
        )
    chosen = platforms.choose(documents.decode_index(found.body, found.media_type).manifests, wanted).digest
    if records.manifest_row(connection, chosen) is None:
        raise NotFoundError(
            f"the image for {platforms.shown(wanted)} is not here", "", "pull it with --platform"
        )
    return chosen
