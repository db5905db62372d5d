"""Figures and names for people, in few cells: pure functions.

Sizes are powers of 1024, as `du -h` and `free -h` count. Every function says how many cells its text takes at
most, so that columns never jump.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterable
from datetime import datetime

from rich.cells import cell_len, set_cell_size

UNITS = "KMGTPE"
_AGES = ((60, "s"), (60, "m"), (24, "h"), (365, "d"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)?$")


def size(count: float) -> str:
    """Bytes in at most 5 cells: `0`, `987B`, `1.2K`, `74.8M`, `612K`, `1.1G`."""
    return _scaled(count, 99.95)


def short_size(count: float) -> str:
    """Bytes in at most 4 cells (5 from 1000 of a unit on): `0`, `9.1K`, `80K`, `1.2M`."""
    return _scaled(count, 9.95)


def signed(count: float) -> str:
    """A difference of bytes in at most 6 cells: `+3.2M`, `−2.0M`, `+0`."""
    return ("−" if count < 0 else "+") + size(abs(count))


def rate(per_second: float) -> str:
    """Bytes per second in at most 7 cells: `1.2M/s`."""
    return f"{short_size(per_second)}/s"


def count(number: int) -> str:
    """A number with its thousands told apart: `1,211`."""
    return f"{number:,}"


def percent(value: float) -> str:
    """A percentage without its sign, one decimal below 1000: `0.0`, `143.0`, `1204`."""
    return f"{value:.1f}" if value < 999.95 else f"{value:.0f}"


def cpus(number: float) -> str:
    """CPUs without needless zeros: `0.5`, `2`, `1.25`."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def elapsed(seconds: float) -> str:
    """How long ago or since when, in at most 4 cells: `9s`, `9m`, `2h`, `41d`, `3y`."""
    value = max(0.0, seconds)
    for length, unit in _AGES:
        if value < length:
            return f"{int(value)}{unit}"
        value /= length
    return f"{int(value)}y"


def duration(seconds: float) -> str:
    """How long something took or may take: `31ms`, `4.2s`, `2m05s`, `1h02m`."""
    if seconds < 0.9995:
        return f"{round(max(0.0, seconds) * 1000)}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def age(moment: str | None, now: float | None = None) -> str:
    """`elapsed` since an RFC 3339 time, "" for a missing or malformed one; `now` in seconds since 1970."""
    then = seconds(moment)
    return "" if then is None else elapsed((time.time() if now is None else now) - then)


def seconds(moment: str | None) -> float | None:
    """An RFC 3339 time (any number of decimals; no offset means UTC) in seconds since 1970."""
    found = _TIME.match(moment or "")
    if found is None:
        return None
    day, clock_time, fraction, offset = found.groups()
    zone = "+00:00" if offset in (None, "Z", "z") else offset
    try:
        whole = datetime.fromisoformat(f"{day}T{clock_time}{zone}").timestamp()
    except ValueError:
        return None
    return whole + float(fraction or 0)


def clock(moment: str) -> str:
    """The local time of day of an RFC 3339 time, 12 cells: `12:04:31.118`; blank where it has none."""
    found, then = _TIME.match(moment), seconds(moment)
    if found is None or then is None:
        return " " * 12
    milliseconds = (found[3] or ".")[1:4]
    return f"{time.strftime('%H:%M:%S', time.localtime(int(then)))}.{milliseconds:0<3}"


def short_id(digest: str) -> str:
    """The first 8 figures of a digest or container ID, without its algorithm."""
    return digest.rpartition(":")[2][:8]


def safe(text: str) -> str:
    """Text of a container that can go to a terminal: control characters, bidirectional overrides and the
    surrogates of bytes that are not UTF-8 become visible signs, one cell each."""
    return _CONTROL.sub(_visible, text)


def clip(text: str, cells: int) -> str:
    """The text in at most that many cells, its end replaced by "…" where it is longer."""
    if cells <= 0:
        return ""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…"


def fit(text: str, cells: int) -> str:
    """The text in exactly that many cells, cut or filled on the right."""
    return set_cell_size(clip(text, cells), max(0, cells))


def fit_right(text: str, cells: int) -> str:
    """The text in exactly that many cells, cut on the right or filled on the left."""
    clipped = clip(text, cells)
    return " " * (cells - cell_len(clipped)) + clipped


def command_line(arguments: Iterable[str]) -> str:
    """An argument vector as a shell would read it back."""
    return shlex.join(arguments)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "�"


def _scaled(count: float, one_decimal_below: float) -> str:
    value = max(0.0, count)
    if value < 1000:
        whole = round(value)
        return f"{whole}B" if 0 < whole < 1000 else ("1.0K" if whole else "0")
    for unit in UNITS:
        value /= 1024
        if value < one_decimal_below:
            return f"{value:.1f}{unit}"
        if round(value) < 1000:
            return f"{value:.0f}{unit}"
    return f"{value:.0f}{UNITS[-1]}"
