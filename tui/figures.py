"""What samples mean: rates between two of them, and the plain sentence where a number needs one."""

from __future__ import annotations

from typing import NamedTuple

from engine.model import Sample
from tui import format as fmt

NS = 1_000_000_000
NEARLY_FULL = 0.9
PRESSING = 20.0
"""Percent of the last ten seconds in which something waited: from here on it is worth a sentence."""
OFTEN_THROTTLED = 0.05


class Figures(NamedTuple):
    """One container between two samples. Rates are bytes per second."""

    io_read: float = 0.0
    io_write: float = 0.0
    net_rx: float = 0.0
    net_tx: float = 0.0
    throttled: float | None = None
    """The share of scheduler periods in which it ran into its quota; None where it has none."""
    wants: float | None = None
    """CPUs that it would use without its quota; None where it was not throttled."""
    new_oom_kills: int = 0


def figures(before: Sample | None, now: Sample) -> Figures:
    """What happened between two samples of one container; all zero without an earlier one or after a restart.

    What it wants is what it used plus the time that its run queues stood throttled (cpu.stat, CFS bandwidth).
    """
    if before is None or now.cpu_usage_ns < before.cpu_usage_ns:
        return Figures(throttled=None if now.cpu_limit is None else 0.0)
    seconds = (now.monotonic_ns - before.monotonic_ns) / NS
    if seconds <= 0:
        return Figures(throttled=None if now.cpu_limit is None else 0.0)
    throttled = wants = None
    if now.cpu_limit is not None:
        periods = now.periods - before.periods
        throttled = (now.throttled_periods - before.throttled_periods) / periods if periods > 0 else 0.0
        waited = now.throttled_ns - before.throttled_ns
        if throttled > 0 and waited > 0:
            wants = (now.cpu_usage_ns - before.cpu_usage_ns + waited) / NS / seconds
    return Figures(
        io_read=max(0, now.io_read_bytes - before.io_read_bytes) / seconds,
        io_write=max(0, now.io_write_bytes - before.io_write_bytes) / seconds,
        net_rx=max(0, now.net_rx_bytes - before.net_rx_bytes) / seconds,
        net_tx=max(0, now.net_tx_bytes - before.net_tx_bytes) / seconds,
        throttled=throttled,
        wants=wants,
        new_oom_kills=max(0, now.oom_kills - before.oom_kills),
    )


def memory_share(sample: Sample) -> float | None:
    """How much of its memory limit is in use, 0..1; None without a limit."""
    return sample.memory_bytes / sample.memory_limit_bytes if sample.memory_limit_bytes else None


def pressure(sample: Sample) -> float | None:
    """The worst of the three pressures, in percent; None where the kernel tells none."""
    return None if sample.pressure is None else max(sample.pressure)


def sentences(sample: Sample, figure: Figures) -> list[str]:
    """What is worth saying about a container, the most pressing first; empty when all is well."""
    said: list[str] = []
    if sample.oom_kills:
        times = "once" if sample.oom_kills == 1 else f"{sample.oom_kills} times"
        limit = f": its limit is {fmt.size(sample.memory_limit_bytes)}" if sample.memory_limit_bytes else ""
        said.append(f"OOM killed {times}{limit}")
    share = memory_share(sample)
    if share is not None and share >= NEARLY_FULL:
        said.append(f"memory at {share:.0%} of its limit")
    if figure.throttled is not None and figure.throttled >= OFTEN_THROTTLED and sample.cpu_limit is not None:
        wants = ", in bursts"
        if figure.wants is not None and figure.wants > sample.cpu_limit:
            wants = f", it wants about {figure.wants:.1f}"
        quota = f"{fmt.cpus(sample.cpu_limit)} CPU{'s' if sample.cpu_limit != 1 else ''}"
        said.append(f"throttled {figure.throttled:.0%} of periods: quota {quota}{wants}")
    if sample.pids_limit and sample.pids >= NEARLY_FULL * sample.pids_limit:
        said.append(f"{sample.pids} of {sample.pids_limit} processes: it can hardly fork")
    if sample.swap_bytes and share is not None and share >= NEARLY_FULL:
        said.append(f"{fmt.size(sample.swap_bytes)} of it swapped out")
    if sample.pressure is not None:
        said += [
            f"waits for {what} {value:.0f}% of the time"
            for what, value in (("memory", sample.pressure.memory), ("IO", sample.pressure.io))
            if value >= PRESSING
        ]
    return said
