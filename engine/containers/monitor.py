"""The monitor: one small process per container, from before its first process until all of it is gone.

It belongs to nobody: whoever launched it may die. It makes the cgroup and the first process, records whom it
watches *before* that process may exec, carries the streams, and writes down how it ended. Should it be killed
itself, the container runs on; the lock that dies with it and the recorded identity tell the truth (`state`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from engine.containers import restarting, state
from engine.containers.clients import Client
from engine.containers.logfile import LogFile
from engine.containers.pump import Pump
from engine.errors import ConflictError, CowlError, LaunchError
from engine.kernel import cgroup, devices, mount, namespaces, process
from engine.kernel.channel import AF_UNIX, SOCK_SEQPACKET, Channel
from engine.kernel.terminal import Size
from engine.launch import birth, init, rehearsal, request, rootfs
from engine.launch.cgroupviews import views_of
from engine.launch.isolation import CONTROL, isolate
from engine.launch.plan import Plan, plan_of, without_devices
from engine.launch.request import Launch
from engine.model import JSON, Health
from engine.oci.runtime import VERSION
from engine.record import Record
from engine.store import clock, events
from engine.store.faults import point
from engine.store.layout import ContainerPaths, Layout

if TYPE_CHECKING:
    from engine.network.connection import Connection


class Run(Record):
    """One life of the container, from exec to exit."""

    group: cgroup.Cgroup
    child: Child
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


class Child(Record):
    """The container's first process and our ends of what it has."""

    pid: int
    pidfd: int
    channel: Channel
    stdin: int | None
    stdout: int | None
    stderr: int | None


def run(launch: Launch, control: Channel) -> NoReturn:
    """Be the monitor of *launch*, in a process forked for that; *control* is the launching side's socket."""
    code = 1
    try:
        isolate(control)
        process.set_name("cowl-monitor")
        _watch(launch, Channel(fileno=CONTROL))
        code = 0
    finally:
        os._exit(code)


def stand_by(channel: Channel, sample: bytes | None = None) -> NoReturn:
    """Be a monitor before its container: *channel* brings a launch with its control socket.

    What a fork shares with its parent is copied page by page when it is first touched, which costs as much as
    all the work: going through the parsing once, with the document *sample*, has that done beforehand.
    """
    code = 1
    try:
        isolate(channel)
        process.set_name("cowl-monitor")
        rehearsal.rehearse(sample)
        network: namespaces.Network | None = None
        with contextlib.suppress(OSError):  # without the privilege, the launch says so
            network = namespaces.network_ahead()
        waiting = Channel(fileno=CONTROL)
        received = request.receive_request(waiting)
        if received is not None and isinstance(received.work, Launch):
            _watch(received.work, received.control, waiting, network)
        code = 0
    finally:
        os._exit(code)


def _watch(
    launch: Launch,
    control: Channel,
    launcher: Channel | None = None,
    network: namespaces.Network | None = None,
) -> None:
    """From launch to removal. *launcher* is closed once the program runs: the processors are free again.

    *network* is a namespace for its first run, made beforehand.
    """
    client = Client(control, foreground=True)
    paths = ContainerPaths(launch.home, launch.run)
    try:
        lock = _take_lock(paths)
        run = _start(launch, paths, network=network)
    except (CowlError, OSError) as error:
        client.send(request.FAILED + request.failure(error))
        return
    _tell(launch, "start")
    cautions = run.connection.cautions if run.connection is not None else ()
    started = {"pid": run.child.pid, "started": run.started, "cautions": cautions}
    client.send(request.STARTED + json.dumps(started).encode())
    if launcher is not None:
        launcher.close()
    if launch.attached:
        run.pump.clients.append(client)
    else:
        client.close()
    if run.connection is not None:
        run.connection.announce()
    point("start.after-report")
    if launch.auto_remove:
        _finish(launch, paths, run)
    else:
        _go_on(launch, paths, run)
    os.close(lock)


def _start(
    launch: Launch,
    paths: ContainerPaths,
    listener: Channel | None = None,
    restarts: int = 0,
    network: namespaces.Network | None = None,
) -> Run:
    """Make the cgroup and have the program running. Raises whatever stopped it; a record of that is left.

    *listener* is there already when its policy has started it *restarts* times.
    """
    with open(paths.config, "rb") as file:
        plan = plan_of(json.load(file), paths.filters)
    group = _make_cgroup(plan)
    if not devices.restrict(group, plan.resources.get("devices", ())):
        plan = without_devices(plan)
    point("start.after-cgroup")
    started = clock.now()
    try:
        child, pump, connection = _begin(launch, plan, group, paths, started, listener, restarts, network)
    except (CowlError, OSError) as error:
        _give_up(paths, group, started, error, restarts)
        raise
    shares_pids = not plan.namespaces & namespaces.CLONE_NEWPID
    checker = _look_after(launch, child)
    return Run(group, child, pump, started, restarts, connection, checker, shares_pids)


def _look_after(launch: Launch, child: Child) -> int | None:
    """The process that checks the container's health, where that is wanted."""
    if launch.health is None:
        return None
    from engine.containers import health

    wanted = Health(tuple(launch.health[0]), *launch.health[1:])
    return health.start(health.Subject(launch.id, launch.name, _layout(launch), wanted), child.pidfd)


def _finish(launch: Launch, paths: ContainerPaths, run: Run) -> None:
    """From the running program to the last trace of a container that is to be removed."""
    run.pump.run()
    if not _end(launch, paths, run, restarting.NEVER):
        _remove(launch)


def _go_on(launch: Launch, paths: ContainerPaths, run: Run) -> None:
    """From the running program to the last of the runs that its policy wants."""
    delay = restarting.Delay()
    while True:
        began = time.monotonic()
        run.pump.run()
        ran = time.monotonic() - began
        _end(launch, paths, run, restarting.current(paths, launch.restart))
        listener = run.pump.listener
        if listener is None:
            return
        if not restarting.pause(paths, listener, delay.after(ran)):
            break
        try:
            run = _start(launch, paths, listener, run.restarts + 1)
        except (CowlError, OSError):  # it is in exit.json
            break
        _tell(launch, "restart", restarts=str(run.restarts))
        if run.connection is not None:
            run.connection.announce()
    _call_off(launch, paths)


def _call_off(launch: Launch, paths: ContainerPaths) -> None:
    """Record that no further run will follow."""
    ended = state.read_document(paths.exit)
    if ended is not None and ended.get("restarting"):
        state.write_document(paths.exit, ended | {"restarting": False}, flush=True)
    with contextlib.suppress(OSError):
        os.unlink(paths.socket)
    state.touch(launch.revision)


def _tell(launch: Launch, action: str, **attributes: str) -> None:
    """Let whoever watches containers know."""
    state.touch(launch.revision)
    events.record(_layout(launch), "container", action, launch.id, launch.name, **attributes)


def _layout(launch: Launch) -> Layout:
    return Layout(launch.root, os.path.dirname(launch.run))


def _make_cgroup(plan: Plan) -> cgroup.Cgroup:
    """The container's cgroup; what a killed monitor left in it, a first process half made, is killed."""
    try:
        return cgroup.create(plan.cgroup_path, plan.resources)
    except ConflictError:
        left = cgroup.locate(plan.cgroup_path, cgroup.detect())
        cgroup.kill_all(left)
        cgroup.remove(left)
    return cgroup.create(plan.cgroup_path, plan.resources)


def _take_lock(paths: ContainerPaths) -> int:
    os.makedirs(paths.run, mode=0o700, exist_ok=True)
    lock = os.open(paths.monitor_lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _begin(
    launch: Launch,
    plan: Plan,
    group: cgroup.Cgroup,
    paths: ContainerPaths,
    started: str,
    listener: Channel | None,
    restarts: int,
    network: namespaces.Network | None,
) -> tuple[Child, Pump, Connection | None]:
    """From the fork to the exec of the program. Raises whatever stopped it, with nothing left running."""
    child = _fork(launch, plan, group, paths, network)
    with contextlib.ExitStack() as unless_begun:
        unless_begun.callback(_kill, child)
        point("start.after-fork")
        _record_start(paths, child.pid, plan, group, started, restarts)
        point("start.after-record")
        connection = _connect(launch, child)
        if connection is not None:
            unless_begun.callback(connection.tidy)
            unless_begun.callback(connection.leave)
        log = LogFile(paths.log, launch.log_max_size, launch.log_max_files)
        masters: list[int] = []
        told = _state(launch) | {"pid": child.pid}
        born = birth.Born(*child[:3])
        sent = birth.send_ahead(born, plan)
        birth.await_ready(born, plan, lambda: told, masters.append)
        if not sent:
            child.channel.send(request.GO)
        pump = _pump(child, masters[0] if masters else None, log, listener or _listen(paths))
        # The channel closes by itself when the exec succeeds.
        if data := child.channel.recv(request.MAX_PACKET):
            raise request.raise_failure(data[1:])
        unless_begun.pop_all()
    child.channel.close()
    return child, pump, connection


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
    network: namespaces.Network | None,
) -> Child:
    stack = rootfs.Stack(
        launch.lowers, paths.upper, paths.work, paths.init, paths.rootfs, paths.init_layers
    )
    inside, outside = _streams(plan, launch)
    into = cgroup.into_cgroup(group)
    joinable = init.Joinable(cgroup.entrances(group, born_inside=into is not None), views_of(group))
    place = init.Place(stack, joinable, inside, state=_state(launch))
    born = birth.bear(plan, place, into) if network is None else birth.bear_in(network, plan, place, into)
    for descriptor in (*inside[:3], *joinable.entries, into):
        if isinstance(descriptor, int):
            os.close(descriptor)
    return Child(*born, *outside)


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
    paths: ContainerPaths, pid: int, plan: Plan, group: cgroup.Cgroup, started: str, restarts: int
) -> None:
    who = process.identify(pid)
    own = process.identify(os.getpid())
    record = {
        "pid": pid,
        "pid_start": who.start if who else 0,
        "monitor": os.getpid(),
        "monitor_start": own.start if own else 0,
        "cgroup": group.to_json(),
        "no_devices": plan.no_devices,
        "started": started,
        "restarts": restarts,
    }
    state.write_document(paths.state, record)
    state.write_document(paths.exit, exit_record(started))


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


def _give_up(
    paths: ContainerPaths, group: cgroup.Cgroup, started: str, error: BaseException, restarts: int
) -> None:
    """Record a start that failed and take away what it made."""
    code = error.exit_code if isinstance(error, LaunchError) else LaunchError.exit_code
    message = str(error) if isinstance(error, CowlError) else f"cannot start: {error}"
    record = exit_record(started, clock.now(), code, error=message, restarts=restarts)
    with contextlib.suppress(OSError):
        state.write_document(paths.exit, record)
    with contextlib.suppress(OSError):
        os.unlink(paths.state)
    cgroup.remove(group)


def _end(launch: Launch, paths: ContainerPaths, run: Run, policy: restarting.Policy) -> bool:
    """From the end of the first process to the end of this run; whether a client has removed the container.

    If *policy* wants a further run, its socket and listener stay.
    """
    pump = run.pump
    _, status = os.waitpid(run.child.pid, 0)
    if run.checker is not None:
        os.kill(run.checker, signal.SIGKILL)
        os.waitpid(run.checker, 0)
    code = process.exit_code(status)
    if run.shares_pids:
        cgroup.kill_all(run.group)
    pump.drain()
    pump.close_log()
    oom = cgroup.oom_kills(run.group) > 0
    again = policy.wants(code, run.restarts) and not restarting.is_called_off(paths)
    record = exit_record(run.started, clock.now(), code, oom=oom, restarts=run.restarts, restarting=again)
    point("end.before-record")
    with contextlib.suppress(OSError):  # a full disk: the state stays "ended, nobody knows how"
        state.write_document(paths.exit, record, flush=True)
    point("end.after-record")
    if oom:
        _tell(launch, "oom")
    _tell(launch, "die", exit_code=str(code))
    told = {"exit_code": code, "oom_killed": oom, "restarting": again}
    pump.tell(request.EXITED + json.dumps(told).encode())
    if run.connection is not None:
        run.connection.leave()
    cgroup.remove(run.group)
    point("end.after-cgroup")
    for path in (paths.state,) if again else (paths.socket, paths.state):
        with contextlib.suppress(OSError):
            os.unlink(path)
    pump.tell(request.CLEAN)
    if run.connection is not None:
        run.connection.tidy()
    removed = pump.finish()
    pump.close()
    os.close(run.child.pidfd)
    if not again:
        pump.listener = None
    return removed


def _remove(launch: Launch) -> None:
    """Remove the container, or become the process that does.

    SQLite does not survive a fork: in the memory of somebody who had the records open it cannot be used.
    """
    if launch.fresh:
        from engine.containers import removal

        removal.remove_ended(launch.root, launch.run, launch.id, launch.revision)
        return
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys; sys.path.insert(0, {home!r}); from engine.containers import removal; removal.main()"
    arguments = [sys.executable, "-I", "-S", "-c", code, launch.root, launch.run, launch.id, launch.revision]
    os.execv(sys.executable, arguments)
