"""Samples and histories for tests of the widgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from textual.app import App
from textual.content import Content
from textual.widget import Widget

from engine.model import Pressure, Sample
from tui.theme import THEMES

MIB = 1 << 20
SECOND = 1_000_000_000
PANES = """
.pane { border: round $border-blurred; border-title-color: $foreground; border-subtitle-color: $text-muted;
        padding: 0 1; }
.pane:focus, .pane:focus-within { border: round $border; border-title-color: $border; }
"""
QUIET = Sample(
    container="c0",
    name="quiet",
    time="2026-01-01T12:00:00Z",
    monotonic_ns=0,
    cpu_percent=0.0,
    cpu_usage_ns=0,
    throttled_periods=0,
    throttled_ns=0,
    periods=0,
    memory_bytes=0,
    memory_limit_bytes=None,
    memory_peak_bytes=0,
    oom_kills=0,
    swap_bytes=0,
    io_read_bytes=0,
    io_write_bytes=0,
    net_rx_bytes=0,
    net_tx_bytes=0,
    pids=1,
    pids_limit=None,
    cpu_limit=None,
    pressure=None,
)


class Rings(NamedTuple):
    """A history as the engine keeps it."""

    cpu: Sequence[float]
    memory: Sequence[float]
    io: Sequence[float]
    pids: Sequence[float]


class ThemedApp(App[None]):
    """An app with cowl's themes and borders, for one widget or dialog."""

    CSS = PANES

    def __init__(self, theme: str = "cowl") -> None:
        super().__init__(ansi_color=theme == "cowl-ansi")
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme


def title(widget: Widget) -> str:
    """What stands in a widget's upper border."""
    return Content.from_markup(str(widget.border_title or "")).plain


def sample(**given: Any) -> Sample:
    """A quiet sample, but for what is given."""
    return QUIET._replace(**given)


def busy(tick: int) -> list[Sample]:
    """Four containers, as on the drawing of the screen, `tick` seconds after their start."""

    def made(name: str, cpu: float, memory: int, **more: Any) -> Sample:
        rates = {
            key: value * tick
            for key, value in more.items()
            if key.endswith(("_read_bytes", "_write_bytes", "_rx_bytes", "_tx_bytes", "_ns", "periods"))
        }
        return sample(
            **{
                **more,
                **rates,
                "container": f"id-{name}",
                "name": name,
                "monotonic_ns": tick * SECOND,
                "cpu_percent": cpu,
                "cpu_usage_ns": int(cpu / 100 * SECOND) * tick,
                "memory_bytes": memory * MIB,
                "memory_peak_bytes": (memory + 9) * MIB,
            }
        )

    return [
        made(
            "api",
            150.0,
            412,
            memory_limit_bytes=512 * MIB,
            cpu_limit=1.5,
            periods=10,
            throttled_periods=3,
            throttled_ns=SECOND * 6 // 10,
            io_read_bytes=1_258_291,
            io_write_bytes=9216,
            net_rx_bytes=12_288,
            net_tx_bytes=81_920,
            pids=14,
            pids_limit=50,
            pressure=Pressure(21.0, 0.4, 4.0),
        ),
        made("notebook", 82.4, 1229, io_write_bytes=4_299_161, pids=31, pressure=Pressure(4.0, 0.0, 1.0)),
        made("worker", 0.0, 61, memory_limit_bytes=256 * MIB, pids=3, pressure=Pressure(0.0, 0.0, 0.0)),
        made(
            "batch-import",
            12.1,
            250,
            memory_limit_bytes=256 * MIB,
            oom_kills=2,
            pids=3,
            pressure=Pressure(0.0, 35.0, 0.0),
        ),
    ]


def histories(ticks: int = 120) -> dict[str, Rings]:
    """Two minutes of each, made of saw teeth of different lengths."""

    def teeth(low: float, high: float, length: int) -> list[float]:
        return [low + (high - low) * (n % length) / length for n in range(ticks)]

    return {
        "id-api": Rings(
            teeth(60, 150, 17), teeth(380 * MIB, 412 * MIB, 61), teeth(0, 2e6, 9), teeth(9, 14, 40)
        ),
        "id-notebook": Rings(teeth(40, 100, 11), [1229.0 * MIB] * ticks, teeth(0, 4e6, 30), [31.0] * ticks),
        "id-worker": Rings([0.0] * ticks, [61.0 * MIB] * ticks, [0.0] * ticks, [3.0] * ticks),
        "id-batch-import": Rings([12.1] * 20, [250.0 * MIB] * 20, [0.0] * 20, [3.0] * 20),
    }
