"""What every command of one `cowl` process shares: which root it works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.record import Record

if TYPE_CHECKING:
    from engine.containers.standby import Standby
    from engine.containers.standing import Standing
    from engine.engine import Engine


class Session(Record):
    """The options that stand before the command."""

    root: str | None = None
    cgroup_parent: str | None = None

    def open(self, standby: Standby | Standing | None = None) -> Engine:
        """The engine on this root, with a process forked for its launch; use it in a ``with``."""
        from engine.engine import Engine

        return Engine(self.root, cgroup_parent=self.cgroup_parent, launcher=standby or False)
