"""Places at which a test can end this process as a power cut would: SIGKILL, no cleaning up.

Every step that changes what is on disk is followed by a named point. Outside tests a point is one look into
the environment.
"""

from __future__ import annotations

import os

from engine.kernel import signals

VARIABLE = "COWL_FAULT"


def point(name: str) -> None:
    """End this process here if $COWL_FAULT names this point."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signals.SIGKILL)
