"""A read-write layer becomes a node: captured in a staging area, then published with its manifest at once."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from engine.errors import ConflictError
from engine.images import forest
from engine.images.instructions import apply_instructions
from engine.images.manifests import new_manifest
from engine.images.publication import NewManifest, NewNode, VanishedError, publish_images
from engine.layers.capture import Captured, capture_layer
from engine.layers.selection import Selection
from engine.model import JSON
from engine.oci import documents, reference
from engine.oci.configuration import configuration
from engine.store.clock import now
from engine.store.faults import point
from engine.store.records import ContainerRow, LayerRow, NodeRow
from engine.store.staging import staging
from engine.store.store import Store

_OF_A_CONTAINER = ("container", "container_config", "docker_version", "id", "parent", "throwaway")
"""What docker writes into configurations of its own accord; it speaks of the parent only."""


class Commit(NamedTuple):
    """What is to be committed, and how it shall be called."""

    container: ContainerRow
    upper: str
    lowers: tuple[str, ...]
    """Top first, with the init layer."""
    name: str | None
    message: str = ""
    author: str = ""
    instructions: tuple[str, ...] = ()
    part: Selection | None = None
    """The changes that go in; None for all."""


def commit(store: Store, wanted: Commit) -> str:
    """Commit, and return the new node's chain ID. The caller keeps the container from being changed by cowl.

    The same changes on the same node give the same node again. Raises UsageError for a bad name or
    instruction, NotFoundError for a part without changes, ConflictError when the image has too many layers
    already, NoSpaceError, StoreError. Nothing is left of a commit that fails.
    """
    tag = reference.normalise(wanted.name) if wanted.name is not None else None
    parent = wanted.container
    with store.read() as connection:
        config = configuration(connection, parent.chain_id, parent.manifest)
        below = forest.layers(connection, parent.chain_id, parent.manifest)
    if len(below) >= documents.MAX_LAYERS:
        raise ConflictError(
            f"cannot commit {parent.name}",
            f"its image has {len(below)} layers, the most there can be",
            "squash it",
        )
    apply_instructions(
        config.get("config") or {}, wanted.instructions
    )  # says what is wrong before the long part
    with staging(store.layout) as area:
        os.makedirs(f"{area}/layer/diff")
        keep = wanted.part.keeps if wanted.part else None
        captured = capture_layer(wanted.upper, wanted.lowers, f"{area}/layer/diff", keep)
        if wanted.part:
            wanted.part.check(parent.name)
        point("commit.after-capture")
        node, manifest = _describe(wanted, config, below, captured, tag)
        try:
            publish_images(store, [NewNode(node, f"{area}/layer")], [], [manifest], "commit")
        except VanishedError as error:
            raise ConflictError(f"cannot commit {parent.name}", "its image was removed") from error
    return node.chain_id


def _describe(
    wanted: Commit, config: JSON, below: Sequence[LayerRow], captured: Captured, tag: str | None
) -> tuple[NodeRow, NewManifest]:
    """The records of the new node and of its manifest."""
    created = now()
    command = shlex.join(wanted.container.command).encode(errors="replace").decode()  # records are UTF-8
    document = _derived(wanted, config, len(below), captured.diff_id, created, command)
    chain_id = documents.chain_ids(document["rootfs"]["diff_ids"])[-1]
    layers = (
        *below,
        LayerRow(chain_id, captured.diff_id, captured.tar_size, documents.OCI_LAYER, False),
    )
    node = NodeRow(
        chain_id,
        wanted.container.chain_id,
        captured.diff_id,
        captured.size,
        captured.file_count,
        created,
        command,
        wanted.message,
    )
    return node, new_manifest(document, layers, chain_id, (tag,) if tag else ())


def _derived(wanted: Commit, config: JSON, depth: int, diff_id: str, created: str, command: str) -> JSON:
    """The parent's configuration *config*, with one more layer."""
    architecture, _ = documents.platform_of_host()
    document = {key: value for key, value in config.items() if key not in _OF_A_CONTAINER}
    document.setdefault("architecture", architecture)
    document.setdefault("os", "linux")
    document["created"] = created
    if wanted.author:
        document["author"] = wanted.author
    document["config"] = apply_instructions(config.get("config") or {}, wanted.instructions)
    document["rootfs"] = {"type": "layers", "diff_ids": [*config["rootfs"]["diff_ids"], diff_id]}
    history = list(config.get("history") or [])
    unknown = depth - sum(not entry.get("empty_layer") for entry in history)
    entry = {"created": created, "created_by": command}
    if wanted.author:
        entry["author"] = wanted.author
    if wanted.message:
        entry["comment"] = wanted.message
    document["history"] = [*({} for _ in range(unknown)), *history, entry]
    return document
