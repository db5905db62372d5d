"""Three threads that look at the engine so that the event loop never has to.

`StoreWatch` polls the store's revision and samples what runs; `SubjectWatch` follows the changes and the log
of what is selected; `SizeWatch` finds, in its own time, how much every other container has changed. All only
read, and all speak to the app by `post_message`, which any thread may call. Idle, they wake the app once in
two seconds, for the header's figures.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from textual.message import Message

from engine.errors import CowlError, NotFoundError
from engine.model import Container, LogLine
from tui import messages
from tui.change_rows import change_entries, summary

if TYPE_CHECKING:
    from engine import Engine, LogFollower

POLL = 0.25
"""Seconds between two looks at the revision."""
TICK = 1.0
"""Seconds between two samples while something runs."""
IDLE_TICK = 2.0
"""Seconds between two looks at the machine while nothing runs."""
UNTOLD = 5.0
"""Seconds after which containers are read again of which some run: nobody tells that a monitor was killed."""
SETTLE = 0.06
"""Seconds that a selection must last before anything is read for it: a held key passes over hundreds."""
TAIL = 1000
"""Log lines read at first, and when a container says more than can be followed."""
LONGEST = 10_000
"""Characters of a log line that are shown."""
RUNNING_SIZE = 20.0
"""Seconds between two looks at the read-write layer of something that runs and is not selected."""
SPARE = 9
"""How many times as long as a read-write layer took nothing is read then: a tenth of a core at most."""
LEFT_OUT = "… lines left out here: they come faster than they can be shown"
Post = Callable[[Message], object]


class Subject(NamedTuple):
    """What is selected, as far as the watch cares."""

    kind: Literal["node", "container"]
    id: str
    """Chain ID or container ID."""
    key: str
    """What the desk calls it."""


class Watch(ABC):
    """A loop that can be woken, held and stopped."""

    doing = "looking"
    """What it is called in a notice."""

    def __init__(self, engine: Engine, post: Post) -> None:
        self._engine = engine
        self._post = post
        self._wake = threading.Event()
        self._stopped = False
        self._held = False
        self._told = ""

    def run(self) -> None:
        """Look until stopped: the body of a thread worker."""
        while not self._stopped:
            pause = POLL if self._held else self._turn()
            self._wake.wait(pause)
            self._wake.clear()

    def poke(self) -> None:
        """Look now."""
        self._wake.set()

    def hold(self, held: bool) -> None:
        """Stop looking while the app does not show anything."""
        self._held = held
        self._wake.set()

    def stop(self) -> None:
        """End `run` at its next turn."""
        self._stopped = True
        self._wake.set()

    @abstractmethod
    def _turn(self) -> float:
        """One look; the seconds until the next one."""

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Hand a failure to the app, each one once until something else happens."""
        try:
            yield
        except (CowlError, OSError) as error:
            if self._told != str(error):
                self._told = str(error)
                self._post(messages.Trouble(error, doing))


class StoreWatch(Watch):
    """Reads the records when the revision moves, and samples what runs."""

    doing = "watching the store"

    def __init__(self, engine: Engine, post: Post) -> None:
        super().__init__(engine, post)
        self._revision: object = None
        self._containers: Sequence[Container] = ()
        self._alive: frozenset[str] = frozenset()
        """Which containers have processes by the records."""
        self._missed: frozenset[str] = frozenset()
        """Which of them the last sample did not find."""
        self._due = 0.0
        self._untold_due = 0.0

    def again(self) -> None:
        """Read the records at the next turn whatever the revision says, and take that turn now."""
        self._revision = None
        self.poke()

    def _turn(self) -> float:
        with self._telling("reading the store"):
            revision = self._engine.revision()
            told = revision != self._revision
            if told or (self._alive and time.monotonic() >= self._untold_due):
                self._revision = revision
                self._read(told=told)
        now = time.monotonic()
        if now >= self._due:
            self._due = now + (TICK if self._alive else IDLE_TICK) - 0.01
            with self._telling("sampling"):
                self._sample()
        return POLL

    def _read(self, *, told: bool) -> None:
        self._untold_due = time.monotonic() + UNTOLD
        containers = self._engine.containers.list()
        if not told and containers == self._containers:
            return
        self._containers = containers
        nodes = self._engine.images.forest()
        alive = frozenset(each.id for each in containers if each.state in ("running", "paused"))
        if bool(alive) != bool(self._alive):
            self._due = 0.0
        self._alive = alive
        self._post(messages.StoreRead(nodes, containers))

    def _sample(self) -> None:
        stats = self._engine.stats
        samples = stats.sample() if self._alive else []
        missed = self._alive.difference(sample.container for sample in samples)
        if missed != self._missed:
            # The monitor that would have told of its end was killed.
            self._missed, self._revision = missed, None
        histories = {sample.container: stats.history(sample.container) for sample in samples}
        self._post(messages.Sampled(stats.host(), samples, histories))


class SubjectWatch(Watch):
    """Follows the changes and the log of the selected container, or reads the selected layer once."""

    doing = "watching the selection"

    def __init__(self, engine: Engine, post: Post) -> None:
        super().__init__(engine, post)
        self._wanted: Subject | None = None
        self._turns = 0
        self._seen = 0
        """How many turns have been taken: there and back is two, and everything has to be read anew."""
        self._fingerprint: object = None
        self._log: LogFollower | None = None
        self._begun: Sequence[LogLine] = ()

    def run(self) -> None:
        """See `Watch`."""
        try:
            super().run()
        finally:
            self._close_log()

    def turn_to(self, subject: Subject | None) -> None:
        """Look at something else from now on."""
        if subject != self._wanted:
            self._wanted = subject
            self._turns += 1
        self.poke()

    def again(self) -> None:
        """Read the changes of the present subject anew, now."""
        self._fingerprint = None
        self.poke()

    def _turn(self) -> float:
        turns = self._turns
        fresh = turns != self._seen
        if fresh:
            time.sleep(SETTLE)
            if self._turns != turns:
                return 0.0
            self._seen, self._fingerprint = turns, None
            self._close_log()
        wanted = self._wanted
        if wanted is None:
            return IDLE_TICK
        start = time.monotonic()
        if wanted.kind == "node":
            if fresh:
                with self._telling("reading a layer"):
                    self._read_layer(wanted)
            return IDLE_TICK
        with self._telling("reading the changes"):
            self._read_changes(wanted, fresh=fresh)
        with self._telling("reading the log"):
            self._read_log(wanted)
        return max(TICK, 3 * (time.monotonic() - start))

    def _read_layer(self, subject: Subject) -> None:
        changes = self._engine.changes.of(subject.id)
        self._post(messages.ChangesRead(subject.key, changes, change_entries(changes), fresh=True))

    def _read_changes(self, subject: Subject, *, fresh: bool) -> None:
        try:
            fingerprint = self._engine.changes.fingerprint(subject.id)
            if not fresh and fingerprint == self._fingerprint:
                return
            changes = self._engine.changes.of(subject.id)
        except NotFoundError:
            return  # Removed while it was looked at: the records say so by themselves.
        self._fingerprint = fingerprint
        self._post(messages.ChangesRead(subject.key, changes, change_entries(changes), fresh=fresh))

    def _read_log(self, subject: Subject) -> None:
        fresh = self._log is None
        try:
            if self._log is None:
                self._log = self._engine.containers.follow_log(subject.id, tail=TAIL)
            found = self._log.look()
        except NotFoundError:
            return
        lines = [shown(line) for line in found.lines]
        begun = [shown(line) for line in found.begun]
        if found.left_out:
            time_of = (lines or begun)[0].time if lines or begun else ""
            lines.insert(0, LogLine(time_of, "stdout", LEFT_OUT))
        if lines or begun != self._begun or fresh:
            self._begun = begun
            self._post(messages.LogsRead(subject.key, lines, begun, anew=fresh))

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
        self._log, self._begun = None, ()


def shown(line: LogLine) -> LogLine:
    """A line as it is shown: where it is too long, its beginning."""
    more = len(line.text) - LONGEST
    return line._replace(text=f"{line.text[:LONGEST]} … {more:,} more characters") if more > 0 else line


class SizeWatch(Watch):
    """Reads the read-write layers of all containers one by one, of those that run again and again."""

    doing = "watching the sizes"

    def __init__(self, engine: Engine, post: Post) -> None:
        super().__init__(engine, post)
        self._containers: Sequence[Container] = ()
        self._read: dict[str, _Reading] = {}

    def follow(self, containers: Sequence[Container]) -> None:
        """These are all containers from now on."""
        self._containers = containers
        self.poke()

    def _turn(self) -> float:
        now = time.monotonic()
        containers = self._containers
        self._read = {each.id: self._read[each.id] for each in containers if each.id in self._read}
        waits = [(self._due(each) - now, each) for each in containers]
        wait, container = min(waits, key=lambda each: each[0], default=(IDLE_TICK, None))
        if wait > 0 or container is None:
            return min(wait, RUNNING_SIZE)
        with self._telling("reading a size"):
            self._look_at(container, now)
        return SPARE * (time.monotonic() - now)

    def _due(self, container: Container) -> float:
        """When to read it: at once where its state is another one, never again where it rests."""
        read = self._read.get(container.id)
        if read is None or read.life != _life(container):
            return 0.0
        return read.at + RUNNING_SIZE if container.state == "running" else float("inf")

    def _look_at(self, container: Container, now: float) -> None:
        before = self._read.get(container.id)
        fingerprint = None if before is None else before.fingerprint
        self._read[container.id] = _Reading(now, _life(container), fingerprint)
        try:
            fingerprint = self._engine.changes.fingerprint(container.id)
            if before is None or fingerprint != before.fingerprint:
                size = summary(self._engine.changes.of(container.id)).delta
                self._post(messages.SizeRead(container.id, size))
        except NotFoundError:
            return  # Removed meanwhile: the records say so by themselves.
        self._read[container.id] = _Reading(now, _life(container), fingerprint)


class _Reading(NamedTuple):
    """The last look at a read-write layer."""

    at: float
    life: object
    fingerprint: object


def _life(container: Container) -> object:
    """What is another once a container has been started or has ended: it may have changed files then."""
    return container.state, container.started, container.finished
