"""`stats`: what containers use, once or every second."""

from __future__ import annotations

import sys
import time

from engine.cli import output, report
from engine.cli.output import Column
from engine.errors import ConflictError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Final, TypeAlias

    from engine.cli.options import Values
    from engine.cli.session import Session
    from engine.engine import Engine
    from engine.model import Sample

    Action: TypeAlias = Callable[[Session, Values, Sequence[str]], int]

INTERVAL_S = 1.0
"""Between two samples."""
HOME_AND_CLEAR = "\x1b[H\x1b[J"


def stats(session: Session, given: Values, arguments: Sequence[str]) -> int:
    """Show what containers use: CPU, memory, IO, processes."""
    once = given["no_stream"]
    with session.open() as engine:
        cautioned = False
        for samples in _samples(engine, arguments, once=once):
            if not cautioned and (caution := engine.stats.caution()):
                report.warn(caution)
                cautioned = True
            if given["as_json"]:
                for sample in samples:
                    output.emit_line(sample)
                continue
            if not once and output.on_terminal():
                sys.stdout.write(HOME_AND_CLEAR)
            _write_samples(samples)
            sys.stdout.flush()
    return 0


ACTIONS: Final[Mapping[str, Action]] = {"stats": stats}


def _samples(engine: Engine, names: Sequence[str], *, once: bool) -> Iterator[list[Sample]]:
    """Samples of the containers *names*, or of all that run, until the last of those named has ended."""
    wanted = {engine.containers.get(name).id: name for name in names}
    due = time.monotonic()
    while True:
        samples = [each for each in engine.stats.sample() if not wanted or each.container in wanted]
        if wanted and not samples:
            raise ConflictError(f"{', '.join(wanted.values())} does not run", "there is nothing to sample")
        yield samples
        if once:
            return
        due = max(due + INTERVAL_S, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _write_samples(samples: Sequence[Sample]) -> None:
    titles = (
        "NAME",
        "CPU %",
        "LIMIT",
        "MEMORY",
        "LIMIT",
        "PEAK",
        "READ",
        "WRITTEN",
        "RECEIVED",
        "SENT",
        "PIDS",
        "LIMIT",
    )
    rows = [
        [
            each.name,
            f"{each.cpu_percent:.1f}",
            "-" if each.cpu_limit is None else f"{each.cpu_limit * 100:.0f}",
            output.size_text(each.memory_bytes),
            "-" if each.memory_limit_bytes is None else output.size_text(each.memory_limit_bytes),
            output.size_text(each.memory_peak_bytes),
            output.size_text(each.io_read_bytes),
            output.size_text(each.io_write_bytes),
            output.size_text(each.net_rx_bytes),
            output.size_text(each.net_tx_bytes),
            str(each.pids),
            "-" if each.pids_limit is None else str(each.pids_limit),
        ]
        for each in samples
    ]
    output.write_table([Column(title, index > 0) for index, title in enumerate(titles)], rows)
