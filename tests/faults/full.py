"""Commands on a file system that is full after so many bytes or files: refused clearly, nothing half done.

Runs in a mount namespace of its own, with a memory file system over /dev/shm that is made smaller and larger.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from tests.faults import crash
from tests.faults import world as worlds
from tests.faults.world import World
from tests.support.roots import MEMORY

NAMES = ("load", "pull", "import", "commit", "create", "run", "start", "rmi")
REFUSALS = (1, 125)
LARGE_KB = 4 << 20
LARGE_FILES = 1 << 20
CLEAR = ("no space", "No space", "is full")


def remount(option: str) -> None:
    """Change the size of the file system."""
    subprocess.run(["mount", "-o", f"remount,{option}", MEMORY], check=True)


def enlarge() -> None:
    """Let there be room again."""
    remount(f"size={LARGE_KB}k,nr_inodes={LARGE_FILES}")


def shrink(extra: int, unit: str) -> None:
    """Leave room for *extra* more KB or files (*unit*)."""
    found = os.statvfs(MEMORY)
    if unit == "KB":
        remount(f"size={(found.f_blocks - found.f_bfree) * found.f_bsize // 1024 + extra}k")
    else:
        remount(f"nr_inodes={found.f_files - found.f_ffree + extra}")


def amounts(unit: str, step: int) -> Iterator[int]:
    """Rooms to try: finely where records are written, then every *step*."""
    fine = (0, 4, 12, 32, 64, 128, 256, 512) if unit == "KB" else (0, 1, 2, 3, 5, 8, 13, 21)
    yield from fine
    amount = step
    while True:
        yield amount
        amount += step


def try_with(world: World, name: str, extra: int, unit: str) -> bool:
    """Run the command *name* with room for *extra*; whether that was enough."""
    command = crash.COMMANDS[name]
    words = crash.prepare(world, command)
    shrink(extra, unit)
    try:
        code, said = world.cowl(*words)
    finally:
        enlarge()
    if code == 0:
        crash.expect_nothing(worlds.settle(world))
        return True
    if code not in REFUSALS or "Traceback" in said or not any(word in said for word in CLEAR):
        raise AssertionError(f"{code} {said}")
    crash.judge(world, command, words)
    return False


def main() -> None:
    """[STEP] [NAME…]: for each command, from no room at all until it is enough, in steps of STEP KB."""
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={LARGE_KB}k,nr_inodes={LARGE_FILES}", "x", MEMORY], check=True
    )
    failures = tried = 0
    with tempfile.TemporaryDirectory() as fallback, worlds.world(fallback) as world:
        for unit in ("KB", "files"):
            for name in sys.argv[2:] or NAMES:
                for extra in amounts(unit, step if unit == "KB" else max(step // 64, 4)):
                    tried += 1
                    try:
                        if try_with(world, name, extra, unit):
                            break
                    except AssertionError as error:
                        failures += 1
                        print(f"{name} with {extra} {unit}: {error}", flush=True)
                    if extra > 64 << 10:
                        raise AssertionError(f"{name} never has enough")
    print(f"{tried} tries, {failures} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
