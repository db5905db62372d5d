"""``python -m tui``: the workstation on the root of $COWL_ROOT."""

from __future__ import annotations

import sys

from engine import Engine
from engine.errors import CowlError


def main(root: str | None = None) -> int:
    """Open the workstation on *root* (None: $COWL_ROOT, or the usual place); the exit code."""
    try:
        with Engine(root, launcher=True) as engine:
            from tui.app import Workstation

            app = Workstation(engine)
            app.run()
            return app.return_code or 0
    except CowlError as error:
        sys.stderr.write(f"cowl: error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
