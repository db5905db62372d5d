"""The desk: all panes, which of them are in front, and what is selected. It is handed records, no engine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.dom import DOMNode
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget

from engine.model import Container, HostFigures, Node, Sample
from tui import facts, keys
from tui.forest_rows import ForestItem, container_key, in_order, node_key
from tui.messages import ChangesRead, LogsRead, Sampled, StoreRead
from tui.widgets.changes import Changes
from tui.widgets.commandline import CommandLine, KeyBar
from tui.widgets.containers import Containers
from tui.widgets.flatlist import FlatList
from tui.widgets.forest import Forest
from tui.widgets.header import TopBar
from tui.widgets.logs import Logs
from tui.widgets.preview import Preview
from tui.widgets.resources import Resources
from tui.widgets.usage import Usage

PANES = ("forest", "containers", "changes", "preview", "resources", "logs")
"""In the order of Tab."""
STACKS: tuple[tuple[str, ...], ...] = (("forest", "containers"), ("changes", "preview"), ("lower", "logs"))
"""Of each, one is in front where there is no room for both."""
BIG_LAYER = 20_000
"""A layer of more entries than this is read only when somebody goes to the changes pane for it."""
TURN_DELAY = 0.03
"""Seconds after which the detail follows: the cursor itself moves at once, whatever the detail costs."""
SURPRISE = 1.0
"""Seconds for which a key may be meant for what was selected until the selection moved by itself."""


class Lost(NamedTuple):
    """What was selected until others took it away."""

    item: ForestItem
    gone: bool
    """False where it is there, but in no line of the list."""
    at: float
    """When, by the desk's clock."""


class Desk(Widget):
    """Selection on the left drives the detail on the right."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.next_pane(1)", "next pane", show=False, id="pane.next"),
        Binding("shift+tab", "app.next_pane(-1)", "previous pane", show=False, id="pane.previous"),
    ]

    class Selected(Message):
        """Another node or container is selected, or nothing."""

        def __init__(self, item: ForestItem | None) -> None:
            super().__init__()
            self.item = item

    class PathSelected(Message):
        """The cursor came to another changed path while the keys go to the changes."""

        def __init__(self, path: str | None) -> None:
            super().__init__()
            self.path = path

    def __init__(self, root: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.root = root
        self.clock = clock
        self.item: ForestItem | None = None
        """What is selected."""
        self.pane = "forest"
        """Where the keys go."""
        self.nodes: Sequence[Node] = ()
        self.containers: Sequence[Container] = ()
        self._host: HostFigures | None = None
        self._last: Sampled | None = None
        self._sizes: dict[str, int] = {}
        self._awaited: str | None = None
        self._coming = ""
        """The pane to which the keys are about to go: what is pressed right after means that one."""
        self._turning: Timer | None = None
        self._detailed = ""
        """Whose detail is shown, or being read."""
        self.leaving: set[str] = set()
        """Keys of what the user has said to remove: that the selection goes on from there is no surprise."""
        self._lost: Lost | None = None

    def compose(self) -> ComposeResult:
        """Top line, upper half (selection, detail), lower half (resources, logs), command and key line."""
        yield TopBar(id="top")
        with Horizontal(id="upper", classes="group"):
            with Vertical(id="left", classes="group"):
                yield Forest(id="forest", classes="pane -front")
                yield Containers(id="containers", classes="pane")
            with Horizontal(id="detail", classes="group"):
                yield Changes(id="changes", classes="pane -front")
                yield Preview(id="preview", classes="pane")
        with Vertical(id="bottom", classes="group"):
            with Horizontal(id="lower", classes="group -front"):
                yield Resources(id="resources", classes="pane")
                yield Usage(id="usage", classes="pane")
            yield Logs(id="logs", classes="pane")
        yield CommandLine(id="command")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Say where everything is before anything is known."""
        self._show_top()
        self._show_keys()

    @property
    def container(self) -> Container | None:
        """The selected container, if it is one."""
        return self.item if isinstance(self.item, Container) else None

    @property
    def subject(self) -> str:
        """The key of what is selected."""
        return "" if self.item is None else _key(self.item)

    @property
    def command_line(self) -> CommandLine:
        """The line that shows what was done and asks what is to be done."""
        return self.query_one(CommandLine)

    # What the engine says.

    def show_store(self, read: StoreRead) -> None:
        """Draw the records; what is selected stays selected, in its new state."""
        self.catch_up()
        before, first = self.item, not self.nodes and not self.containers
        self.nodes, self.containers = read.nodes, read.containers
        forest, containers = self.query_one(Forest), self.query_one(Containers)
        forest.show(self.nodes, self.containers)
        containers.show(self.containers)
        self._show_top()
        if self._awaited and self._select_key(self._awaited):
            self._awaited = None
        elif first:
            self._select_first()
        else:
            self._refresh_item()
            self.catch_up()
            self._note_loss(before)
        if first and (self.nodes or self.containers) and self.screen.focused is None:
            self.show_pane("forest")

    def show_samples(self, sampled: Sampled) -> None:
        """Draw what is used."""
        self._last, self._host = sampled, sampled.host
        self._show_top()
        self._show_usage()
        if any(each.state == "running" for each in self.containers):
            self.query_one(Containers).refresh_changed()
            self.query_one(Forest).refresh_changed()

    def show_changes(self, read: ChangesRead) -> None:
        """Draw the changes of the selected container or layer."""
        changes = self.query_one(Changes)
        if read.subject != changes.subject:
            return
        changes.show(read.subject, read.changes, read.entries, fresh=read.fresh)
        if read.subject.startswith("c:"):
            self.show_size(read.subject.removeprefix("c:"), changes.counts.delta)
        if self.pane in ("changes", "preview") and not read.fresh:
            self._say_path()

    def show_size(self, container: str, size: int) -> None:
        """Draw by how many bytes a container's read-write layer changes its image."""
        self._sizes[container] = size
        self.query_one(Forest).show_sizes(self._sizes)

    def show_log(self, read: LogsRead) -> None:
        """Add lines to the log of the selected container."""
        logs = self.query_one(Logs)
        if read.subject != self.subject or self.container is None:
            return
        if read.anew:
            logs.start(self.container.name)
        logs.append(read.lines, read.begun)

    # What the keys say.

    def select(self, key: str) -> None:
        """Select a node or container: now, or as soon as the records have it."""
        self._awaited = None if self._select_key(key) else key

    def show_pane(self, name: str) -> None:
        """Bring a pane to the front and send the keys there."""
        self._to_front(name)
        self._coming = name
        if self.has_class("-zoom"):
            self._zoom(name)
        # At once, so that the very next key is that pane's: it may not be on the screen yet.
        self.screen.set_focus(self.query_one(f"#{name}"), scroll_visible=False)

    def next_pane(self, step: int) -> None:
        """The keys go to the pane after this one, or before."""
        here = PANES.index(self.pane) if self.pane in PANES else 0
        self.show_pane(PANES[(here + step) % len(PANES)])

    def zoom(self, zoomed: bool) -> None:
        """Give the desk to the pane that has the keys, or to all again."""
        self.set_class(zoomed, "-zoom")
        self._zoom((self._coming or self.pane) if zoomed else "")

    def show_facts(self) -> None:
        """Put what is known of the selected thing into the preview."""
        preview = self.query_one(Preview)
        if self.item is None:
            preview.show_nothing("nothing selected")
        else:
            preview.show_lines(facts.name_of(self.item), facts.facts(self.item))

    # What the panes say.

    def on_flat_list_highlighted(self, event: FlatList.Highlighted) -> None:
        """The cursor of a list moved. Where it is now counts: the message may be older than a selection."""
        event.stop()
        event.flat_list.moved = False
        entry = event.flat_list.current
        if isinstance(event.flat_list, Changes):
            if self.pane == "changes":
                self._say_path()
        elif event.flat_list.id == self.pane:
            self._set_item(entry.item if entry is not None else None)

    def on_flat_list_activated(self, event: FlatList.Activated) -> None:
        """Enter: from a thing to its changes, from a path to its text."""
        event.stop()
        self.show_pane("preview" if isinstance(event.flat_list, Changes) else "changes")

    def on_resources_selected(self, event: Resources.Selected) -> None:
        """The cursor of the resource table moved."""
        event.stop()
        self.query_one(Resources).moved = False
        self._select_key(container_key(event.container_id))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The keys go elsewhere."""
        name = event.widget.id or ""
        self._coming = ""
        if name not in PANES or name == self.pane:
            return
        self.pane = name
        self._to_front(name)
        self._show_keys()
        if name == "changes":
            self.post_message(self.Selected(self.item))
            self._say_path()
        elif name in ("forest", "containers"):
            listed = self.query_one(f"#{name}", FlatList).current
            if listed is not None:
                self._set_item(listed.item)
            self._to_front("changes")
            self.show_facts()

    def catch_up(self) -> None:
        """Select what the cursor is on: a key that is pressed right after a move overtakes its message."""
        resources = self.query_one(Resources)
        if self.pane == "resources" and resources.moved and resources.selected is not None:
            resources.moved = False
            self._select_key(container_key(resources.selected))
        elif self.pane in ("forest", "containers"):
            moved = self.query_one(f"#{self.pane}", FlatList)
            if moved.moved:
                moved.moved = False
                self._set_item(moved.current.item if moved.current is not None else None)

    def moved_by_itself(self) -> str:
        """What to tell, once, before a key acts on a selection that moved by itself just now; else ""."""
        lost, self._lost = self._lost, None
        if lost is None or self.item is None or self.clock() - lost.at >= SURPRISE:
            return ""
        happened = "is gone" if lost.gone else "is no longer listed"
        return f"{facts.name_of(lost.item)} {happened}; {facts.name_of(self.item)} is selected now"

    # How it holds together.

    def _select_first(self) -> None:
        """At first, what people came for: a running container, else the newest tagged image."""
        ordered = in_order(self.containers)
        newest = max(self.nodes, key=lambda node: (bool(node.tags), node.created), default=None)
        item: ForestItem | None = ordered[0] if ordered else newest
        if item is not None:
            self._select_key(_key(item))

    def _select_key(self, key: str) -> bool:
        forest = self.query_one(Forest)
        if not forest.select(key, notify=False) or forest.current is None or forest.current.key != key:
            return False
        self._set_item(forest.current.item)
        return True

    def _set_item(self, item: ForestItem | None) -> None:
        before = self.subject
        self.item = item
        if self.subject == before:
            return
        self._lost = None
        if isinstance(item, Container):
            self.query_one(Containers).select(_key(item), notify=False)
        if item is not None and self.pane != "forest":
            self.query_one(Forest).select(_key(item), notify=False)
        if self._turning is None:
            self._turning = self.set_timer(TURN_DELAY, self._turn_to_item)

    def _turn_to_item(self) -> None:
        """Let the detail follow the selection."""
        self._turning = None
        self._show_usage()
        self._show_keys()
        back = self.subject == self._detailed
        if not back or self.pane not in ("changes", "preview"):
            self.show_facts()
        if back:
            return  # There and back: all of it is there, and nobody would read it again.
        self._detailed = self.subject
        self.post_message(self.Selected(self.item))
        changes, logs = self.query_one(Changes), self.query_one(Logs)
        item = self.item
        if not isinstance(item, Container) and not logs.showing_text:
            logs.start("")
        if item is None:
            changes.begin("", "", "select a container")
        elif isinstance(item, Container):
            changes.begin(_key(item), item.name, "reading the read-write layer …")
            logs.start(item.name)
        else:
            big = f"{item.file_count:,} entries: 3 reads them"
            sentence = big if item.file_count > BIG_LAYER else "reading the layer …"
            changes.begin(_key(item), facts.name_of(item), sentence)

    def _refresh_item(self) -> None:
        """The same thing in its newer state; where it is gone, whatever the cursor is on now."""
        key = self.subject
        items: list[ForestItem] = [*self.nodes, *self.containers]
        newer = next((each for each in items if _key(each) == key), None)
        if newer is None:
            current = self.query_one(Forest).current
            self._set_item(current.item if current is not None else None)
            return
        changed = newer != self.item
        self.item = newer
        if changed:
            self._show_keys()
            if self.pane not in ("changes", "preview"):
                self.show_facts()

    def _note_loss(self, before: ForestItem | None) -> None:
        """Remember from where the records alone have moved the selection."""
        key = "" if before is None else _key(before)
        if key == self.subject and not self.leaving:
            return
        items: list[ForestItem] = [*self.nodes, *self.containers]
        there = {_key(each) for each in items}
        if before is not None and key != self.subject and key not in self.leaving:
            self._lost = Lost(before, key not in there, self.clock())
        self.leaving &= there

    def _say_path(self) -> None:
        changes = self.query_one(Changes)
        if changes.subject != self.subject:
            return
        entry = changes.current
        changed = entry is not None and entry.item.change is not None
        self.post_message(self.PathSelected(entry.item.path if changed and entry is not None else None))

    def _to_front(self, name: str) -> None:
        holder = "lower" if name == "resources" else name
        for stack in STACKS:
            if holder in stack:
                for each in stack:
                    self.query_one(f"#{each}").set_class(each == holder, "-front")

    def _zoom(self, name: str) -> None:
        leads: set[DOMNode] = set(self.query_one(f"#{name}").ancestors_with_self) if name else set()
        if name == "resources":  # The table and the graphs of its selected container belong together.
            leads.add(self.query_one(Usage))
        for each in self.query(".pane, .group"):
            each.set_class(each in leads, "-zoomed")

    def _show_top(self) -> None:
        states: Mapping[str, int] = Counter(each.state for each in self.containers)
        self.query_one(TopBar).show(self.root, states, self._host)

    def _show_usage(self) -> None:
        last = self._last
        samples: Sequence[Sample] = last.samples if last else ()
        histories = last.histories if last else {}
        chosen = self.container
        paused = {each.id for each in self.containers if each.state == "paused"}
        self.query_one(Resources).show(samples, histories, chosen.id if chosen else None, paused)
        if chosen is not None:
            sample = next((each for each in samples if each.container == chosen.id), None)
            self.query_one(Usage).show(chosen.name, sample, histories.get(chosen.id))
        else:
            self.query_one(Usage).show_nothing()

    def _show_keys(self) -> None:
        self.query_one(KeyBar).show(keys.bar(self.pane, self.container.state if self.container else None))


def _key(item: ForestItem) -> str:
    return node_key(item.chain_id) if isinstance(item, Node) else container_key(item.id)
