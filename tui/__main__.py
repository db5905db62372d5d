"""``python -m tui``: the workstation on the root of $COWL_ROOT."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from engine import Engine
from engine.errors import CowlError

if TYPE_CHECKING:
    from tui.app import Workstation

INTERRUPTED = 130
"""128 + SIGINT."""


def main(root: str | None = None) -> int:
    """Open the workstation on *root* (None: $COWL_ROOT, or the usual place); the exit code.

    What was begun is brought to its end after the screen is gone; Ctrl-C then ends the process without.
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
        os._exit(INTERRUPTED)  # threads that are at work would be waited for


async def _run(app: Workstation) -> None:
    await app.run_async()
    for doing in tuple(app.unfinished):
        sys.stderr.write(f"cowl: {doing} … (ctrl-c does not wait for it)\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
