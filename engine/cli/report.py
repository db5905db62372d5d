"""How a failure ends a command: one line for people on stderr, and an exit code for scripts.

cowl: error: <what> (<why>); <what to do>
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

from engine.errors import CowlError, LaunchError, NoSpaceError, UsageError

INTERRUPTED = 130
"""128 + SIGINT."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: what a program that does not catch it ends with."""
DEBUG = "COWL_DEBUG"


def fail(error: BaseException) -> int:
    """Say what went wrong and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _drop_output()
        return BROKEN_PIPE
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    known = as_cowl_error(error)
    say(str(known))
    return known.exit_code


@contextlib.contextmanager
def launching() -> Iterator[None]:
    """For `run`, `exec`, `start -a`: what fails is a LaunchError (125): other codes are the process's own."""
    try:
        yield
    except (LaunchError, UsageError, BrokenPipeError):
        raise
    except Exception as error:
        known = as_cowl_error(error)
        raise LaunchError(known.what, known.why, known.hint) from error


def say(message: str) -> None:
    """One line on stderr, whatever *message* holds: names come from archives and containers."""
    _line("error", message)


def warn(message: str) -> None:
    """`say` for what is no failure."""
    _line("warning", message)


def _line(kind: str, message: str) -> None:
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()  # it may be what *message* tells of
    sys.stderr.write(f"cowl: {kind}: {line}\n")


def as_cowl_error(error: BaseException) -> CowlError:
    """The typed error for anything that came out of the engine."""
    if isinstance(error, CowlError):
        return error
    if isinstance(error, OSError):
        return _from_system(error)
    import sqlite3

    if isinstance(error, sqlite3.Error):
        return CowlError(
            "the records cannot be used", str(error), "look at the store's permissions and space"
        )
    return CowlError(
        f"a defect in cowl: {type(error).__name__}", str(error), f"report it, with what {DEBUG}=1 prints"
    )


def _from_system(error: OSError) -> CowlError:
    reason = error.strerror or str(error)
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(f"no space left for {name}" if name else "no space left", reason, "free some")
    what = f"cannot use {name}" if name else "the system refused"
    return CowlError(what, reason, f"{DEBUG}=1 shows where")


def _drop_output() -> None:
    """Nobody reads stdout any more: what is still buffered goes nowhere, at exit too."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, sys.stdout.fileno())
    os.close(silent)
