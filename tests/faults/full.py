"""Commands on a file system that is full after so many bytes or files: refused clearly, nothing half done.

Runs in a mount namespace of its own, with a memory file system over /dev/shm that is made smaller and larger.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults import crash
from tests.faults import world as worlds
from tests.faults.world import World
from tests.support.roots import MEMORY

NAMES = ("load", "pull", "import", "commit", "create", "run", "start", "rmi")
REFUSALS = (1, 125)
LARGE_KB = 4 << 20
LARGE_FILES = 1 << 20
CLEAR = ("no space", "No space", "is full")
LOUD = ("two:1", "sh", "-c", "while :; do cat /usr/bin/sh; sleep 0.1; done")
"""Its log fills the disk."""
READING = (
    *[("exec", "loud", "cat", "/etc/passwd"), ("logs", "-n", "1", "loud"), ("inspect", "loud")],
    ("stats", "--no-stream"),
    *[("ps",), ("images",), ("diff", "kept"), ("pause", "loud"), ("unpause", "loud")],
)
WRITING = (("tag", "tiny:1", "more:1"), ("rename", "loud", "louder"), ("import", "{files}/tree.tar", "flat"))
FREEING = (("stop", "-t", "0", "loud"), ("rmi", "lone:1"), ("rm", "loud"))


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
        checked = world.cowl("check")
    finally:
        enlarge()
    if checked[0]:
        expect_refused(*checked)
    if code == 0:
        crash.expect_nothing(worlds.settle(world))
        return True
    expect_refused(code, said)
    crash.judge(world, command, words)
    return False


def expect_refused(code: int, said: str) -> None:
    """AssertionError unless it is said clearly that there is no room."""
    if code not in REFUSALS or "Traceback" in said or not any(word in said for word in CLEAR):
        raise AssertionError(f"{code} {said}")


def succeed(world: World, *words: str) -> None:
    """AssertionError unless the command *words* does what it should."""
    code, said = world.cowl(*words)
    if code:
        raise AssertionError(f"{words}: {code} {said}")


@contextmanager
def filled_by_a_log(world: World, *options: str) -> Iterator[None]:
    """A full file system, and a container, with *options*, that goes on filling it."""
    world.restore()
    succeed(world, "run", "-d", "--name", "loud", *options, *LOUD)
    shrink(1024, "KB")
    try:
        while os.statvfs(MEMORY).f_bfree:
            time.sleep(0.01)
        yield
    finally:
        enlarge()
    crash.expect_nothing(worlds.problems(world, ("lone:1",)))
    crash.expect_nothing(worlds.settle(world))


def live_with_a_log(world: World) -> None:
    """Beside a container that fills the disk one can look and stop it, and then make room."""
    with filled_by_a_log(world):
        for words in READING:
            succeed(world, *words)
        for words in (*WRITING, ("check",)):
            expect_refused(*world.cowl(*(word.format(files=world.files) for word in words)))
        for words in FREEING:
            succeed(world, *words)
    with filled_by_a_log(world, "--rm"):
        succeed(world, "stop", "-t", "0", "loud")
        deadline = time.monotonic() + worlds.PATIENCE_S
        while world.cowl("inspect", "loud")[0] == 0:
            if time.monotonic() > deadline:
                raise AssertionError("it was not removed")


def main() -> None:
    """[STEP] [NAME…]: for each command, from no room at all until it is enough, in steps of STEP KB."""
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={LARGE_KB}k,nr_inodes={LARGE_FILES}", "x", MEMORY], check=True
    )
    failures = tried = 0
    with tempfile.TemporaryDirectory() as fallback, worlds.world(fallback) as world:
        live_with_a_log(world)
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
