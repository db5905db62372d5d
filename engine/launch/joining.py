"""A further process in a running container: what `exec` does on the other side of the fork.

The process that enters is hidden from the container first (not dumpable): nothing in there may open its
/proc/self/exe, which is the host's (CVE-2019-5736), or trace it. Whoever has CAP_SYS_PTRACE inside may.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence

from engine import plainjson
from engine.errors import LaunchError
from engine.kernel import cgroup, namespaces, process, seccomp, syscalls
from engine.kernel.channel import Channel, pair
from engine.kernel.terminal import Size
from engine.launch import init, nodes, request, users
from engine.launch.isolation import CONTROL, isolate, stop_imports
from engine.launch.plan import program_of
from engine.launch.program import Program
from engine.launch.request import Join
from engine.store.faults import point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_ALL = (
    namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWPID
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWCGROUP
)
_INSIDE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS


def run(join: Join, control: Channel, streams: list[int]) -> NoReturn:
    """Start *join* and report its end over *control*; *streams* are its 0, 1, 2, or empty."""
    try:
        kept = isolate(control, streams)
        _serve(join, Channel(fileno=CONTROL), kept)
    finally:
        os._exit(0)


def stand_by(channel: Channel) -> NoReturn:
    """`run`, before it is known what: *channel* brings that, with its control socket and its streams."""
    try:
        isolate(channel)
        received = request.receive_request(Channel(fileno=CONTROL))
        if received is not None and isinstance(received.work, Join):
            _serve(received.work, received.control, received.streams)
    finally:
        os._exit(0)


def _serve(join: Join, control: Channel, streams: list[int]) -> None:
    try:
        _join(join, control, streams)
    except Exception as error:  # noqa: BLE001 - goes to whoever waits, whatever it is
        init.tell(control, error)


def _join(join: Join, control: Channel, streams: list[int]) -> None:
    process.hide()
    process.set_name("cowl-exec")
    program = program_of(
        join.process, join.user, seccomp.Filter(bytes.fromhex(join.filter), join.filter_flags)
    )
    who = process.Identity(join.pid, join.pid_start)
    pidfd = process.open_pidfd(who)
    if pidfd is None:
        raise LaunchError("cannot exec in the container", "it has ended")
    group = cgroup.joinable(cgroup.Cgroup.from_json(join.cgroup), join.pid)
    into = cgroup.into_cgroup(group)
    entries = list(cgroup.entrances(group, born_inside=into is not None))
    if program.oom_score_adj is not None:
        from engine.launch import birth

        birth.set_oom_score("self", program.oom_score_adj)
    point("exec.before-entering")
    stop_imports()
    namespaces.setns(pidfd, _ALL)
    ours, theirs = pair()
    pid = namespaces.clone(0, into)
    if pid == 0:
        ours.close()
        become(program, entries, streams, Size(join.rows, join.columns), theirs, control)
    theirs.close()
    point("exec.after-fork")
    for descriptor in (*streams, *entries, pidfd, into):
        if descriptor is not None:
            os.close(descriptor)
    answer = ours.recv(request.MAX_PACKET)
    if answer:
        os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            control.send(answer)
        return
    with contextlib.suppress(OSError):
        control.send(request.STARTED + plainjson.dumps({"pid": pid}).encode())
    point("exec.after-report")
    _, status = os.waitpid(pid, 0)
    ended = {"exit_code": process.exit_code(status), "oom_killed": False}
    with contextlib.suppress(OSError):
        control.send(request.EXITED + plainjson.dumps(ended).encode())


def become(
    program: Program,
    entries: Iterable[int],
    streams: Sequence[int],
    size: Size,
    channel: Channel,
    control: Channel,
) -> NoReturn:
    """Be *program* in the namespaces that this process is in; never returns.

    Failures go over *channel*, the master of a terminal over *control*.
    """
    try:
        for entry in entries:
            os.write(entry, b"0")
        os.setsid()
        process.leave_keyring()
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if program.terminal:
            slave = init.attach_terminal(
                init.open_pts(root), Size(*program.size) if program.size else size, control
            )
            stdio = init.Stdio(slave, slave, slave)
        else:
            null = _null(root) if len(streams) < 3 else -1
            stdin, stdout, stderr = [null] * (3 - len(streams)) + list(streams)
            stdio = init.Stdio(stdin, stdout, stderr)
        user = users.resolve(program.user, root)
        init.execute(program, user, stdio, channel)
    except Exception as error:  # noqa: BLE001 - goes to whoever waits, whatever it is
        init.tell(channel, error)
    finally:
        os._exit(125)


def _null(root: int) -> int:
    found = syscalls.openat2(root, "dev/null", os.O_RDWR | os.O_NOCTTY, _INSIDE)
    nodes.check_null(found)
    return found
