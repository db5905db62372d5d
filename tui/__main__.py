"""``python -m tui``: the workstation on the root of $COWL_ROOT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from engine import Engine
from engine.errors import CowlError

if TYPE_CHECKING:
    from tui.app import Workstation


def main(root: str | None = None) -> int:
    """Open the workstation on *root* (None: $COWL_ROOT, or the usual place); the exit code.

    What was begun is brought to its end after the screen is gone; Ctrl-C or SIGTERM then ends the process
    without.
    """
    try:
        with Engine(root, launcher=True) as engine:
            from tui.app import Workstation

            app = Workstation(engine)
            asyncio.run(_run(app))
            return app.return_code or 0
    except CowlError as error:
        sys.stderr.write(f"cowl: error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.flush()
        _leave()


async def _run(app: Workstation) -> None:
    await app.run_async()
    # The loop's handlers cancel this task, or have the app exit: nobody would hear of either any more.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    for doing in tuple(app.unfinished):
        sys.stderr.write(f"cowl: {doing} … (ctrl-c does not wait for it)\n")
    sys.stderr.flush()


def _leave(number: int = signal.SIGINT, *_: object) -> NoReturn:
    """End the process at once: threads that are at work would be waited for."""
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
