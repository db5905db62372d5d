"""`python -m tests.hostile DIRECTORY`: every hostile archive as a file, to be tried on other tools, too."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.hostile.catalogue import KINDS


def main() -> int:
    """Write them all."""
    if len(sys.argv) != 2:
        print("usage: python -m tests.hostile DIRECTORY", file=sys.stderr)
        return 2
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    for kind in KINDS.values():
        (place / f"{kind.name.replace(' ', '-')}.tar").write_bytes(kind.make("/tmp/cowl-canary"))
    print(f"{len(KINDS)} archives in {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
