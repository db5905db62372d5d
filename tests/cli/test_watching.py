"""Times and numbers of lines as `logs` and `events` take them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.cli.moments import moment as moment_of
from engine.cli.watching import _tail
from engine.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("1500ms", 1.5),
        ("1.5s", 1.5),
        ("2d", 172800),
        ("1m0.5s", 60.5),
        ("0s", 0),
    ],
)
def test_how_long_ago(text: str, seconds: float) -> None:
    moment = moment_of(text)
    assert moment is not None
    ago = datetime.now(UTC) - datetime.fromisoformat(moment)
    assert seconds <= ago.total_seconds() < seconds + 5


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("5", "1970-01-01T00:00:05.000000Z"),
        ("1.25", "1970-01-01T00:00:01.250000Z"),
        ("2026-05-01T12:00:00Z", "2026-05-01T12:00:00.000000Z"),
        ("2026-05-01T12:00:00.5+02:00", "2026-05-01T10:00:00.500000Z"),
        ("99999999999999h", "0001-01-01T00:00:00.000000Z"),
        (None, None),
    ],
)
def test_which_moment(text: str | None, moment: str | None) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize("text", ["", "h", "1.5.5s", "10x", "yesterday", "-5m", "1e400"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        moment_of(text)


def test_how_many_lines() -> None:
    assert [_tail(text) for text in (None, "all", "-1", "0", "12")] == [None, None, None, 0, 12]
    with pytest.raises(UsageError):
        _tail("x")
