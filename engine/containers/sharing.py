"""Namespaces that a container shares with another one: decided when it is made, looked up at each start."""

from __future__ import annotations

import posixpath

from engine.containers import networking, state
from engine.errors import ConflictError, UsageError
from engine.model import LaunchOptions, Volume
from engine.oci.runtime import SHARED_MEMORY
from engine.store import records
from engine.store.layout import ContainerPaths
from engine.store.store import Store

_OTHER = "container:"


def settled(store: Store, options: LaunchOptions) -> LaunchOptions:
    """*options* with what is another container's decided. Raises NotFoundError when that is not there."""
    if options.volumes_from:
        taken = tuple(volume for text in options.volumes_from for volume in _volumes_of(store, text))
        own = {posixpath.normpath(volume.destination) for volume in options.volumes}
        options = options._replace(
            volumes=(
                *options.volumes,
                *(each for each in taken if posixpath.normpath(each.destination) not in own),
            ),
            volumes_from=(),
        )
    if options.pid.startswith(_OTHER):
        other = records.container_row(store.connection, options.pid.removeprefix(_OTHER))
        options = options._replace(pid=_OTHER + other.id)
    if options.ipc.startswith(_OTHER):
        other = records.container_row(store.connection, options.ipc.removeprefix(_OTHER))
        _check_ipc(other)
        options = options._replace(ipc=_OTHER + other.id)
    return options


def _check_ipc(other: records.ContainerRow) -> None:
    """Raise ConflictError where *other* keeps its shared memory for itself."""
    if other.options.ipc in ("private", "none"):
        raise ConflictError(
            f"cannot join the shared memory of {other.name}",
            f"it was made with --ipc {other.options.ipc}",
            "make it with --ipc shareable",
        )


def _volumes_of(store: Store, text: str) -> list[Volume]:
    """Those of the container *text*, which they still go with, if that is how they were made."""
    name, _, mode = text.partition(":")
    if mode not in ("", "rw", "ro", "z", "Z"):
        raise UsageError(f"bad mode {mode!r} of the volumes of {name}", "it is neither ro nor rw")
    volumes = records.container_row(store.connection, name).options.volumes
    return [
        volume._replace(anonymous=False, read_only=volume.read_only or mode == "ro") for volume in volumes
    ]


def join_others(store: Store, row: records.ContainerRow, paths: ContainerPaths) -> None:
    """Write into config.json where the namespaces are that it shares: another process's at every start.

    Raises ConflictError when the other container does not run, NotFoundError when it is gone.
    """
    networking.join_other(store, row, paths)
    shared = {"pid": (row.options.pid, "processes"), "ipc": (row.options.ipc, "shared memory")}
    found = {
        kind: _first_process(store, whose.removeprefix(_OTHER), what)
        for kind, (whose, what) in shared.items()
        if whose.startswith(_OTHER)
    }
    spec = state.read_document(paths.config) if found else None
    if spec is None:
        return
    for namespace in spec["linux"]["namespaces"]:
        if namespace["type"] in found:
            namespace["path"] = f"/proc/{found[namespace['type']]}/ns/{namespace['type']}"
    for mount in spec["mounts"]:
        if mount["destination"] == SHARED_MEMORY and mount["type"] == "bind" and "ipc" in found:
            mount["source"] = f"/proc/{found['ipc']}/root{SHARED_MEMORY}"
    state.write_document(paths.config, spec)


def _first_process(store: Store, container_id: str, what: str) -> int:
    """Of a container whose *what* is to be joined. Raises ConflictError when it does not run."""
    other = records.container_row(store.connection, container_id)
    facts = state.derive(store.layout.container(other.id))
    if facts.who is None:
        raise ConflictError(
            f"cannot join the {what} of {other.name}", "it is not running", f"cowl start {other.name}"
        )
    return facts.who.pid
