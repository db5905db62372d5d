"""Namespaces that a container shares with another one: decided when it is made; `joined` looks them up."""

from __future__ import annotations

import posixpath

from engine.containers import joined, state
from engine.errors import ConflictError, UsageError
from engine.model import LaunchOptions, Volume
from engine.store import records
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


def shares(options: LaunchOptions) -> tuple[tuple[str, str], ...]:
    """The namespaces that are other containers', and the IDs of those, as `joined` takes them."""
    wanted = (("network", options.network), ("pid", options.pid), ("ipc", options.ipc))
    return tuple((kind, whose.removeprefix(_OTHER)) for kind, whose in wanted if whose.startswith(_OTHER))


def check_others(store: Store, options: LaunchOptions) -> None:
    """Raise ConflictError when one whose namespaces are shared does not run, NotFoundError if it is gone."""
    for kind, identity in shares(options):
        other = records.container_row(store.connection, identity)
        if state.derive(store.layout.container(identity)).who is None:
            raise joined.not_running(kind, other.name)
