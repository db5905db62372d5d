"""Samples in docker's words, for ``stats --format``: its fields, its units, its titles."""

from __future__ import annotations

import re

from engine.cli import output
from engine.cli.templates import Known
from engine.containers.stats import IO, MEMORY, NETWORK
from engine.model import Sample

TITLES = {
    "ID": "CONTAINER ID",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
}
_PARTS = {"memusage": MEMORY, "memperc": MEMORY, "netio": NETWORK, "blockio": IO}
_WHOLE = re.compile(r"\{\{[^}]*(?:\.(?!\w)|\$(?!\.))")
"""A dot or a dollar alone: all fields at once."""
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def parts(template: str) -> frozenset[str]:
    """The parts of samples that *template* shows."""
    if template == "json" or _WHOLE.search(template):
        return frozenset(_PARTS.values())
    folded = template.replace("_", "").lower()
    return frozenset(part for field, part in _PARTS.items() if field in folded)


def row(sample: Sample, called: str, memory: int, *, whole: bool) -> Known:
    """A sample as ``stats --format`` knows it; *called* is what the container was called when asked for.

    Where there is no limit, docker shows the *memory* of the machine.
    """
    identity = sample.container if whole else output.short(sample.container)
    limit = sample.memory_limit_bytes or memory
    share = 100 * sample.memory_bytes / limit if limit else 0.0
    return Known(
        BlockIO=f"{_decimal(sample.io_read_bytes)} / {_decimal(sample.io_write_bytes)}",
        CPUPerc=f"{sample.cpu_percent:.2f}%",
        Container=called or identity,
        ID=identity,
        MemPerc=f"{share:.2f}%",
        MemUsage=f"{_binary(sample.memory_bytes)} / {_binary(limit)}",
        Name=sample.name,
        NetIO=f"{_decimal(sample.net_rx_bytes)} / {_decimal(sample.net_tx_bytes)}",
        PIDs=str(sample.pids),
    )


def _binary(count: int) -> str:
    """Bytes as docker writes memory: four digits, in powers of 1024."""
    return _sized(count, 1024, 4, _BINARY)


def _decimal(count: int) -> str:
    """Bytes as docker writes traffic: three digits, in powers of 1000."""
    return _sized(count, 1000, 3, _DECIMAL)


def _sized(count: int, base: int, digits: int, units: tuple[str, ...]) -> str:
    value, unit = float(count), 0
    while float(f"{value:.{digits}g}") >= base and unit < len(units) - 1:
        value, unit = value / base, unit + 1
    return f"{value:.{digits}g}{units[unit]}"
