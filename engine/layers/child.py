"""A part of the work in a forked process, whose result or failure becomes this one's.

Only for processes without threads: a fork of one with threads may find any lock taken for ever.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, NoReturn, TypeVar

from engine.errors import StoreError

Result = TypeVar("Result")


class Child(Generic[Result]):
    """Does *work* beside this process; a context manager, after which the child is gone in any case."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._outcome, outcome = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._outcome)
            _do(work, outcome)
        os.close(outcome)

    def __enter__(self) -> Child[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._outcome)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def result(self) -> Result:
        """What *work* returned; what it raised is raised here. StoreError when the child was killed."""
        with open(self._outcome, "rb", closefd=False) as file:
            data = file.read()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if not data:
            code = os.waitstatus_to_exitcode(status)
            raise StoreError(
                "a process ended early", f"signal {-code}" if code < 0 else f"code {code}", "try again"
            )
        returned, outcome = pickle.loads(data)
        if not returned:
            raise outcome
        result: Result = outcome
        return result


def _do(work: Callable[[], object], outcome: int) -> NoReturn:
    gc.disable()  # it does one thing and ends: nothing is worth a search for
    try:
        try:
            said: tuple[bool, object] = True, work()
        except Exception as error:  # noqa: BLE001 - raised again by `result`
            said = False, error
        with suppress(BrokenPipeError), open(outcome, "wb") as file:
            pickle.dump(said, file)
    finally:
        os._exit(0)
