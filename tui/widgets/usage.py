"""The selected container's histories, side by side, with the limits drawn and said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from textual import events
from textual.containers import Grid
from textual.content import Content
from textual.widget import Widget

from engine.model import Sample
from tui import format as fmt
from tui.figures import Figures, figures
from tui.series import History
from tui.theme import Line, Role, Span
from tui.widgets.graph import LEVELS, Graph, Plot

WINDOW = 120
"""Seconds that a graph shows where it is narrow; a wide one shows a second in each column of dots."""
MOST = 600
"""Pressures that are kept."""
LEAST_ROWS = 4
"""Lines of a graph and its title: below that, there are fewer graphs."""
MEMORY: tuple[Role, Role, Role] = ("keyword", "keyword", "bad")
IO: tuple[Role, Role, Role] = ("id", "id", "id")
PIDS: tuple[Role, Role, Role] = ("graph", "warning", "bad")
PRESSURE: tuple[Role, Role, Role] = ("warning", "warning", "bad")


class Usage(Grid):
    """Graphs of CPU, memory, IO and pids; with PSI where the kernel tells it and there is room."""

    DEFAULT_CSS = """
    Usage { height: 1fr; grid-size: 2; grid-gutter: 0 2; }
    Usage > Graph { display: none; }
    Usage > Graph.-shown { display: block; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        self._graphs = {name: Graph(classes=f"-{name}") for name in ("cpu", "memory", "io", "pids", "psi")}
        super().__init__(id=id, classes=classes)
        self._psi: list[float] = []
        self._before: Sample | None = None
        self._figures = Figures()
        self._tick = 0
        self._noted = ("", "")
        self._shown: tuple[str, Sample, History] | None = None
        self.border_title = "Usage"

    def compose(self) -> Iterable[Widget]:
        """All graphs; which of them show depends on the room."""
        yield from self._graphs.values()

    def show(self, name: str, sample: Sample | None, history: History | None) -> None:
        """Draw a container's latest sample and its history; without a sample, say that it does not run."""
        self._note(name, self._noted[1])
        if sample is None or history is None:
            self._empty()
            return
        self._shown = name, sample, history
        self._remember(sample, history)
        self._arrange(with_pressure=sample.pressure is not None)
        step = self._step()
        self._graphs["cpu"].show(_cpu(sample, history, step, self._tick))
        self._graphs["memory"].show(_memory(sample, history, step, self._tick))
        self._graphs["io"].show(_io(self._figures, history, step, self._tick))
        self._graphs["pids"].show(_pids(sample, history, step, self._tick))
        self._graphs["psi"].show(_psi(sample, self._psi, step, self._tick))
        self._note(name, span(2 * self._graphs["cpu"].size.width * step))

    def show_nothing(self) -> None:
        """No container is selected: what the last one used goes."""
        self._empty("no container")
        self._note("", "")

    def on_resize(self, event: events.Resize) -> None:
        """Another number of graphs may fit."""
        self._arrange(with_pressure=bool(self._psi))
        self.call_after_refresh(self._again)

    def _again(self) -> None:
        """Draw the same once more: the graphs have their width only after they are laid out."""
        if self._shown is not None:
            self.show(*self._shown)

    def _remember(self, sample: Sample, history: History) -> None:
        """Count ticks, and keep the pressure, which the history does not."""
        before = self._before
        if before is None or before.container != sample.container:
            before = None
            self._psi.clear()
            self._tick = len(history.cpu)
        elif before.monotonic_ns == sample.monotonic_ns:
            return
        else:
            self._tick += 1
        self._figures = figures(before, sample)
        self._before = sample
        if sample.pressure is not None:
            self._psi.append(max(sample.pressure))
            del self._psi[:-MOST]

    def _step(self) -> int:
        dots = 2 * max(1, self._graphs["cpu"].size.width)
        return max(1, -(-WINDOW // dots))

    def _arrange(self, *, with_pressure: bool) -> None:
        """Two columns and as many rows as are readable: pids, then IO give way; PSI takes what is left."""
        rows = max(1, self.content_size.height // LEAST_ROWS)
        names = ["cpu", "memory", "io", "pids"][: 2 * rows]
        if with_pressure and 2 * rows > len(names):
            names.append("psi")
        for name, graph in self._graphs.items():
            graph.set_class(name in names, "-shown")

    def _note(self, title: str, subtitle: str) -> None:
        if (title, subtitle) != self._noted:
            self._noted = (title, subtitle)
            self.border_title = Content(fmt.safe(title) or "Usage")
            self.border_subtitle = subtitle

    def _empty(self, sentence: str = "not running") -> None:
        self._shown = None
        self._note(self._noted[0], "")
        for name, graph in self._graphs.items():
            graph.show(Plot(title=(Span(sentence, "muted"),) if name == "cpu" else ()))


def span(seconds: int) -> str:
    """The time that a graph shows."""
    return f"{seconds} s" if seconds < 100 else f"{round(seconds / 60)} min"


def _cpu(sample: Sample, history: History, step: int, tick: int) -> Plot:
    limit = sample.cpu_limit * 100 if sample.cpu_limit is not None else None
    used = f"{sample.cpu_percent:.0f}"
    title = (Span("CPU "), Span(f"{used}/{limit:.0f}%" if limit is not None else f"{used}%"))
    peak = _peak(history.cpu, lambda value: f"{value:.0f}%")
    return Plot(history.cpu, title, peak, limit, 100.0, LEVELS, step, tick)


def _memory(sample: Sample, history: History, step: int, tick: int) -> Plot:
    limit = sample.memory_limit_bytes
    used = fmt.short_size(sample.memory_bytes)
    title = (Span("Mem "), Span(f"{used}/{fmt.short_size(limit)}" if limit else used))
    note = (Span(f"peak {fmt.short_size(sample.memory_peak_bytes)}", "muted"),)
    return Plot(history.memory, title, note, limit, 1 << 20, MEMORY, step, tick)


def _io(rates: Figures, history: History, step: int, tick: int) -> Plot:
    title = (Span(f"IO r {fmt.short_size(rates.io_read)} w {fmt.short_size(rates.io_write)}"),)
    return Plot(history.io, title, _peak(history.io, fmt.rate), None, 1 << 16, IO, step, tick)


def _pids(sample: Sample, history: History, step: int, tick: int) -> Plot:
    limit = sample.pids_limit
    title = (Span(f"Pids {sample.pids}/{limit}" if limit else f"Pids {sample.pids}"),)
    return Plot(
        history.pids, title, _peak(history.pids, lambda value: f"{value:.0f}"), limit, 10, PIDS, step, tick
    )


def _peak(values: Sequence[float], text: Callable[[float], str]) -> Line:
    return (Span(f"peak {text(max(values))}", "muted"),) if len(values) else ()


def _psi(sample: Sample, values: list[float], step: int, tick: int) -> Plot:
    if sample.pressure is None:
        return Plot()
    cpu, memory, io = sample.pressure
    title = (Span(f"PSI cpu {cpu:.0f} mem {memory:.0f} io {io:.0f}%"),)
    return Plot(tuple(values), title, (), None, 10.0, PRESSURE, step, tick)
