"""The monitor: what looks after a container, from before its first process until all of it is gone.

It belongs to nobody: whoever launched it may die. It makes the cgroup and the first process, records who
watches it *before* that process may exec, carries the streams, and writes down how it ended. Should it be
killed itself, the container runs on; the lock that dies with it and the recorded identity tell the truth
(`state`).

A process that has done a launch has touched, and so has for itself, most of what it shared with its parent.
Where there is a launcher, it is the child of a `keeper`, which has touched nothing: what runs for longer than
SETTLED_S is handed over to that one. The keeper is whom the container's record names, and ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import NoReturn

from engine.containers import finishing, handover, restarting, starting
from engine.containers.clients import Client
from engine.containers.life import Watched, paths_of, tell
from engine.kernel import namespaces, process
from engine.kernel.channel import Channel
from engine.launch import rehearsal, request
from engine.launch.isolation import CONTROL, forget_caller, isolate
from engine.launch.request import Launch
from engine.launch.scripted import Ahead
from engine.store import failures
from engine.store.failures import Enduring
from engine.store.faults import point

SETTLED_S = 1.0
"""Seconds of a run after which it is handed over: most of those that end soon have ended by then."""
_NOTHING = Ahead()


def run(launch: Launch, control: Channel, keeper: Channel | None = None) -> NoReturn:
    """Be the monitor of *launch*, in a process forked for that; *control* is the launching side's socket."""
    code = 1
    try:
        keeper = _settle(control, keeper)
        _watch(launch, Channel(fileno=CONTROL), keeper)
        code = 0
    finally:
        os._exit(code)


def stand_by(channel: Channel, sample: bytes | None = None, keeper: Channel | None = None) -> NoReturn:
    """Be a monitor before its container: *channel* brings a launch with its control socket.

    What a fork shares with its parent is copied page by page when it is first touched, which costs as much as
    all the work: going through the parsing once, with the document *sample*, has that done beforehand.
    """
    code = 1
    try:
        keeper = _settle(channel, keeper)
        stock = rehearsal.rehearse(sample)
        network: namespaces.Network | None = None
        with contextlib.suppress(OSError):  # without the privilege, the launch says so
            network = namespaces.network_ahead()
        waiting = Channel(fileno=CONTROL)
        received = request.receive_request(waiting)
        if received is not None and isinstance(received.work, Launch):
            _watch(received.work, received.control, keeper, waiting, Ahead(network, stock))
        code = 0
    finally:
        os._exit(code)


def carry_on(watched: Watched, status: int, keeper: Channel | None) -> NoReturn:
    """End a run whose first process had *status* and do what follows, in the place of its *keeper*.

    None: this process is the keeper.
    """
    code = 1
    try:
        with Enduring(watched.paths):
            forget_caller()
            following = end(watched, status, keeper)
            if following is not None:
                _go_on(following, keeper)
            code = 0
    finally:
        os._exit(code)


def _settle(control: Channel, keeper: Channel | None) -> Channel | None:
    """Leave whoever forked us, *keeper* aside."""
    streams = isolate(control, [] if keeper is None else [keeper.detach()])
    process.set_name("cowl-monitor")
    return Channel(fileno=streams[0]) if streams else None


def _watch(
    launch: Launch,
    control: Channel,
    keeper: Channel | None,
    launcher: Channel | None = None,
    ahead: Ahead = _NOTHING,
) -> None:
    """From launch to removal. *launcher* is closed once the program runs: the processors are free again.

    *ahead* is for its first run.
    """
    client = Client(control, foreground=True)
    paths = paths_of(launch)
    try:
        lock = starting.take_lock(paths)
        failures.clear(paths)
        monitor = os.getpid() if keeper is None else os.getppid()
        turn = starting.Turn(monitor, ahead=ahead, keeper=keeper)
        run = starting.start(launch, paths, turn)
    except Exception as error:  # noqa: BLE001 - goes to whoever launches, whatever it is
        if request.is_defect(error):
            failures.keep(paths, failures.MONITOR, error)
        client.send(request.FAILED + request.failure(error))
        return
    watched = Watched(launch, lock, run, time.monotonic(), restarting.Delay())
    enduring = Enduring(paths)
    with enduring:
        _report(watched, client)
    if launcher is not None:
        launcher.close()
    point("start.after-report")
    with enduring:
        _go_on(watched, keeper)


def _report(watched: Watched, client: Client) -> None:
    """Let everybody know that it runs."""
    launch, run = watched.launch, watched.run
    tell(launch, "start")
    cautions = run.connection.cautions if run.connection is not None else ()
    started = {"pid": run.pid, "started": run.started, "cautions": cautions}
    client.send(request.STARTED + json.dumps(started).encode())
    if launch.attached:
        run.pump.clients.append(client)
    else:
        client.close()
    if run.connection is not None:
        run.connection.announce()


def _go_on(watched: Watched, keeper: Channel | None) -> None:
    """From the running program to the last of the runs that its policy wants, or until it is handed over."""
    following: Watched | None = watched
    while following is not None:
        watched = following
        if keeper is not None:
            with Enduring(watched.paths):
                if not watched.run.pump.run(SETTLED_S) and handover.give(keeper, watched):
                    return
        finishing.carry(watched.run.pump, watched.paths)
        status = finishing.reap(watched.run.pid, watched.run.checker)
        following = end(watched, status, keeper)
    os.close(watched.lock)


def end(watched: Watched, status: int, keeper: Channel | None) -> Watched | None:
    """Record the end of a run; the next one, which is for *keeper*, if its policy wants one."""
    launch, paths, run = watched.launch, watched.paths, watched.run
    ran = time.monotonic() - watched.began
    if launch.auto_remove:
        if finishing.end(launch, paths, run, restarting.NEVER, status):
            finishing.remove(launch)
        return None
    finishing.end(launch, paths, run, _policy(watched), status)
    listener = run.pump.listener
    if listener is None:
        return None
    if restarting.pause(paths, listener, watched.delay.after(ran)):
        with Enduring(paths):
            monitor = os.getpid() if keeper is None else os.getppid()
            turn = starting.Turn(monitor, listener, run.restarts + 1, keeper=keeper)
            again = starting.start(launch, paths, turn)
            tell(launch, "restart", restarts=str(again.restarts))
            if again.connection is not None:
                again.connection.announce()
            return watched._replace(run=again, began=time.monotonic())
    finishing.call_off(launch, paths)
    return None


def _policy(watched: Watched) -> restarting.Policy:
    """What holds now; where what was given since cannot be read, what it was started with."""
    with Enduring(watched.paths):
        return restarting.current(watched.paths, watched.launch.restart)
    return restarting.policy(watched.launch.restart)
