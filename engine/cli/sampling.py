"""`stats`: what containers use, once or every second, as a table, as JSON, or as a template has it."""

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
    Writer: TypeAlias = Callable[[Sequence[Sample]], None]

INTERVAL_S = 1.0
"""Between two samples."""
HOME_AND_CLEAR = "\x1b[H\x1b[J"
_TABLE = "table"


def stats(session: Session, given: Values, arguments: Sequence[str]) -> int:
    """Show what containers use: CPU, memory, IO, processes."""
    once = given["no_stream"]
    with session.open() as engine:
        wanted = {engine.stats.identify(name): name for name in arguments}
        parts, write = _form(engine, given, wanted)
        clears = not once and not given["as_json"] and output.on_terminal()
        cautioned = False
        for samples in _samples(engine, parts, wanted, everything=given["everything"], once=once):
            if not cautioned and (caution := engine.stats.caution()):
                report.warn(caution)
                cautioned = True
            if clears:
                sys.stdout.write(HOME_AND_CLEAR)
            write(samples)
            sys.stdout.flush()
    return 0


ACTIONS: Final[Mapping[str, Action]] = {"stats": stats}


def _form(engine: Engine, given: Values, typed: Mapping[str, str]) -> tuple[frozenset[str], Writer]:
    """Which parts of samples are shown, and what shows them; *typed* has what containers were called."""
    from engine.containers.stats import DETAILS, MEMORY, PARTS

    template, whole = given["template"], given["no_trunc"]
    if given["as_json"]:
        return PARTS, _write_json
    if not template or template == _TABLE:
        return PARTS - {DETAILS}, lambda samples: _write_table(samples, whole)
    from engine.cli import formatted, samplewords

    form, parts = formatted.Form(template, samplewords.TITLES), samplewords.parts(template)

    def write(samples: Sequence[Sample]) -> None:
        memory = engine.stats.host().memory_total if MEMORY in parts else 0
        form.write(
            [samplewords.row(each, typed.get(each.container, ""), memory, whole=whole) for each in samples]
        )

    return parts, write


def _samples(
    engine: Engine, parts: frozenset[str], wanted: Mapping[str, str], *, everything: bool, once: bool
) -> Iterator[list[Sample]]:
    """Samples of the containers *wanted*, or of all that run, until the last of those named has ended."""
    due = time.monotonic()
    looked = False
    while True:
        samples = engine.stats.sample(parts, wanted or None, everything=everything, once=once)
        if wanted and not samples and not _is_awaited(engine, wanted):
            if looked:
                return
            raise ConflictError(f"{', '.join(wanted.values())} does not run", "there is nothing to sample")
        looked = True
        yield samples
        if once:
            return
        due = max(due + INTERVAL_S, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _is_awaited(engine: Engine, wanted: Mapping[str, str]) -> bool:
    """Whether one of *wanted* runs, or will again."""
    live = ("running", "paused", "restarting")
    return any(each.id in wanted and each.state in live for each in engine.containers.list())


def _write_json(samples: Sequence[Sample]) -> None:
    for sample in samples:
        output.emit_line(sample)


def _write_table(samples: Sequence[Sample], whole: bool) -> None:
    """*samples* in a line each; with *whole*, their IDs come first."""
    titles = (
        *(("CONTAINER ID",) if whole else ()),
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
            *((each.container,) if whole else ()),
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
    left = 2 if whole else 1
    output.write_table([Column(title, index >= left) for index, title in enumerate(titles)], rows)
