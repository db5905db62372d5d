"""Signals by name, and waiting for a process that is not ours to end."""

from __future__ import annotations

import os
import select
import signal

from engine.errors import UsageError
from engine.kernel import process


def signal_number(name: str | int) -> int:
    """The number of ``SIGTERM``, ``term``, ``15`` or ``SIGRTMIN+3``. Raises UsageError for what is none."""
    text = str(name).upper()
    if text.isdigit() and 0 < int(text) <= signal.SIGRTMAX:
        return int(text)
    text = text if text.startswith("SIG") else f"SIG{text}"
    base, plus, offset = text.partition("+")
    number = getattr(signal, base, None)
    if isinstance(number, signal.Signals) and (not plus or offset.isdigit()):
        value = int(number) + int(offset or 0)
        if value <= signal.SIGRTMAX:
            return value
    raise UsageError(f"{name} is no signal", hint="see signal(7)")


def wait_end(who: process.Identity, seconds: float | None) -> bool:
    """Wait until *who* has ended; False if it has not after *seconds* (None: as long as it takes)."""
    descriptor = process.open_pidfd(who)
    if descriptor is None:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(None if seconds is None else seconds * 1000))
    finally:
        os.close(descriptor)
