"""One life of a container, from exec to exit: what its monitor knows of it, and what it lets others know."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engine.containers import state
from engine.containers.pump import Pump
from engine.containers.restarting import Delay
from engine.kernel import cgroup
from engine.kernel.channel import Channel
from engine.launch.request import Launch
from engine.model import JSON, Health
from engine.record import Record
from engine.store import events
from engine.store.layout import ContainerPaths, Layout

if TYPE_CHECKING:
    from engine.kernel.script import Script
    from engine.network.connection import Connection


class Child(Record):
    """The container's first process and our ends of what it has."""

    pid: int
    pidfd: int
    channel: Channel
    stdin: int | None
    stdout: int | None
    stderr: int | None
    play: Script | None
    """What it does, if that is in our memory: to be kept until it is the program."""
    master: int | None
    """Of its terminal, if that has been made beforehand."""


class Run(Record):
    """One life of the container."""

    group: cgroup.Cgroup
    pid: int
    """Of its first process."""
    pidfd: int
    pump: Pump
    started: str
    restarts: int
    """How often its policy has started it."""
    connection: Connection | None
    """With its bridge."""
    checker: int | None
    """The process that checks its health."""
    shares_pids: bool
    """Whether its other processes outlive the first one, as they are not in a PID namespace of it."""


class Watched(Record):
    """A container that runs, and what is to become of it."""

    launch: Launch
    lock: int
    """Held as long as it is watched."""
    run: Run
    began: float
    """When that run did, on the monotonic clock."""
    delay: Delay
    """Before the next one."""

    @property
    def paths(self) -> ContainerPaths:
        """Its files."""
        return paths_of(self.launch)


class Subject(Record):
    """Whose health is looked at."""

    id: str
    name: str
    root: str
    run: str
    """The root's run-time directory."""
    health: Health

    @property
    def layout(self) -> Layout:
        """Where the records of its root are."""
        return Layout(self.root, self.run)

    @property
    def paths(self) -> ContainerPaths:
        """Its files."""
        return self.layout.container(self.id)


def paths_of(launch: Launch) -> ContainerPaths:
    """The files of its container."""
    return ContainerPaths(launch.home, launch.run)


def layout_of(launch: Launch) -> Layout:
    """Where the records of its root are."""
    return Layout(launch.root, os.path.dirname(launch.run))


def tell(launch: Launch, action: str, **attributes: str) -> None:
    """Let whoever watches containers know."""
    state.touch(launch.revision)
    events.record(layout_of(launch), "container", action, launch.id, launch.name, **attributes)


def exit_record(
    started: str,
    finished: str | None = None,
    exit_code: int | None = None,
    *,
    oom: bool = False,
    error: str = "",
    restarts: int = 0,
    restarting: bool = False,
) -> JSON:
    """What exit.json holds. With `finished` None it says that the container was started, and nothing more."""
    return {
        "exit_code": exit_code,
        "oom_killed": oom,
        "finished": finished,
        "started": started,
        "error": error,
        "restarts": restarts,
        "restarting": restarting,
    }
