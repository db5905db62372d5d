"""A look round whenever a root is opened, or its containers are listed, for what others could not clear up.

It finds nothing, as a rule; what is to be done then, and imported for that, is `remains`.
"""

from __future__ import annotations

import contextlib
import os

from engine.model import Container
from engine.store.store import Store


def look_round(store: Store) -> None:
    """Remove what was to go by itself when the machine went down, and what roots that are gone left."""
    if not os.path.exists(store.layout.origin):
        from engine.containers import remains

        remains.settle(store)
    base, own = os.path.split(store.layout.run)
    with contextlib.suppress(FileNotFoundError):
        if others := [name for name in os.listdir(base) if name != own]:
            from engine.containers import remains

            remains.sweep(base, others)


def attended(store: Store, found: list[Container]) -> list[Container]:
    """*found* without those that were to go by themselves and have no monitor to see to it: they go now."""
    ended = [each for each in found if each.auto_remove and each.state == "exited"]
    if not ended:
        return found
    from engine.containers import remains

    gone = remains.remove(store, ended)
    return [each for each in found if each.id not in gone]
