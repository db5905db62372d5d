"""What the threads that watch the engine tell the app."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from textual.message import Message

from engine.model import Change, Container, HostFigures, LogLine, Node, Progress, Sample
from tui.change_rows import ChangeRow
from tui.outline import Entry
from tui.series import History


class Told(Message):
    """What a thread tells: it can come at any time, even while the app is being closed."""


class StoreRead(Told):
    """The records of the root, as they are now."""

    def __init__(self, nodes: Sequence[Node], containers: Sequence[Container]) -> None:
        super().__init__()
        self.nodes = nodes
        self.containers = containers


class Sampled(Told):
    """What the machine and everything that runs use, as of now."""

    def __init__(
        self, host: HostFigures, samples: Sequence[Sample], histories: Mapping[str, History]
    ) -> None:
        super().__init__()
        self.host = host
        self.samples = samples
        self.histories = histories


class ChangesRead(Told):
    """The changes of what is selected, as of now."""

    def __init__(
        self, subject: str, changes: Sequence[Change], entries: Sequence[Entry[ChangeRow]], *, fresh: bool
    ) -> None:
        super().__init__()
        self.subject = subject
        self.changes = changes
        self.entries = entries
        self.fresh = fresh
        """Whether the subject was turned to just now."""


class SizeRead(Told):
    """How many bytes a container has changed: by how much an image of it would be larger."""

    def __init__(self, container: str, size: int) -> None:
        super().__init__()
        self.container = container
        self.size = size


class LogsRead(Told):
    """Lines that a container has said since the last such message about it."""

    def __init__(
        self, subject: str, lines: Sequence[LogLine], begun: Sequence[LogLine] = (), *, anew: bool = False
    ) -> None:
        super().__init__()
        self.subject = subject
        self.lines = lines
        self.begun = begun
        """Lines that have no end yet, instead of those of the message before."""
        self.anew = anew
        """Whether they take the place of what was read before, instead of following it."""


class Advanced(Told):
    """How far a long operation is."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress


class Done(Told):
    """A piece of work has ended; *finish* says so on the screen."""

    def __init__(self, finish: Callable[[], None]) -> None:
        super().__init__()
        self.finish = finish


class Trouble(Told):
    """Something that the engine refused or could not do."""

    def __init__(self, error: Exception, doing: str = "") -> None:
        super().__init__()
        self.error = error
        self.doing = doing
