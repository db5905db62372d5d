"""Times as records and documents write them: RFC 3339 in UTC, nine digits of fraction, sortable as text."""

from __future__ import annotations

import time

EPOCH = "1970-01-01T00:00:00.000000000Z"


def now() -> str:
    """The time now."""
    return rfc3339(time.time_ns())


def rfc3339(nanoseconds: int) -> str:
    """*nanoseconds* since 1970 as ``2024-05-01T12:00:00.000000000Z``."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


def normalise(text: str) -> str:
    """Another writer's RFC 3339 time in this form; EPOCH for what is none, as images are full of such."""
    from datetime import UTC, datetime

    whole, dot, rest = text.strip().partition(".")
    digits = ""
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        whole += rest[len(digits) :]
    try:
        moment = datetime.fromisoformat(whole)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return EPOCH
    return f"{seconds.replace(tzinfo=None).isoformat(timespec='seconds')}.{digits[:9]:0<9}Z"
