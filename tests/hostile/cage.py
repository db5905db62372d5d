"""A mount namespace in which only one memory file system can be written to, and cowl's command line in it.

`python -m tests.hostile.cage PLACE` runs inside: it takes a command line as a line of JSON, runs it in a fork
of itself as `cowl` would, and answers what became of it, and of everything in PLACE that is not the store.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

Command = Callable[[Sequence[str]], int]
_MOST = 1000
MEMORY_KB = 150 << 10
"""What no process of cowl may take."""


class Outcome(NamedTuple):
    """What became of a command."""

    code: int
    said: str
    seconds: float
    """Of processor time, so that what else the machine does is no matter."""
    memory_kb: int
    """The most that one of its processes had resident."""
    outside: list[str]
    """What is different outside the store."""
    inside: list[str]
    """What is in the directories of the store, by its path: blobs, layers, work that is not done."""


class Cage:
    """Runs commands inside."""

    def __init__(self, process: subprocess.Popen[str], place: str) -> None:
        self._process = process
        self.outside = f"{place}/canary"
        """A directory worth attacking, which nothing may touch."""

    def run(self, *arguments: str) -> Outcome:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        return Outcome(*json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def cage(place: str) -> Iterator[Cage]:
    """Make a cage at the empty directory *place*; it ends with the block, and its mounts with it."""
    command = [
        "unshare",
        "--mount",
        "--propagation=private",
        sys.executable,
        "-m",
        "tests.hostile.cage",
        place,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Cage(process, place)
        finally:
            assert process.stdin
            process.stdin.close()


def main(place: str) -> None:
    """Take commands until there are no more."""
    _shut(place)
    root = f"{place}/root"
    os.environ.update(COWL_ROOT=root, COWL_CGROUP_PARENT="cowl-hostile", COWL_NETWORK="none")
    _plant(f"{place}/canary")
    from engine.cli import group  # before the forks: they all need it
    from engine.cli.main import command

    assert group
    _run(command, ["images"])
    for line in sys.stdin:
        before = _look(place, root)
        code, said, memory, seconds = _run(command, json.loads(line))
        after = _look(place, root)
        differing = sorted(path for path in before | after if before.get(path) != after.get(path))
        inside = sorted(
            itertools.islice(_files(root), _MOST)
        )  # this process's memory is counted in its forks
        answer = [code, said, seconds, memory, differing, inside]
        print(json.dumps(answer), flush=True)


def _shut(place: str) -> None:
    """Make every file system read-only in this namespace, and two small ones that are not."""
    from engine.store.layout import Layout

    run = os.path.dirname(Layout.of(f"{place}/root").run)
    os.makedirs(run, exist_ok=True)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ")[4] for line in file]
    for point in points:
        if not point.startswith("/proc"):
            with contextlib.suppress(subprocess.CalledProcessError):
                command = ["mount", "-o", "remount,bind,ro", point]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for point, size in ((place, "3g"), (run, "16m")):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "cowl-hostile", point], check=True)


def _plant(canary: str) -> None:
    os.makedirs(f"{canary}/dir/inner")
    for name, mode in (("secret", 0o600), ("su", 0o6755), ("dir/inner/file", 0o644)):
        with open(f"{canary}/{name}", "w") as file:
            file.write(f"the canary's {name}")
        os.chmod(f"{canary}/{name}", mode)
    os.symlink("secret", f"{canary}/link")
    os.link(f"{canary}/secret", f"{canary}/dir/again")
    os.mkfifo(f"{canary}/fifo")
    os.chmod(canary, 0o777)


def _look(place: str, root: str) -> dict[str, str]:
    """Everything in *place* but the store: what it is and when it was last touched in any way."""
    found = {}
    for here, directories, files in os.walk(place):
        if here == place:
            directories.remove("root")
        for name in ["", *files, *(each for each in directories if os.path.islink(f"{here}/{each}"))]:
            path = f"{here}/{name}"
            status = os.lstat(path)
            content = ""
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    content = file.read().hex()
            fields = (status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns)
            found[path] = f"{fields} {os.listxattr(path, follow_symlinks=False)} {content}"
    return found


def _files(root: str) -> Iterator[str]:
    for here, directories, files in os.walk(root):
        for name in [*files, *directories]:
            path = os.path.join(here, name)[len(root) + 1 :]
            if "/" in path:
                yield path


def _run(command: Command, arguments: list[str]) -> tuple[int, str, int, float]:
    """Run *command* with *arguments* in a fork: its exit code, what it wrote, its memory and time."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        null = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((null, 0), (writing, 1), (writing, 2)):
            os.dup2(source, target)
        code = 99
        try:
            sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
            code = command(arguments)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            used = max(each.ru_maxrss for each in both), sum(each.ru_utime + each.ru_stime for each in both)
            os.write(writing, b"\0%d %f" % used)
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said, _, figures = pipe.read().rpartition(b"\0")
    _, status = os.waitpid(child, 0)
    memory, seconds = figures.split() if figures else (b"0", b"0")
    code = os.waitstatus_to_exitcode(status)
    return code, said.decode("utf-8", "replace"), int(memory), float(seconds)


if __name__ == "__main__":
    main(sys.argv[1])
