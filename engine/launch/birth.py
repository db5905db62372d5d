"""From the fork to a first process that is ready to run: what its parent, on the host's side, does for it.

Most containers take one fork. Where a namespace can only be entered by a process in between, that process
makes the first one a child of ours, says who that is, and ends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable

from engine.errors import CowlError, LaunchError
from engine.kernel import mount, namespaces, process, signals, syscalls
from engine.kernel.channel import Channel, pair
from engine.launch import init, mounting, request, rootfs
from engine.launch.mounting import Tree
from engine.launch.plan import Plan
from engine.model import JSON
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from engine.kernel.script import Script

_KILLED = "its first process was killed while being set up"


class Born(Record):
    """A first process, and the parent's end of the channel to it."""

    pid: int
    pidfd: int
    channel: Channel
    play: Script | None = None
    """What it does, if that is in our memory: to be kept until it is the program."""
    master: int | None = None
    """Of its terminal, if that has been made beforehand."""


def bear(plan: Plan, place: init.Place, into: int | None, kept: Iterable[int] = ()) -> Born:
    """Fork the first process of *plan*; it has its IDs and its OOM score, and makes its root.

    *into* is the cgroup2 directory to be born in; the descriptors *kept* stay open in it, besides those that
    *place* names. Raises LaunchError or OSError with nothing left running.
    """
    place = _with_trees(plan, place)
    ours, theirs = pair()
    open_in_child = {theirs.fileno(), *place.cgroup.entries, *kept}
    open_in_child |= {descriptor for descriptor in place.stdio[:3] if isinstance(descriptor, int)}
    open_in_child |= {tree.descriptor for tree in place.trees.values()}
    if place.gate is not None:
        open_in_child.add(place.gate.fileno())
    if isinstance(place.source, rootfs.Directory) and place.source.tree is not None:
        open_in_child.add(place.source.tree)
    flags = plan.namespaces & ~namespaces.CLONE_NEWCGROUP
    if place.networked:
        flags &= ~namespaces.CLONE_NEWNET

    def be_born() -> NoReturn:
        syscalls.close_all_but(open_in_child)
        init.become(plan, place, theirs)

    if init.staged(plan):
        pid = stage(lambda: _enter_all(plan), flags, into, be_born)
    else:
        pid = namespaces.clone(flags, into)
        if pid == 0:
            be_born()
    pidfd = os.pidfd_open(pid)
    theirs.close()
    born = Born(pid, pidfd, ours)
    with contextlib.ExitStack() as unless_outfitted, contextlib.ExitStack() as always:
        for tree in place.trees.values():
            always.callback(os.close, tree.descriptor)
        unless_outfitted.callback(end, born)
        _outfit(plan, born)
        unless_outfitted.pop_all()
    return born


def in_user_namespace(plan: Plan) -> bool:
    """Whether the container's root is not the host's."""
    return joins_user(plan) or bool(plan.namespaces & namespaces.CLONE_NEWUSER)


def joins_user(plan: Plan) -> bool:
    """Whether its user namespace is there already; what forks the first process is not the host's root."""
    return any(kind == namespaces.CLONE_NEWUSER for kind, _ in plan.joined)


def bear_in(network: namespaces.Network, plan: Plan, place: init.Place, into: int | None) -> Born:
    """`bear` into *network*, if *plan* wants a new one and can be given it so; else that one is let go of."""
    new = plan.namespaces & namespaces.CLONE_NEWNET
    if not new or in_user_namespace(plan) or init.staged(plan):
        network.close()
        return bear(plan, place, into)
    with network.entered():
        return bear(plan, place._replace(networked=True), into)


def _with_trees(plan: Plan, place: init.Place) -> init.Place:
    """Open what the container's process could not, for want of rights or of the host's process numbers."""
    everything = in_user_namespace(plan)
    trees: dict[int, Tree] = {}
    source = place.source
    for number, step in enumerate(plan.steps):
        wanted = everything or step.mappings is not None
        if wanted and step.kind == "bind" and not step.flags & mount.MS_REMOUNT:
            trees[number] = mounting.tree_of(step, plan.mappings)
    if everything and isinstance(source, rootfs.Directory):
        source = source._replace(tree=mount.clone_tree(-100, source.path, recursive=True))
    return place._replace(trees=trees, source=source)


def _outfit(plan: Plan, born: Born) -> None:
    """What the host's root alone can give a process."""
    if plan.program.oom_score_adj is not None:
        set_oom_score(born.pid, plan.program.oom_score_adj)
    if plan.namespaces & namespaces.CLONE_NEWUSER:
        namespaces.map_ids(born.pid, plan.mappings.uids, plan.mappings.gids)
        born.channel.send(init.MAPPED)


def set_oom_score(pid: int | str, score: int) -> None:
    """How soon *pid* is ended when memory runs out, -1000 to 1000 (proc_pid_oom_score_adj(5))."""
    with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


def stage(enter: Callable[[], None], flags: int, into: int | None, be_born: Callable[[], NoReturn]) -> int:
    """Fork through a process that calls *enter* first; the pid of what it made in there, our own child."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    between = os.fork()
    if between == 0:
        try:
            os.close(reader)
            enter()
            pid = namespaces.clone(flags & ~namespaces.CLONE_NEWTIME | namespaces.CLONE_PARENT, into)
            if pid == 0:
                be_born()
            os.write(writer, b"%d" % pid)
        except (CowlError, OSError) as error:
            os.write(writer, request.FAILED + request.failure(error))
        finally:
            os._exit(0)
    os.close(writer)
    try:
        answer = os.read(reader, request.MAX_PACKET)
    finally:
        os.close(reader)
        os.waitpid(between, 0)
    if answer[:1] == request.FAILED:
        raise request.raise_failure(answer[1:])
    if not answer:
        raise LaunchError("cannot start the container", _KILLED)
    return int(answer)


def _enter_all(plan: Plan) -> None:
    """Enter namespaces: those that our own privileges reach, the user namespace, those that it owns."""
    opened = [(kind, path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)) for kind, path in plan.joined]
    users = [entry for entry in opened if entry[0] == namespaces.CLONE_NEWUSER]
    left = [entry for entry in opened if entry not in users]
    if users:
        left = [entry for entry in left if not _try_enter(entry)]
        _enter(users[0])
        init.become_root()
    for entry in left:
        _enter(entry)
    if plan.namespaces & namespaces.CLONE_NEWTIME:
        namespaces.unshare(namespaces.CLONE_NEWTIME)
        if plan.time_offsets:
            namespaces.set_time_offsets(plan.time_offsets)


def _try_enter(entry: tuple[int, str, int]) -> bool:
    try:
        _enter(entry)
    except PermissionError:
        return False
    return True


def _enter(entry: tuple[int, str, int]) -> None:
    kind, path, descriptor = entry
    try:
        namespaces.setns(descriptor, kind)
    except PermissionError:
        raise
    except OSError as error:
        raise LaunchError(f"cannot enter the namespace {path}", syscalls.reason(error)) from error


def send_ahead(born: Born, plan: Plan) -> bool:
    """Send GO before *born* asks, so that it need not wait for us; False where something comes in between."""
    if plan.hooks or plan.joined or in_user_namespace(plan):
        return False
    with contextlib.suppress(BrokenPipeError):  # it has ended; why, `await_ready` hears
        born.channel.send(request.GO)
    return True


def await_ready(born: Born, plan: Plan, state: Callable[[], JSON], terminal: Callable[[int], None]) -> None:
    """Serve *born* until it is ready: its hooks on the host's side, and the master of its terminal.

    Raises what stopped it; then it has ended or is about to.
    """
    while packet := _receive(born.channel):
        data, descriptors = packet
        if descriptors:
            terminal(descriptors[0])
        elif data == init.HOOKS:
            from engine.launch import hooks

            hooks.run("prestart", plan.hooks, state)
            hooks.run("createRuntime", plan.hooks, state)
            born.channel.send(init.HOOKED)
        elif data == init.READY:
            if in_user_namespace(plan):
                for name, soft, hard in plan.program.limits:
                    process.set_limit(name, soft, hard, born.pid)
            return
        elif data[:1] == request.FAILED:
            raise request.raise_failure(data[1:])
        else:
            raise LaunchError("cannot start the container", _KILLED)


def failure_of(born: Born) -> LaunchError | None:
    """Kill *born*, which is not ready yet; what had stopped it already, if anything had."""
    with contextlib.suppress(ProcessLookupError):
        signals.pidfd_send_signal(born.pidfd, signals.SIGKILL)
    data = init.HOOKS
    while data:
        data, descriptors = request.receive_descriptors(born.channel)
        for descriptor in descriptors:
            os.close(descriptor)
        if data[:1] == request.FAILED:
            return request.raise_failure(data[1:])
    return None


def _receive(channel: Channel) -> tuple[bytes, list[int]]:
    try:
        return request.receive_descriptors(channel)
    except ConnectionResetError:
        # It has ended with a GO unread, which is told once; its own last words are still to be read.
        return request.receive_descriptors(channel)


def end(born: Born) -> None:
    """Kill and reap it."""
    with contextlib.suppress(ProcessLookupError):
        signals.pidfd_send_signal(born.pidfd, signals.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(born.pid, 0)
