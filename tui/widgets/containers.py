"""Pane 2: all containers, running ones first."""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.model import Container
from tui import format as fmt
from tui.forest_rows import GLYPHS, container_key, in_order, state_role, state_text
from tui.outline import Entry
from tui.theme import Line, Span
from tui.widgets.flatlist import FlatList


class Containers(FlatList[Container]):
    """One line a container: state, name, image, since when."""

    BORDER_TITLE = "2 Containers"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.empty = "no container yet: n launches one"
        self._name_width = 4

    def show(self, containers: Sequence[Container]) -> None:
        """Draw a new state of the store."""
        self._name_width = max((len(each.name) for each in containers), default=4)
        self.set_entries(container_entries(containers))
        running = sum(each.state == "running" for each in containers)
        self.border_subtitle = f"{running} of {len(containers)} running" if containers else ""

    def describe(self, entry: Entry[Container], width: int) -> tuple[Line, Line]:
        """See `FlatList`."""
        return container_line(entry.item, min(self._name_width, max(6, width * 9 // 20)), time.time())


def container_entries(containers: Sequence[Container]) -> list[Entry[Container]]:
    """The list's entries; the filter looks at name, image, ID and state."""
    return [
        Entry(container_key(each.id), 0, f"{each.name} {each.image} {each.id} {each.state}", each)
        for each in in_order(containers)
    ]


def container_line(container: Container, name_width: int, now: float) -> tuple[Line, Line]:
    """Left and right part of a line of the containers pane."""
    role = state_role(container)
    left = (
        Span(f"{GLYPHS[container.state]} ", role),
        Span(fmt.fit(fmt.safe(container.name), name_width), role),
        Span(f"  {fmt.safe(image_name(container.image))}", "id"),
    )
    up = "up " if container.state == "running" else ""
    return left, (Span(f"{up}{state_text(container, now)}", "bad" if role == "failed" else "muted"),)


def image_name(reference: str) -> str:
    """An image reference in few cells: chain IDs and digests shortened, `:latest` left out."""
    name, colon, digest = reference.rpartition("sha256:")
    if colon:
        return f"{name}{digest[:8]}"
    plain = len(reference) == 64 and set(reference) <= set("0123456789abcdef")
    return reference[:8] if plain else reference.removesuffix(":latest")
