"""Cgroups for tests, with processes in them that end with the test."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from types import TracebackType
from typing import Any

from engine.kernel import cgroup, cgroupfs, namespaces, process
from engine.kernel.cgroup import Cgroup

Resources = dict[str, Any]


class Pen:
    """Makes cgroups below one parent and starts processes in them, as a monitor does."""

    def __init__(self, parent: str) -> None:
        self.parent = parent
        self._numbers = itertools.count(1)
        self._made: list[Cgroup] = []
        self._children: list[int] = []

    def create(self, resources: Resources | None = None, name: str | None = None) -> Cgroup:
        made = cgroup.create(f"{self.parent}/{name or next(self._numbers)}", resources)
        self._made.append(made)
        self._prefer(made)
        return made

    def _prefer(self, made: Cgroup) -> None:
        """However busy the machine is otherwise, these processes get the CPU time that they are allowed."""
        file = "cpu.shares" if made.version == 1 else "cpu.weight"
        directory = made.directories.get("cpu") or made.directories.get("unified", "")
        cgroupfs.write(f"{os.path.dirname(directory)}/{file}", "1600" if made.version == 2 else "16384")

    def start(self, where: Cgroup, *command: str, stdout: int | None = None) -> int:
        """The pid of *command*, born and joined inside *where*."""
        into = cgroup.into_cgroup(where)
        doors = cgroup.entrances(where, born_inside=into is not None)
        pid = namespaces.clone(0, into)
        if pid == 0:
            try:
                cgroup.join(doors)
                if stdout is not None:
                    os.dup2(stdout, 1)
                os.execvp(command[0], command)
            finally:
                os._exit(127)
        cgroup.close(doors if into is None else (*doors, into))
        self._children.append(pid)
        return pid

    def python(self, where: Cgroup, program: str, stdout: int | None = None) -> int:
        return self.start(where, sys.executable, "-ISc", program, stdout=stdout)

    def wait(self, pid: int) -> int:
        """The exit code of one of our children, negative for a signal."""
        self._children.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def start_time(self, pid: int) -> int:
        found = process.start_time(pid)
        assert found is not None
        return found

    def __enter__(self) -> Pen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for made in self._made:
            cgroup.kill_all(made)
        for pid in self._children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        for made in self._made:
            cgroup.remove(made)


def command_of(pid: int) -> str:
    """The name of the program that *pid* is now (proc_pid_comm(5))."""
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().rstrip("\n")


def said(descriptor: int) -> bytes:
    """The next thing that a process says on a pipe."""
    return os.read(descriptor, 4096)


def value(where: Cgroup, first: str, second: str) -> str:
    """What a file of *where* holds: *first* names it on version 1, *second* on version 2."""
    if where.version == 2:
        return cgroupfs.read(f"{where.directories['unified']}/{second}").decode().strip()
    return cgroupfs.read(f"{where.directories[first.partition('.')[0]]}/{first}").decode().strip()
