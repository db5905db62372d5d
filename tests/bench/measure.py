"""Timing things fairly: all cases in turn, round after round, so that a slow minute slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

QUIET_SECONDS = 5.0
"""How long the case before may go on working: podman cleans up after its command has ended."""
_QUIET_LOOK_SECONDS = 0.1
_QUIET_SHARE = 0.05


def _nothing() -> None:
    pass


class Case(NamedTuple):
    """One thing to time; only `work` is on the clock."""

    name: str
    work: Callable[[], object]
    before: Callable[[], object] = _nothing
    after: Callable[[], object] = _nothing


class Goal(NamedTuple):
    """What `ours` should cost at most, as a multiple of what `theirs` costs in the same run."""

    ours: str
    theirs: str
    at_most: float


class Figure(NamedTuple):
    """One figure that is judged by itself."""

    name: str
    value: float
    unit: str
    below: float | None = None


class Figures(NamedTuple):
    """What came of an area that has no peer."""

    title: str
    figures: tuple[Figure, ...]


class Result(NamedTuple):
    """What came of one area; times in seconds, one per round."""

    title: str
    times: dict[str, list[float]]
    goals: tuple[Goal, ...]


def measure(
    title: str,
    cases: list[Case],
    goals: tuple[Goal, ...],
    *,
    rounds: int,
    quiet_seconds: float = QUIET_SECONDS,
) -> Result:
    """Time *cases* interleaved, *rounds* times each after one that does not count.

    Each begins in quiet, if that comes within *quiet_seconds*.
    """
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds + 1):
        for case in cases:
            case.before()
            wait_for_quiet(quiet_seconds)
            started = time.perf_counter()
            case.work()
            took = time.perf_counter() - started
            case.after()
            if number or rounds == 1:
                times[case.name].append(took)
    return Result(title, times, goals)


def wait_for_quiet(seconds: float) -> bool:
    """Wait until the processors have nothing to do; False if they still do after *seconds*."""
    deadline = time.monotonic() + seconds
    busy, total = _processor_ticks()
    while True:
        time.sleep(_QUIET_LOOK_SECONDS)
        busy_now, total_now = _processor_ticks()
        if busy_now - busy <= _QUIET_SHARE * (total_now - total):
            return True
        if time.monotonic() > deadline:
            return False
        busy, total = busy_now, total_now


def _processor_ticks() -> tuple[int, int]:
    """Ticks that all processors were busy, and all that have passed (proc_stat(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def report(result: Result | Figures) -> str:
    """*result* for people: medians in milliseconds, and how ratios or figures stand against their goals."""
    if isinstance(result, Figures):
        return "\n".join([result.title, *map(_line, result.figures)])
    lines = [result.title]
    width = max(map(len, result.times), default=0)
    for name, times in result.times.items():
        median = statistics.median(times)
        spread = f"{min(times) * 1000:,.1f}..{max(times) * 1000:,.1f}"
        lines.append(f"  {name:<{width}}  {median * 1000:>10,.1f} ms   {spread}")
    for goal in result.goals:
        if goal.ours in result.times and goal.theirs in result.times:
            lines.append("  " + verdict(goal, result.times))
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    line = f"  {figure.name:<40}{figure.value:>8.1f} {figure.unit}"
    if figure.below is None:
        return line
    return f"{line} (goal below {figure.below:g}: {'met' if figure.value < figure.below else 'missed'})"


def verdict(goal: Goal, times: dict[str, list[float]]) -> str:
    """One sentence: the ratio, in the direction in which people say it, and the goal."""
    ratio = statistics.median(times[goal.ours]) / statistics.median(times[goal.theirs])
    met = "met" if ratio <= goal.at_most else "missed"
    if goal.at_most < 1:
        wanted = f"{1 / goal.at_most:.0f}x"
        return f"{goal.ours} is {1 / ratio:.1f}x as fast as {goal.theirs} (goal {wanted}: {met})"
    return f"{goal.ours} takes {ratio:.2f}x the time of {goal.theirs} (goal at most {goal.at_most:g}x: {met})"
