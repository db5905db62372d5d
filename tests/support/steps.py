"""How much work something is, counted instead of timed: the same on a slow day."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def counting() -> Iterator[list[int]]:
    """Within it, how many lines of Python are run by what is called in this thread, as the one item.

    What one call of C does counts as nothing.
    """
    count = [0]

    def trace(_frame: FrameType, event: str, _value: object) -> Any:
        count[0] += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python *work* runs (see `counting`)."""
    with counting() as count:
        work()
    return count[0]
