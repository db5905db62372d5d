"""The configuration that a node is used with, whether an image names it or only has it among its layers."""

from __future__ import annotations

from _sqlite3 import Connection

from engine.model import JSON
from engine.oci import history
from engine.store import records


def configuration(connection: Connection, chain_id: str, manifest: str | None) -> JSON:
    """The image configuration that the node *chain_id* is used with.

    That of *manifest*; for a node that is only a layer of other images, one derived from such an image: its
    machine and environment, its layers and history up to this node, and no command.
    """
    if manifest is not None:
        return records.manifest_config(connection, manifest)
    depth = len(records.lineage(connection, chain_id))
    whole = records.manifest_config(connection, covering_manifest(connection, chain_id))
    config: JSON = {
        key: whole[key] for key in ("architecture", "variant", "os", "os.version") if key in whole
    }
    entries = history.truncated(whole.get("history") or [], depth)
    if entries and entries[-1].get("created"):
        config["created"] = entries[-1]["created"]
    environment = (whole.get("config") or {}).get("Env")
    config["config"] = {"Env": environment} if environment else {}
    config["rootfs"] = {"type": "layers", "diff_ids": whole["rootfs"]["diff_ids"][:depth]}
    config["history"] = entries
    return config


def covering_manifest(connection: Connection, chain_id: str) -> str:
    """A manifest that has the node *chain_id* among its layers: there is one for each node, always."""
    row = connection.execute(
        "SELECT manifest FROM manifest_layers WHERE chain_id = ? ORDER BY position DESC, manifest LIMIT 1",
        (chain_id,),
    ).fetchone()
    digest: str = row[0]
    return digest
