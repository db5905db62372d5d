"""Namespaces that a container shares with another one: decided when it is made, looked up at each start."""

from __future__ import annotations

import posixpath

from engine.containers import networking, state
from engine.errors import ConflictError, UsageError
from engine.model import LaunchOptions, Volume
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
    if not options.pid.startswith(_OTHER):
        return options
    other = records.container_row(store.connection, options.pid.removeprefix(_OTHER))
    return options._replace(pid=_OTHER + other.id)


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
    if not row.options.pid.startswith(_OTHER):
        return
    other = records.container_row(store.connection, row.options.pid.removeprefix(_OTHER))
    facts = state.derive(store.layout.container(other.id))
    if facts.who is None:
        raise ConflictError(
            f"cannot join the processes of {other.name}", "it is not running", f"cowl start {other.name}"
        )
    spec = state.read_document(paths.config)
    if spec is not None:
        for namespace in spec["linux"]["namespaces"]:
            if namespace["type"] == "pid":
                namespace["path"] = f"/proc/{facts.who.pid}/ns/pid"
        state.write_document(paths.config, spec)
