"""A running container passes from the process that has started it to its keeper: open files, a few words.

What the keeper needs in order to carry the streams is in the packet itself. What is needed only when the
container ends is in an open file, which the keeper does not read before.
"""

from __future__ import annotations

import json
import marshal
import os
from collections.abc import Callable
from typing import Any

from engine.containers.life import Run, Subject, Watched
from engine.containers.pump import Pump
from engine.containers.restarting import Delay
from engine.errors import LaunchError
from engine.kernel import cgroup
from engine.kernel.channel import Channel
from engine.launch import request
from engine.launch.request import Launch
from engine.model import Health
from engine.record import Record
from engine.store import failures
from engine.store.faults import point
from engine.store.layout import ContainerPaths

_MOST = 200
"""Open files in one packet; the kernel takes 253 (SCM_MAX_FD, unix(7))."""
_MORE = b"m"
_ALL = b"a"
_TAKEN = b"t"
_CHECKED = b"c"
"""Have it checked: words, and its first process."""
_REFUSED = b"r"
"""Followed by why."""


class Handed(Record):
    """A container as its keeper has it."""

    pid: int
    """Its first process, a child of the keeper now."""
    checker: int | None
    """The process that checks its health, another."""
    pump: Pump
    policy: str | None
    """The file with which it would get a policy for restarting, which it has not; None if it has one."""
    lock: int
    rest: int
    """An open file with all that is needed when it ends."""
    ports: list[int]
    """The sockets that hold its ports."""
    places: tuple[str, str]
    """Its directory in the store and its run-time directory."""

    @property
    def paths(self) -> ContainerPaths:
        """Its files."""
        return ContainerPaths(*self.places)

    def let_go(self) -> None:
        """Close all of it: another process goes on with it."""
        self.pump.let_go()
        for descriptor in (self.lock, self.rest, *self.ports):
            os.close(descriptor)


def give(keeper: Channel, watched: Watched) -> bool:
    """Have *keeper* watch the container, after which there is nothing to do here; False when it cannot."""
    run = watched.run
    connection, ports = (None, []) if run.connection is None else run.connection.parts()
    document, streams = run.pump.parts()
    never = watched.launch.auto_remove or watched.launch.restart == "no"
    policy = watched.paths.policy if never else None
    words = (run.pid, run.checker, document, len(streams), policy, tuple(watched.paths))
    point("handover.before")
    try:
        rest = _write(watched, connection)
        try:
            send(keeper, words, [watched.lock, rest, *streams, *ports])
        finally:
            os.close(rest)
    except OSError:  # no room for its files just now: it can stay here
        return False
    point("handover.after-sending")
    answer = keeper.recv(request.MAX_PACKET)
    if answer.startswith(_REFUSED):
        why = answer.removeprefix(_REFUSED).decode()
        failures.keep(watched.paths, failures.HANDOVER, LaunchError("its keeper did not take it", why))
    return answer == _TAKEN


def send(keeper: Channel, words: tuple[Any, ...], descriptors: list[int]) -> None:
    """The packets that `take` takes."""
    while len(descriptors) > _MOST:
        request.send_descriptors(keeper, _MORE, descriptors[:_MOST])
        del descriptors[:_MOST]
    request.send_descriptors(keeper, _ALL + marshal.dumps(words), descriptors)


def have_checked(keeper: Channel, subject: Subject, pidfd: int) -> int:
    """Have *keeper* fork who checks the health of *subject*, with the first process *pidfd*; that one's pid.

    Raises LaunchError.
    """
    words: tuple[Any, ...] = (subject[:-1], tuple(subject.health))
    request.send_descriptors(keeper, _CHECKED + marshal.dumps(words), [pidfd])
    answer = keeper.recv(request.MAX_PACKET)
    if not answer.isdigit():
        raise LaunchError("cannot check its health", answer.removeprefix(_REFUSED).decode())
    return int(answer)


def take(channel: Channel, check: Callable[[Subject, int], int]) -> Handed | None:
    """What `give` gives; None when there is nothing to be kept. What it raises, `refuse` is for.

    Meanwhile, *check* does what `have_checked` asks for.
    """
    descriptors: list[int] = []
    data = _MORE
    while data[:1] in (_MORE, _CHECKED):
        try:
            data, more = request.receive_descriptors(channel, most=_MOST)
        except ConnectionError:
            return None
        if data[:1] == _CHECKED:
            _begin_checks(channel, data, more, check)
        else:
            descriptors += more
    if not data:
        return None
    pid, checker, document, streams, policy, places = marshal.loads(memoryview(data)[1:])
    lock, rest, *others = descriptors
    pump = Pump.resumed(document, others[:streams])
    return Handed(pid, checker, pump, policy, lock, rest, others[streams:], places)


def _begin_checks(
    channel: Channel, data: bytes, descriptors: list[int], check: Callable[[Subject, int], int]
) -> None:
    (identity, name, root, run), fields = marshal.loads(memoryview(data)[1:])
    try:
        answer = b"%d" % check(Subject(identity, name, root, run, Health(*fields)), descriptors[0])
    except OSError as error:  # no process to be had
        answer = _REFUSED + failures.describe(error).encode()
    channel.send(answer)
    os.close(descriptors[0])


def confirm(channel: Channel) -> None:
    """Let whoever gave it go."""
    channel.send(_TAKEN)


def refuse(channel: Channel, error: BaseException) -> None:
    """Leave it to whoever gave it."""
    channel.send(_REFUSED + failures.describe(error).encode())


def restore(handed: Handed) -> Watched:
    """All of it, when it has ended."""
    fields = json.loads(os.pread(handed.rest, os.fstat(handed.rest).st_size, 0))
    launch = request.decode(fields["launch"].encode())
    assert isinstance(launch, Launch)
    connection = None
    if fields["connection"] is not None:
        from engine.network.connection import Connection

        connection = Connection.resumed(fields["connection"], handed.ports)
    run = Run(
        cgroup.Cgroup.from_json(fields["cgroup"]),
        handed.pid,
        handed.pump.pidfd,
        handed.pump,
        fields["started"],
        fields["restarts"],
        connection,
        handed.checker,
        fields["shares_pids"],
    )
    return Watched(launch, handed.lock, run, fields["began"], Delay(fields["delay"]))


def _write(watched: Watched, connection: Any) -> int:
    run = watched.run
    fields = {
        "launch": request.encode("start", watched.launch).decode(),
        "cgroup": run.group.to_json(),
        "started": run.started,
        "restarts": run.restarts,
        "shares_pids": run.shares_pids,
        "connection": connection,
        "began": watched.began,
        "delay": watched.delay.seconds,
    }
    file = os.memfd_create("cowl-container", os.MFD_CLOEXEC)
    os.write(file, json.dumps(fields).encode())
    return file
