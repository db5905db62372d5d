"""What every command of one `cowl` process shares: which root it works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from engine.engine import Engine


class Session(NamedTuple):
    """The options that stand before the command."""

    root: str | None = None
    cgroup_parent: str | None = None

    def open(self) -> Engine:
        """The engine on this root; use it in a ``with``."""
        from engine.engine import Engine

        return Engine(self.root, cgroup_parent=self.cgroup_parent)
