"""Commands killed at each of their steps and at random times: `make crash RUNS=500`.

After each kill the store opens, `check` finds nothing, everything that was there is there, the command
succeeds when it is given again, and nothing of it is left on the machine.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from typing import NamedTuple

from tests.faults import world as worlds
from tests.faults.world import World

PUBLISHED = ("after-sync", "after-rename", "before-commit", "after-commit")


class Command(NamedTuple):
    """Something to be killed."""

    words: tuple[str, ...]
    points: tuple[str, ...]
    """Its fault points, in order."""
    takes: tuple[str, ...] = ()
    """Images and containers that it takes away."""
    before: tuple[tuple[str, ...], ...] = ()
    """Commands that come first, unharmed."""
    again: str = ""
    """What a second try may complain of: the first one was as good as done."""


def steps(name: str, *others: str) -> tuple[str, ...]:
    """The fault points of a command that publishes images."""
    return tuple(f"{name}.{point}" for point in (*others, *PUBLISHED))


RUNNING = (
    ("run", "-d", "--name", "busy", "two:1", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"),
)
STARTED = ("start.after-cgroup", "start.after-fork", "start.after-record", "start.after-report")
ENDED = ("end.before-record", "end.after-record", "end.after-cgroup")
MADE = ("create.before-record", "create.after-rename", "create.after-record")
REMOVED = ("remove.before-record", "remove.after-record", "remove.after-rename")

COMMANDS = {
    "load": Command(
        ("load", "-i", "{files}/more.tar"),
        ("staging.after-lock", "staging.after-make", *steps("load", "after-read", "worker", "after-unpack")),
    ),
    "pull": Command(
        ("pull", "--plain-http", "{registry}/far:1"),
        steps("pull", "after-manifests", "after-download", "after-unpack"),
    ),
    "import": Command(("import", "{files}/tree.tar", "flat"), steps("import", "after-unpack")),
    "commit": Command(("commit", "kept", "mine:1"), steps("commit", "after-capture")),
    "starter": Command(("starter",), steps("starter", "after-write")),
    "rmi": Command(
        ("rmi", "lone:1"),
        ("remove.before-commit", "remove.after-commit", "remove.after-rename"),
        takes=("lone:1",),
        again="no image lone:1",
    ),
    "prune": Command(
        ("prune", "-a", "-f"),
        ("prune.before-commit", "prune.after-commit", "prune.after-rename"),
        takes=("lone:1", "tiny:1"),
    ),
    "create": Command(("create", "--name", "new", "tiny:1", "true"), MADE, again="new"),
    "run": Command(("run", "--rm", "tiny:1", "true"), MADE + STARTED + ENDED[:2]),
    "start": Command(("start", "-a", "gone"), STARTED + ENDED[:1]),
    "exec": Command(
        ("exec", "busy", "sleep", "0.1"),
        ("exec.before-entering", "exec.after-fork", "exec.after-report"),
        before=RUNNING,
    ),
    "stop": Command(("stop", "-t", "0", "busy"), (), before=RUNNING),
    "rm": Command(("rm", "gone"), REMOVED, takes=("gone",), again="no container gone"),
    "rm -f": Command(("rm", "-f", "busy"), REMOVED, before=RUNNING, again="no container busy"),
}


def prepare(world: World, command: Command) -> tuple[str, ...]:
    """The world as it was, with what *command* needs; its words."""
    world.restore()
    for words in command.before:
        code, said = world.cowl(*words)
        assert code == 0, said
    return tuple(word.format(files=world.files, registry=world.registry) for word in command.words)


def judge(world: World, command: Command, words: tuple[str, ...]) -> None:
    """All that has to hold after a kill."""
    expect_nothing(worlds.problems(world, command.takes))
    code, said = world.cowl(*words)
    assert code == 0 or (command.again and command.again in said), f"not repeated: {code} {said}"
    expect_nothing(worlds.problems(world, command.takes))
    expect_nothing(worlds.settle(world))


def expect_nothing(found: list[str]) -> None:
    """AssertionError if there is anything."""
    if found:
        raise AssertionError("\n  ".join(found))


def kill_at(world: World, name: str, point: str) -> None:
    """Kill the command *name* at the fault *point*, and judge; AssertionError too if it is never reached."""
    command = COMMANDS[name]
    words = prepare(world, command)
    code, said = world.cowl(*words, fault=point)
    elsewhere = (
        point.startswith(("start.", "end.", "exec.")) or point == "load.worker"
    )  # in a monitor, in a worker
    assert code not in (0, 3) if elsewhere else code == -signal.SIGKILL, f"{point} not reached: {code} {said}"
    judge(world, command, words)


def duration(world: World, name: str) -> float:
    """Seconds that the command *name* takes when nobody harms it."""
    words = prepare(world, COMMANDS[name])
    begin = time.monotonic()
    code, said = world.cowl(*words)
    assert code in (0, 3), said
    took = time.monotonic() - begin
    expect_nothing(worlds.settle(world))
    return took


def kill_after(world: World, name: str, seconds: float) -> bool:
    """Kill the whole process group of *name* after *seconds*, and judge; False if it had ended before."""
    command = COMMANDS[name]
    words = prepare(world, command)
    with world.start(words) as process:
        time.sleep(seconds)
        ended = process.poll() is not None
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        worlds.wait_until_dead(world, process.pid)
    judge(world, command, words)
    return not ended


def random_runs(world: World, runs: int, seed: int) -> Counter[str]:
    """Kill commands at random times; how many of each were killed before their end."""
    numbers = random.Random(seed)
    names = [name for name in COMMANDS if name != "starter"]
    took = {name: duration(world, name) for name in names}
    killed: Counter[str] = Counter()
    for number in range(runs):
        name = names[number % len(names)] if number < len(names) else numbers.choice(names)
        seconds = numbers.uniform(0, took[name])
        try:
            killed[name] += kill_after(world, name, seconds)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, run {number}: {name} killed after {seconds:.4f} s") from error
    return killed


def main() -> None:
    """RUNS [SEED]: all fault points, then so many random kills."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    with tempfile.TemporaryDirectory() as fallback, worlds.world(fallback) as world:
        failures = 0
        for name, command in COMMANDS.items():
            for point in command.points:
                try:
                    kill_at(world, name, point)
                except AssertionError as error:
                    failures += 1
                    print(f"{name} killed at {point}: {error}", flush=True)
        killed = random_runs(world, runs, seed)
    print(f"{sum(killed.values())} of {runs} killed before their end (seed {seed}): {dict(killed)}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
