"""What an OCI runtime's callers wait for: each call of a container's life, as a whole process."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tests.bench.measure import Case, Goal, Result, measure
from tests.bench.place import Place, call
from tests.support import images

HOUSE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAUNCHER = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {HOUSE!r})
from engine.runtime.main import main
sys.exit(main())
"""
"""As pip writes it since version 25."""
RIVALS = ("runc", "crun")


def results(place: Place) -> Iterator[Result]:
    """The calls of a life beside those of runc and crun, where those work here."""
    tree = f"{place.scratch}/tiny"
    images.tiny_tree(tree)
    ours = f"{place.scratch}/cowl-runtime"
    with open(ours, "w", encoding="utf-8") as file:
        file.write(LAUNCHER)
    os.chmod(ours, stat.S_IRWXU)
    found = [Runtime(place, tree, name) for name in (ours, *filter(shutil.which, RIVALS))]
    runtimes = [runtime for runtime in found if runtime.works()]
    floor = Case("python -c pass", lambda: call([sys.executable, "-c", "pass"]))
    for name, make in STEPS.items():
        cases = [make(runtime) for runtime in runtimes]
        if name in ("start", "state", "delete"):
            cases.append(floor)
        yield measure(name, cases, (Goal("cowl-runtime", "runc", 4),), rounds=15)


class Runtime:
    """One runtime, with a bundle and a directory of containers of its own."""

    def __init__(self, place: Place, tree: str, path: str) -> None:
        self.name = os.path.basename(path)
        self.bundle = f"{place.scratch}/bundle-{self.name}"
        self._prefix = [path, "--root", f"{self.bundle}/state"]
        self._id = f"{place.cgroup_parent}-{self.name}"
        os.makedirs(self.bundle)
        call(["runc" if shutil.which("runc") else path, "spec", "--bundle", self.bundle])
        with open(f"{self.bundle}/config.json", encoding="utf-8") as file:
            document: dict[str, Any] = json.load(file)
        document["process"].update(terminal=False, args=["/usr/bin/sleep", "60"], rlimits=[])
        document["root"]["path"] = tree
        document["linux"]["cgroupsPath"] = f"/{place.cgroup_parent}/{self.name}"
        with open(f"{self.bundle}/config.json", "w", encoding="utf-8") as file:
            json.dump(document, file)

    def __call__(self, *words: str, after: tuple[str, ...] = ()) -> None:
        """``<runtime> WORDS… CONTAINER AFTER…``, with nothing that the container could keep open."""
        command = [*self._prefix, *words, self._id, *after]
        pid = os.posix_spawnp(command[0], command, os.environ, file_actions=_SILENT)
        _, status = os.waitpid(pid, 0)
        if status:
            raise RuntimeError(f"{' '.join(command)} ended with {status}")

    def works(self) -> bool:
        """Whether it makes a container here (crun wants all cgroups to be of one version)."""
        try:
            self.create()
        except RuntimeError as error:
            print(f"{self.name} is left out: {error}", file=sys.stderr)
            return False
        self.remove()
        return True

    def create(self) -> None:
        """Make the container."""
        self("create", "--bundle", self.bundle)

    def begin(self) -> None:
        """Make it and start it."""
        self.create()
        self("start")

    def end(self) -> None:
        """Make it, start it and end it."""
        self.begin()
        self("kill", after=("KILL",))

    def remove(self) -> None:
        """Take it away."""
        self("delete", "--force")


_NULL = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0)
_SILENT = [_NULL, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]

STEPS: dict[str, Callable[[Runtime], Case]] = {
    "create": lambda runtime: Case(runtime.name, runtime.create, after=runtime.remove),
    "start": lambda runtime: Case(
        runtime.name, lambda: runtime("start"), before=runtime.create, after=runtime.remove
    ),
    "state": lambda runtime: Case(
        runtime.name, lambda: runtime("state"), before=runtime.begin, after=runtime.remove
    ),
    "exec": lambda runtime: Case(
        runtime.name,
        lambda: runtime("exec", after=("/usr/bin/true",)),
        before=runtime.begin,
        after=runtime.remove,
    ),
    "kill": lambda runtime: Case(
        runtime.name,
        lambda: runtime("kill", after=("KILL",)),
        before=runtime.begin,
        after=runtime.remove,
    ),
    "delete": lambda runtime: Case(runtime.name, runtime.remove, before=runtime.end),
}
"""What is timed, and what comes before and after it off the clock."""
