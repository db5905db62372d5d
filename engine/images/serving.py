"""The inside of a worker process: jobs come in and what comes of them goes out, as lines of JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from engine.errors import CowlError

Act = Callable[[list[Any], Callable[[int], None]], object]
"""Does one job, given as the list of its fields; tells how many bytes it has read each time."""


def serve(act: Act) -> None:
    """Do the jobs that come on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends its workers itself
    for line in sys.stdin:
        try:
            result = act(json.loads(line), lambda count: _say({"read": count}))
        except CowlError as error:
            _say({"error": [type(error).__name__, error.what, error.why, error.hint]})
        except OSError as error:
            _say({"errno": error.errno, "file": os.fsdecode(error.filename or "a layer")})
        else:
            _say({"done": result})


def _say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
