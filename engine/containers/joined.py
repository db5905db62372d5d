"""Namespaces that a container shares with others: looked up by its monitor at each of its starts.

They are reached by the process number of the other's first process, which another process has once that has
ended: who it is is found out before, and asked again when the namespaces have been entered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.containers import state
from engine.errors import ConflictError
from engine.kernel.identity import Identity, alive
from engine.model import JSON
from engine.oci.runtime import SHARED_MEMORY
from engine.store.layout import Layout

Share = Sequence[str]
"""What is shared, as the runtime-spec names the namespace, and the ID of the container whose it is."""

_FILES = {"network": "net"}
"""Names below /proc/<pid>/ns (proc_pid_ns(5)) that are not the runtime-spec's."""
WORDS = {"network": "network", "pid": "processes", "ipc": "shared memory"}
"""What people are told of them."""


def join(spec: JSON, shares: Iterable[Share], layout: Layout) -> tuple[Identity, ...]:
    """Write into *spec*, a config.json, where the namespaces are now; whose they are.

    Raises ConflictError where another container does not run.
    """
    found = {}
    for kind, container in shares:
        who = state.derive(layout.container(container)).who
        if who is None:
            raise not_running(kind, container[:12])
        found[kind] = who
    for namespace in spec["linux"]["namespaces"]:
        kind = namespace["type"]
        if kind in found:
            namespace["path"] = f"/proc/{found[kind].pid}/ns/{_FILES.get(kind, kind)}"
    for mount in spec["mounts"]:
        if mount["destination"] == SHARED_MEMORY and mount["type"] == "bind" and "ipc" in found:
            mount["source"] = f"/proc/{found['ipc'].pid}/root{SHARED_MEMORY}"
    return tuple(found.values())


def confirm(joined: Iterable[Identity]) -> None:
    """Raise ConflictError where one of them has ended: what was entered may be somebody else's."""
    if not all(map(alive, joined)):
        raise ConflictError("cannot join another container", "it has just ended")


def not_running(kind: str, name: str) -> ConflictError:
    """What is said where *name*, with which *kind* is shared, does not run."""
    return ConflictError(
        f"cannot join the {WORDS[kind]} of {name}", "it is not running", f"cowl start {name}"
    )
