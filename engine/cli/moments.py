"""Moments as docker takes them: RFC 3339, seconds since 1970, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from engine.errors import UsageError

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|[smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def moment(text: str | None) -> str | None:
    """An RFC 3339 time in UTC for what docker takes: one with an offset, seconds since 1970, a duration."""
    if text is None:
        return None
    found = _ago(text) or _written(text)
    return found.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _ago(text: str) -> datetime | None:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=sum(float(n) * _SECONDS[unit] for n, unit in parts))
    except OverflowError:  # before there were years
        return datetime.min.replace(tzinfo=UTC)


def _written(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"bad time {text!r}", "it is no time", "write 2026-05-01T12:00:00Z, seconds since 1970, or 10m"
        ) from None
