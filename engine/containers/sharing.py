"""Namespaces that a container shares with another one: decided when it is made, looked up at each start."""

from __future__ import annotations

from engine.containers import networking, state
from engine.errors import ConflictError
from engine.model import LaunchOptions
from engine.store import records
from engine.store.layout import ContainerPaths
from engine.store.store import Store

_OTHER = "container:"


def settled(store: Store, options: LaunchOptions) -> LaunchOptions:
    """*options* with the ID of the other container. Raises NotFoundError when it is not there."""
    if not options.pid.startswith(_OTHER):
        return options
    other = records.container_row(store.connection, options.pid.removeprefix(_OTHER))
    return options._replace(pid=_OTHER + other.id)


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
