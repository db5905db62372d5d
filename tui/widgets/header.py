"""The line at the top: which store, what runs, how the machine is, and what cowl itself costs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from engine.model import HostFigures
from tui import format as fmt
from tui import theme
from tui.theme import Line, Role, Span
from tui.widgets.graph import sparkline
from tui.widgets.lines import strip

SPARK = 8
MARKS: tuple[tuple[str, str, Role, tuple[str, ...]], ...] = (
    ("●", "running", "running", ("running",)),
    ("◐", "paused", "paused", ("paused",)),
    ("○", "exited", "muted", ("exited", "created", "restarting", "dead")),
)


class TopBar(Widget):
    """One line; what matters least goes first where it is narrow."""

    DEFAULT_CSS = "TopBar { height: 1; padding: 0 1; background: $surface; color: $foreground; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._root = ""
        self._states: dict[str, int] = {}
        self._host: HostFigures | None = None
        self._cpu: deque[float] = deque(maxlen=SPARK)

    def show(self, root: str, states: Mapping[str, int], host: HostFigures | None) -> None:
        """The store, how many containers are in which state, and the machine; each new `host` is one tick."""
        if host is not None and host is not self._host:
            self._cpu.append(host.cpu_percent)
        if (root, dict(states), host) != (self._root, self._states, self._host):
            self._root, self._states, self._host = root, dict(states), host
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The fullest line that fits."""
        width = self.content_size.width
        styles = theme.styles(self.app.theme)
        return strip(self.line(width) if y == 0 else (), styles, width, self.rich_style)

    def line(self, width: int) -> Line:
        """What is shown in that many cells."""
        for left, right in self._candidates():
            gap = width - cells(left) - cells(right)
            if gap >= (1 if right else 0):
                return (*left, Span(" " * gap), *right)
        return (Span("cowl", "accent"),)

    def _candidates(self) -> Iterator[tuple[Line, Line]]:
        own = _own(self._host)
        cpu = tuple(self._cpu)
        for root, words, spark, memory, pressure in (
            (48, True, SPARK, True, True),
            (24, True, SPARK, True, False),
            (24, False, SPARK, True, False),
            (16, False, 5, True, False),
            (0, False, 5, True, False),
            (0, False, 0, True, False),
            (0, False, 0, False, False),
        ):
            left: Line = (Span("cowl", "accent"), *_root(self._root, root), *_states(self._states, words))
            if self._host is not None:
                left += _cpu(self._host, cpu, spark)
                left += _memory(self._host) if memory else ()
                left += _pressure(self._host) if pressure else ()
            yield left, own
        yield (Span("cowl", "accent"), *_states(self._states, False)), ()


def cells(line: Line) -> int:
    """How wide a line is."""
    return sum(cell_len(span.text) for span in line)


def _root(root: str, width: int) -> Line:
    if not width:
        return ()
    text = fmt.safe(root)
    if cell_len(text) > width:
        text = "…" + text[-width + 1 :]
    return (Span(f" {text}", "muted"),)


def _states(states: Mapping[str, int], words: bool) -> Line:
    spans: list[Span] = [Span("  " if words else " ")]
    for mark, word, role, members in MARKS:
        number = sum(states.get(state, 0) for state in members)
        text = f"{number} {word} " if words else f"{number} "
        spans += [Span(f" {mark} ", role if number else "muted"), Span(text, "text" if number else "muted")]
    return tuple(spans)


def _cpu(host: HostFigures, history: tuple[float, ...], cells: int) -> Line:
    spark = (*sparkline(history, cells, 100.0), Span(" ")) if cells else ()
    percent = Span(f"{host.cpu_percent:.0f}%", theme.level(host.cpu_percent / 100))
    return (Span(" CPU ", "muted"), *spark, percent)


def _memory(host: HostFigures) -> Line:
    share = host.memory_used / host.memory_total if host.memory_total else 0.0
    role: Role = "text" if share < 0.9 else "bad"
    text = f"{fmt.short_size(host.memory_used)}/{fmt.short_size(host.memory_total)}"
    return (Span("  MEM ", "muted"), Span(text, role))


def _pressure(host: HostFigures) -> Line:
    if host.pressure is None:
        return ()
    name, worst = max(zip(host.pressure._fields, host.pressure, strict=True), key=lambda pair: pair[1])
    return (Span("  PSI ", "muted"), Span(f"{name} {worst:.0f}%", "bad" if worst >= 20 else "text"))


def _own(host: HostFigures | None) -> Line:
    if host is None:
        return ()
    return (Span(f"cowl {host.own_cpu_percent:.1f}% {fmt.short_size(host.own_memory)}", "muted"),)
