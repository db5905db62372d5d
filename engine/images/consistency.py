"""The records against each other: links that lead nowhere, documents that say something else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from engine.errors import ArchiveError
from engine.images.damage import Damage
from engine.images.inventory import ContainerFacts, Inventory
from engine.oci import documents
from engine.store.records import LayerRow, ManifestRow, NodeRow
from engine.store.store import Store

_TOLD = ("nodes", "manifests", "manifest_layers", "tags", "containers")
"""Tables whose broken links are looked into."""
_REMOVES = "cowl check --repair removes it; pull or load it again"


def broken_records(store: Store, found: Inventory) -> list[Damage]:
    """All that is wrong with the records themselves."""
    return [
        *_broken_file(store),
        *_broken_links(store),
        *_broken_indexes(store),
        *_broken_tags(found),
        *_broken_manifests(found),
        *_broken_nodes(found),
        *_broken_containers(found),
    ]


def _broken_file(store: Store) -> Iterator[Damage]:
    """What SQLite says of its file (https://www.sqlite.org/pragma.html#pragma_integrity_check)."""
    with store.read() as connection:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
    if said != ["ok"]:
        yield Damage(
            "records",
            store.layout.database,
            "the records are damaged",
            "; ".join(said),
            store.layout.database,
            "cowl check --repair makes their indexes anew; if that is not enough, restore a backup",
            "restore",
        )


def _broken_links(store: Store) -> Iterator[Damage]:
    """Records that should have gone with others; other links that lead nowhere are told one by one."""
    with store.read() as connection:
        lost = Counter(row[0] for row in connection.execute("PRAGMA foreign_key_check"))
    for table, count in sorted(lost.items()):
        if table not in _TOLD:
            yield Damage(
                "link",
                table,
                f"records of {table} lead nowhere",
                f"{count} belong to what is not recorded",
                "",
                "cowl check --repair forgets them",
                "remove",
            )


def _broken_indexes(store: Store) -> Iterator[Damage]:
    """Indexes, and what they name besides images, whose bytes have another digest."""
    with store.read() as connection:
        found = connection.execute(
            "SELECT digest, digest, body FROM indexes"
            " UNION ALL SELECT index_digest, digest, body FROM index_documents"
        ).fetchall()
    wrong = {index: digest for index, digest, body in found if documents.digest_of(body) != digest}
    for index, digest in sorted(wrong.items()):
        yield Damage(
            "index",
            index,
            f"the index {index[7:19]} is damaged",
            f"the bytes of {digest[7:19]} have another digest",
            "",
            "cowl check --repair forgets it, its images stay; pull again to have it whole",
            "remove",
        )


def _broken_tags(found: Inventory) -> Iterator[Damage]:
    for name, manifest in found.tags.items():
        if manifest not in found.manifests:
            yield Damage(
                "tag",
                name,
                f"the tag {name} names nothing",
                f"there is no manifest {manifest[:19]}",
                "",
                _REMOVES,
                "remove",
                (name,),
            )


def _broken_manifests(found: Inventory) -> Iterator[Damage]:
    for digest in sorted({*found.manifests, *found.layers}):
        why = _wrong_with(found, digest)
        if not why:
            continue
        users = tuple(each.name for each in found.on_manifests([digest]))
        yield Damage(
            "manifest",
            digest,
            f"the manifest {digest[7:19]} is damaged",
            why,
            "",
            "copy what you need out of these containers and remove them" if users else _REMOVES,
            "none" if users else "remove",
            found.names_of([digest]),
            users,
        )


def _wrong_with(found: Inventory, digest: str) -> str:
    """Why the manifest *digest* is not what it has to be; empty if it is."""
    row = found.manifests.get(digest)
    layers = found.layers.get(digest, [])
    if row is None:
        return "its layers are recorded, it is not"
    lost = [layer.chain_id for layer in layers if layer.chain_id not in found.nodes]
    if row.chain_id not in found.nodes or lost:
        return f"there is no layer {(lost or [row.chain_id])[0][7:19]}"
    if documents.digest_of(row.body) != digest:
        return "its bytes have another digest"
    if documents.digest_of(row.config) != row.config_digest:
        return "its configuration has another digest"
    try:
        return _contradiction(found, row, layers)
    except ArchiveError as error:
        return str(error)


def _contradiction(found: Inventory, row: ManifestRow, layers: list[LayerRow]) -> str:
    """In what the documents differ from what is recorded of them. Raises ArchiveError for what is none."""
    manifest = documents.decode_manifest(row.body, row.media_type)
    config = documents.decode_config(row.config, len(manifest.layers))
    if manifest.config.digest != row.config_digest:
        return f"it names the configuration {manifest.config.digest[7:19]}, recorded is another"
    if [each.digest for each in manifest.layers] != [each.blob_digest for each in layers]:
        return "its layers are not those that are recorded"
    if [each.size for each in manifest.layers] != [each.blob_size for each in layers]:
        return "the sizes of its layers are not those that are recorded"
    chain = documents.chain_ids(config.rootfs.diff_ids)
    if chain != [each.chain_id for each in layers] or chain[-1] != row.chain_id:
        return "its configuration is of other layers"
    return ""


def _broken_nodes(found: Inventory) -> Iterator[Damage]:
    needed = {row.chain_id for rows in found.layers.values() for row in rows}
    for node in reversed([*found.parents_first()]):  # in the order in which they can be taken away
        why = _wrong_with_node(found, node)
        if not why and node.chain_id in needed:
            continue
        users = tuple(each.name for each in found.on_node(node.chain_id))
        hint = "copy what you need out of these containers and remove them" if users else _REMOVES
        yield Damage(
            "node",
            node.chain_id,
            f"the record of {node.chain_id[7:19]} is wrong" if why else f"no image has {node.chain_id[7:19]}",
            why or "it takes space and cannot be named",
            "",
            hint,
            "none" if users else "remove",
            found.names_of(found.with_node(node.chain_id)),
            users,
        )


def _wrong_with_node(found: Inventory, node: NodeRow) -> str:
    if node.parent is not None and node.parent not in found.nodes:
        return f"there is no layer {node.parent[7:19]} below it"
    expected = node.diff_id
    if node.parent is not None:
        expected = documents.digest_of(f"{node.parent} {node.diff_id}".encode())
    return "" if expected == node.chain_id else f"its parent and diff ID give {expected[7:19]}"


def _broken_containers(found: Inventory) -> Iterator[Damage]:
    for each in found.containers:
        if why := _wrong_with_container(found, each):
            lost_manifest = each.chain_id in found.nodes and not _unreadable(each)
            yield Damage(
                "container",
                each.id,
                f"the record of the container {each.name} is wrong",
                why,
                "",
                "cowl check --repair takes another image of its layer"
                if lost_manifest
                else f"its changes are untouched: copy them, then cowl rm {each.name}",
                "restore" if lost_manifest else "none",
                (),
                (each.name,),
            )


def _wrong_with_container(found: Inventory, each: ContainerFacts) -> str:
    if each.chain_id not in found.nodes:
        return f"there is no layer {each.chain_id[7:19]}"
    if each.manifest is not None and each.manifest not in found.manifests:
        return f"there is no manifest {each.manifest[7:19]}"
    return _unreadable(each)


def _unreadable(each: ContainerFacts) -> str:
    for name, text, kind in (("command", each.command, list), ("options", each.options, dict)):
        try:
            if not isinstance(json.loads(text), kind):
                return f"{name}: no JSON {kind.__name__}"
        except ValueError as error:
            return f"{name}: no JSON ({error})"
    return ""
