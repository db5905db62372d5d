"""Where `cowl` begins: with as little as can be, as somebody may be there who has the rest loaded."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


INTERRUPTED = 130
"""128 + SIGINT."""


def main() -> NoReturn:
    """Carry out this process's command line, or have it carried out, and end."""
    from engine.cli import calling

    try:
        code = calling.call(sys.argv[1:])
    except KeyboardInterrupt:  # nothing has begun
        os._exit(INTERRUPTED)
    if code is None:
        from engine.cli import main as here

        here.main()
    os._exit(code)
