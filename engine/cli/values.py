"""What is typed after an option, given its meaning: sizes, numbers, times, variables, labels.

Spellings are docker's. Every function raises UsageError, which says how to write it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence

from engine.errors import UsageError

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def duration(text: str) -> float:
    """Seconds: ``1m30s``, ``500ms``, ``2``, as docker has them."""
    import re

    parts = re.findall(r"([0-9]*\.?[0-9]+)(h|ms|us|µs|ns|m|s)", text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    try:
        return float(positive(text, "a time") or 0.0)
    except UsageError:
        raise UsageError(
            f"bad time {text!r}", "it is no duration", "write it like 30s, 1m30s or 500ms"
        ) from None


def size(text: str | None, option: str) -> int | None:
    """Bytes: ``64m``, ``1.5g``, ``4096``, ``10MiB``; units are powers of 1024."""
    if text is None:
        return None
    number = text.strip().lower()
    number = number.removesuffix("ib") if number.endswith("ib") else number.removesuffix("b")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    number = number.removesuffix(unit).removesuffix(" ")
    whole, _, fraction = number.partition(".")
    if not (number.isascii() and whole.isdecimal() and (fraction.isdecimal() or number == whole)):
        raise UsageError(
            f"bad size {text!r} for {option}", "it is no number with a unit", "write it like 64m or 1g"
        )
    return int(float(number) * (1 << _UNITS[unit]))


def positive(text: str | None, option: str) -> float | None:
    """A number that is not negative."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(
            f"bad number {text!r} for {option}", "it is no positive number", "write it like 0.5 or 2"
        )
    return number


def seconds(text: str) -> float:
    """Seconds to wait; negative, which becomes -1, is for ever, as docker has it."""
    return -1.0 if text.startswith("-") and text[1:].isdecimal() else positive(text, "a time") or 0.0


def integer(text: str | None, option: str) -> int | None:
    """A whole number."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"bad number {text!r} for {option}", "it is no whole number", "write it like 100"
        ) from None


def environment(entries: Sequence[str], files: Sequence[str]) -> tuple[str, ...]:
    """``NAME=VALUE`` of files, then of options, in order; a bare NAME takes the caller's value, if any."""
    found = [entry for path in files for entry in _read_env_file(path)]
    found += [_checked(entry, "-e", spaces=True) for entry in entries]
    return tuple(entry for entry in map(_filled, found) if entry is not None)


def _read_env_file(path: str) -> Iterable[str]:
    return [_checked(line, path) for line in _lines(path)]


def _lines(path: str) -> list[str]:
    """What a file says, without comments."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = [line.rstrip("\r\n").lstrip() for line in file]
    except OSError as error:
        raise UsageError(
            f"cannot read {path}", error.strerror or str(error), "name a file of NAME=VALUE lines"
        ) from error
    return [line for line in lines if line and not line.startswith("#")]


def labels_of(files: Sequence[str]) -> list[str]:
    """Labels of files, one a line."""
    return [label(line) for path in files for line in _lines(path)]


def label(text: str) -> str:
    """``NAME=VALUE``; the value may be left out."""
    if not text.partition("=")[0].strip():
        raise UsageError(f"bad label {text!r}", "it has no name", "write NAME=VALUE")
    return text


def _checked(entry: str, where: str, *, spaces: bool = False) -> str:
    name = entry.partition("=")[0]
    if not name or "\0" in entry or (not spaces and any(letter.isspace() for letter in name)):
        raise UsageError(f"bad variable {entry!r} in {where}", "it has no proper name", "write NAME=VALUE")
    return entry


def _filled(entry: str) -> str | None:
    if "=" in entry:
        return entry
    value = os.environ.get(entry)
    return None if value is None else f"{entry}={value}"
