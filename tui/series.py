"""What the widgets need of a history of samples: rings of figures, oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class History(Protocol):
    """The history of one container, as the engine keeps it; one figure a tick."""

    @property
    def cpu(self) -> Sequence[float]:
        """Percent of one core."""

    @property
    def memory(self) -> Sequence[float]:
        """Bytes."""

    @property
    def io(self) -> Sequence[float]:
        """Bytes read and written per second."""

    @property
    def pids(self) -> Sequence[float]:
        """Processes and threads."""
