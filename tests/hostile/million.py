"""`python -m tests.hostile.million [COUNT]`: layers of very many entries, their time and memory."""

from __future__ import annotations

import sys
import tempfile

from tests.hostile.cage import MEMORY_KB, Outcome, cage
from tests.hostile.kinds import image
from tests.hostile.layers import million

ENTRIES = ("file", "directory", "whiteout")


def load_and_remove(place: str, kind: str, count: int) -> tuple[Outcome, Outcome]:
    """Load an image with a layer of *count* entries of a *kind* in a cage at *place*, and remove it again."""
    with cage(place) as caged, tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        archive.write(image(million(count, kind)))
        archive.flush()
        return caged.run("load", "-q", "-i", archive.name), caged.run("rmi", "hostile:1")


def main() -> int:
    """Measure each kind; 1 if something takes too much."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    failed = 0
    for kind in ENTRIES:
        with tempfile.TemporaryDirectory() as place:
            for name, outcome in zip(("load", "rmi"), load_and_remove(place, kind, count), strict=True):
                failed |= outcome.code != 0 or outcome.memory_kb > MEMORY_KB or bool(outcome.outside)
                print(
                    f"{name} {count:,} of kind {kind}: {outcome.seconds:.1f} s, {outcome.memory_kb >> 10} MB"
                    f"{'' if outcome.code == 0 else ' FAILED ' + outcome.said}",
                    flush=True,
                )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
