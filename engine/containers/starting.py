"""Starting a container: from its config.json to a program that runs, and a record of whoever watches it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.containers import state
from engine.containers.life import Child, Run, Subject, exit_record, layout_of
from engine.containers.logfile import LogFile
from engine.containers.pump import Pump
from engine.errors import ConflictError, CowlError, LaunchError
from engine.kernel import cgroup, devices, mount, namespaces, process
from engine.kernel.channel import AF_UNIX, SOCK_SEQPACKET, Channel
from engine.kernel.terminal import Size
from engine.launch import birth, init, request, rootfs, scripted
from engine.launch.cgroupviews import views_of
from engine.launch.detached import Unsuited
from engine.launch.plan import Plan, plan_of, without_devices
from engine.launch.request import Launch
from engine.model import JSON, Health
from engine.oci.runtime import VERSION
from engine.record import Record
from engine.store import clock
from engine.store.failures import HEALTH, Enduring
from engine.store.faults import point
from engine.store.layout import ContainerPaths

if TYPE_CHECKING:
    from engine.network.connection import Connection


class Turn(Record):
    """Which of its starts it is."""

    monitor: int
    """The process that is to be its monitor."""
    listener: Channel | None = None
    """Where clients connect, which is there already when it has run before."""
    restarts: int = 0
    """How often its policy has started it."""
    ahead: scripted.Ahead = scripted.Ahead()
    """What has been made beforehand."""
    scripted: bool = True
    """Whether its first process may be one without an interpreter."""
    keeper: Channel | None = None
    """The process to which it will be handed over."""


def take_lock(paths: ContainerPaths) -> int:
    """Be its monitor: the descriptor of the lock, which is held until all copies of it are closed."""
    os.makedirs(paths.run, mode=0o700, exist_ok=True)
    lock = os.open(paths.monitor_lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def start(launch: Launch, paths: ContainerPaths, turn: Turn) -> Run:
    """Make the cgroup and have the program running. Raises whatever stopped it; a record of that is left."""
    with open(paths.config, "rb") as file:
        spec = json.load(file)
    started = clock.now()
    others = _join(launch, spec, paths, started, turn) if launch.shares else ()
    plan = plan_of(spec, paths.filters)
    group = _make_cgroup(plan)
    try:
        if not devices.restrict(group, plan.resources.get("devices", ())):
            plan = without_devices(plan)
        point("start.after-cgroup")
        try:
            child, pump, connection = _begin(launch, plan, group, paths, started, turn, others)
        except Unsuited:
            turn = turn._replace(ahead=scripted.Ahead(), scripted=False)
            child, pump, connection = _begin(launch, plan, group, paths, started, turn, others)
    except Exception as error:
        _give_up(paths, started, error, turn.restarts)
        cgroup.remove(group)
        raise
    shares_pids = not plan.namespaces & namespaces.CLONE_NEWPID
    checker = None
    if launch.health is not None:
        with Enduring(paths, HEALTH):
            checker = _look_after(launch, launch.health, paths, child, turn)
    return Run(group, child.pid, child.pidfd, pump, started, turn.restarts, connection, checker, shares_pids)


def _join(
    launch: Launch, spec: JSON, paths: ContainerPaths, started: str, turn: Turn
) -> tuple[process.Identity, ...]:
    """`joined.join`, a failure of which is recorded."""
    from engine.containers import joined

    try:
        return joined.join(spec, launch.shares, layout_of(launch))
    except CowlError as error:
        _give_up(paths, started, error, turn.restarts)
        raise


def _look_after(
    launch: Launch, fields: tuple[Any, ...], paths: ContainerPaths, child: Child, turn: Turn
) -> int:
    """The process that has its Health, *fields*, checked: a child of the keeper, if there is one."""
    from engine.containers import checking, health

    health.prepare(paths)
    wanted = Health(tuple(fields[0]), *fields[1:])
    subject = Subject(launch.id, launch.name, *layout_of(launch), wanted)
    if turn.keeper is None:
        return checking.start(subject, child.pidfd)
    from engine.containers import handover

    try:
        return handover.have_checked(turn.keeper, subject, child.pidfd)
    except OSError:  # it did not take an earlier run, and hears no more
        return checking.start(subject, child.pidfd)


def _make_cgroup(plan: Plan) -> cgroup.Cgroup:
    """The container's cgroup; what a killed monitor left in it, a first process half made, is killed."""
    try:
        return cgroup.create(plan.cgroup_path, plan.resources)
    except ConflictError:
        left = cgroup.locate(plan.cgroup_path, cgroup.detect())
        cgroup.kill_all(left)
        cgroup.remove(left)
    return cgroup.create(plan.cgroup_path, plan.resources)


def _begin(
    launch: Launch,
    plan: Plan,
    group: cgroup.Cgroup,
    paths: ContainerPaths,
    started: str,
    turn: Turn,
    others: Sequence[process.Identity],
) -> tuple[Child, Pump, Connection | None]:
    """From the fork to the exec of the program. Raises whatever stopped it, with nothing left running.

    Raises Unsuited when a first process without an interpreter does not know what to do.
    """
    child = _fork(launch, plan, group, paths, turn)
    with contextlib.ExitStack() as unless_begun:
        unless_begun.callback(_let_go, child)
        unless_begun.callback(_kill, child)
        point("start.after-fork")
        _record_start(paths, child, plan, group, started, turn)
        point("start.after-record")
        connection = _connect(launch, child)
        if connection is not None:
            unless_begun.callback(connection.tidy)
            unless_begun.callback(connection.leave)
        log = LogFile(paths.log, launch.log_max_size, launch.log_max_files, run=paths.run)
        master = _see_off(launch, child, plan, others)
        pump = _pump(child, master, log, turn.listener or _listen(paths))
        # The channel closes by itself when the exec succeeds.
        if data := child.channel.recv(request.MAX_PACKET):
            if child.play is not None:
                raise Unsuited(child.play.why(data))
            raise request.raise_failure(data[1:])
        unless_begun.pop_all()
    child.channel.close()
    return child, pump, connection


def _see_off(launch: Launch, child: Child, plan: Plan, others: Sequence[process.Identity]) -> int | None:
    """Serve the first process until it has what it needs to become the program; its terminal's master.

    *others* are those whose namespaces it has entered by then.
    """
    born = birth.Born(*child[:3])
    sent = birth.send_ahead(born, plan)
    if child.play is not None:
        return child.master
    told = _state(launch) | {"pid": child.pid}
    masters: list[int] = []
    birth.await_ready(born, plan, lambda: told, masters.append)
    if others:
        from engine.containers import joined

        joined.confirm(others)
    if not sent:
        child.channel.send(request.GO)
    return masters[0] if masters else None


def _let_go(child: Child) -> None:
    """Close what a program would have been connected with."""
    for descriptor in (child.stdin, child.stdout, child.stderr, child.master):
        if descriptor is not None:
            os.close(descriptor)


def _connect(launch: Launch, child: Child) -> Connection | None:
    """Connect it with its bridge, while it mounts its file system."""
    if launch.network is None:
        return None
    from engine.network import connection
    from engine.network.wish import Wish

    run = os.path.dirname(launch.run)
    try:
        return connection.connect(Wish.of(launch.network), run, launch.id, launch.home, child.pid)
    except (CowlError, OSError):
        if earlier := birth.failure_of(birth.Born(*child[:3])):  # a dead process cannot be connected
            raise earlier from None
        raise


def _kill(child: Child) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    os.waitpid(child.pid, 0)


def _fork(
    launch: Launch,
    plan: Plan,
    group: cgroup.Cgroup,
    paths: ContainerPaths,
    turn: Turn,
) -> Child:
    stack = rootfs.Stack(launch.lowers, paths.upper, paths.work, paths.init, paths.rootfs, paths.init_layers)
    inside, outside = _streams(plan, launch)
    into = cgroup.into_cgroup(group)
    joinable = init.Joinable(cgroup.entrances(group, born_inside=into is not None), views_of(group))
    place = init.Place(stack, joinable, inside, state=_state(launch))
    try:
        born = _bear(plan, place, into, turn)
    finally:
        if turn.ahead.stock is not None:
            turn.ahead.stock.close()
    for descriptor in (*inside[:3], *joinable.entries, into):
        if isinstance(descriptor, int):
            os.close(descriptor)
    return Child(*born[:3], *outside, born.play, born.master)


def _bear(plan: Plan, place: init.Place, into: int | None, turn: Turn) -> birth.Born:
    if turn.scripted:
        with contextlib.suppress(Unsuited):
            return scripted.bear(plan, place, into, turn.ahead)
    network = turn.ahead.network
    return birth.bear(plan, place, into) if network is None else birth.bear_in(network, plan, place, into)


def _state(launch: Launch) -> JSON:
    """What hooks are told about the container (runtime.md, State); its number and status are added."""
    return {"ociVersion": VERSION, "id": launch.id, "bundle": launch.home, "status": "creating"}


def _streams(plan: Plan, launch: Launch) -> tuple[init.Stdio, tuple[int | None, int | None, int | None]]:
    """The container's ends and ours."""
    size = Size(launch.rows, launch.columns)
    if plan.program.terminal:
        return init.Stdio(size=size), (None, None, None)
    stdin: int | None = None
    feed: int | None = None
    if launch.interactive:
        stdin, feed = os.pipe2(os.O_CLOEXEC)
    stdout, stdout_end = _pipe()
    stderr, stderr_end = _pipe()
    return init.Stdio(stdin, stdout_end, stderr_end, size), (feed, stdout, stderr)


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)


def _pump(child: Child, master: int | None, log: LogFile, listener: Channel) -> Pump:
    pump = Pump(child.pidfd, log, listener)
    if master is not None:
        pump.set_terminal(master)
    if child.stdout is not None and child.stderr is not None:
        pump.add_output(child.stdout, b"stdout", request.STDOUT)
        pump.add_output(child.stderr, b"stderr", request.STDERR)
    if child.stdin is not None:
        pump.set_input(child.stdin)
    return pump


def _listen(paths: ContainerPaths) -> Channel:
    """The socket for attach; its name goes by the directory's descriptor, as sun_path ends at 108 bytes."""
    listener = Channel(AF_UNIX, SOCK_SEQPACKET)
    directory = os.open(paths.run, os.O_PATH | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(paths.socket)
        listener.bind(f"{mount.by_descriptor(directory)}/{os.path.basename(paths.socket)}")
    finally:
        os.close(directory)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def _record_start(
    paths: ContainerPaths, child: Child, plan: Plan, group: cgroup.Cgroup, started: str, turn: Turn
) -> None:
    who = process.identify(child.pid)
    monitor = process.identify(turn.monitor)
    record = {
        "pid": child.pid,
        "pid_start": who.start if who else 0,
        "monitor": turn.monitor,
        "monitor_start": monitor.start if monitor else 0,
        "cgroup": group.to_json(),
        "no_devices": plan.no_devices,
        "started": started,
        "restarts": turn.restarts,
        "scripted": child.play is not None,
    }
    state.write_document(paths.state, record)
    state.write_document(paths.exit, exit_record(started))


def _give_up(paths: ContainerPaths, started: str, error: BaseException, restarts: int) -> None:
    """Record a start that failed."""
    code = error.exit_code if isinstance(error, LaunchError) else LaunchError.exit_code
    message = str(error) if isinstance(error, CowlError) else f"cannot start: {error}"
    record = exit_record(started, clock.now(), code, error=message, restarts=restarts)
    with contextlib.suppress(OSError):
        state.write_document(paths.exit, record)
    with contextlib.suppress(OSError):
        os.unlink(paths.state)
