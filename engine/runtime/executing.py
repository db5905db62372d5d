"""``exec``: a further process in a container, and ``run``, which watches its first one."""

from __future__ import annotations

import os

from engine import plainjson
from engine.errors import ConflictError, UsageError
from engine.kernel import cgroup, namespaces, process, signals, syscalls
from engine.kernel.channel import Channel, pair
from engine.kernel.terminal import DEFAULT_SIZE
from engine.launch import birth, init, joining, request
from engine.launch.filters import filter_of
from engine.launch.isolation import stop_imports
from engine.launch.plan import program_of, without_mknod
from engine.launch.program import Program
from engine.model import JSON
from engine.oci.shape import PROCESS, checked
from engine.record import Record
from engine.runtime import console, containers, terminals
from engine.runtime.containers import Container
from engine.runtime.report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_NAMES = {
    "mnt": namespaces.CLONE_NEWNS,
    "pid": namespaces.CLONE_NEWPID,
    "net": namespaces.CLONE_NEWNET,
    "ipc": namespaces.CLONE_NEWIPC,
    "uts": namespaces.CLONE_NEWUTS,
    "cgroup": namespaces.CLONE_NEWCGROUP,
    "user": namespaces.CLONE_NEWUSER,
    "time": namespaces.CLONE_NEWTIME,
}
"""Files of /proc/<pid>/ns."""


class Execution(Record):
    """What ``exec`` was asked for."""

    process: JSON
    """The process object."""
    detach: bool
    pid_file: str
    console_socket: str
    preserved: int
    paused_too: bool = False
    """Whether it may wait for a paused container to go on."""


def execute(container: Container, wanted: Execution, report: Report) -> int:
    """Run it; its exit code, or 0 at once when it is detached. LaunchError when it does not start."""
    status = container.status()
    if status not in ("created", "running") and not (status == "paused" and wanted.paused_too):
        raise ConflictError(f"cannot exec in container {container.id}", f"it is {status}")
    program = _program(container, wanted, report)
    terminal = terminals.for_program(program.terminal, wanted.console_socket, wanted.detach)
    if wanted.detach:
        _begin(container, program, wanted, terminal)
        return 0
    with console.signals() as received:
        pid, pidfd = _begin(container, program, wanted, terminal)
        return watch(pid, pidfd, received, terminal)


def _begin(
    container: Container, program: Program, wanted: Execution, terminal: terminals.Terminal
) -> tuple[int, int]:
    """Have it running; its number and pidfd."""
    ours, theirs = pair()
    pid = _enter(container, program, wanted, theirs)
    theirs.close()
    pidfd = os.pidfd_open(pid)
    while packet := request.receive_descriptors(ours):
        data, descriptors = packet
        if descriptors:
            terminal.take(descriptors[0])
            continue
        if data:
            os.waitpid(pid, 0)
            raise request.raise_failure(data[1:])
        break
    if wanted.pid_file:
        containers.write_pid(wanted.pid_file, pid)
    return pid, pidfd


def watch(pid: int, pidfd: int, received: int, terminal: terminals.Terminal) -> int:
    """Stay until our child *pid* has ended, passing on the signals *received*; its exit code."""

    def forward(number: int) -> None:
        signals.pidfd_send_signal(pidfd, number)

    console.watch(pidfd, received, forward, terminal.kept[0] if terminal.kept else None)
    _, status = os.waitpid(pid, 0)
    return process.exit_code(status)


def _program(container: Container, wanted: Execution, report: Report) -> Program:
    linux = container.document().get("linux") or {}
    kept = f"{os.path.dirname(container.directory)}/{containers.FILTERS}/"
    warnings: list[str] = []
    try:
        program = program_of(
            wanted.process, None, filter_of(linux.get("seccomp"), kept), None, warnings
        )._replace(preserved=wanted.preserved)
        if linux.get("personality"):
            from engine.launch.confinement import with_personality

            program = with_personality(program, linux["personality"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError("the process to execute is malformed", f"{type(error).__name__}: {error}") from error
    if not program.args:
        raise UsageError("no command to execute", hint="name one after the container")
    for warning in warnings:
        report.warn(warning)
    return without_mknod(program) if container.no_devices else program


def _enter(container: Container, program: Program, wanted: Execution, channel: Channel) -> int:
    """Fork into the container's namespaces and cgroup; the pid of what becomes the program."""
    pidfd = process.open_pidfd(container.who)
    if pidfd is None:
        raise ConflictError(f"cannot exec in container {container.id}", "it has ended")
    kinds = _differing(container.pid)
    # Whoever is root of a user namespace only may not make processes in a cgroup of the host.
    into = None if kinds & namespaces.CLONE_NEWUSER else cgroup.into_cgroup(container.group)
    entries = cgroup.entrances(container.group, born_inside=into is not None)
    initial, final = _affinity(wanted.process)

    def enter() -> None:
        process.hide()
        if program.oom_score_adj is not None:
            birth.set_oom_score("self", program.oom_score_adj)
        if initial:
            os.sched_setaffinity(0, initial)
        stop_imports()
        namespaces.setns(pidfd, kinds)
        if kinds & namespaces.CLONE_NEWUSER:
            init.become_root()

    def be_born() -> NoReturn:
        kept = (channel.fileno(), *entries, *range(3, 3 + program.preserved))
        syscalls.close_all_but(kept)
        for entry in entries:
            os.write(entry, b"0")
        if final:
            os.sched_setaffinity(0, final)
        joining.become(program, (), (0, 1, 2), DEFAULT_SIZE, channel, channel)

    try:
        return birth.stage(enter, 0, into, be_born)
    finally:
        cgroup.close(entries)
        os.close(pidfd)


def _differing(pid: int) -> int:
    """The CLONE_NEW… bits of namespaces that *pid* does not share with us: others need no entering."""
    return sum(
        kind
        for name, kind in _NAMES.items()
        if os.path.exists(f"/proc/self/ns/{name}")
        and os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino
    )


def _affinity(document: JSON) -> tuple[set[int], set[int]]:
    """The processors before and after the move to the container's cgroup; empty to leave them."""
    wanted = document.get("execCPUAffinity") or {}
    return _processors(wanted.get("initial") or ""), _processors(wanted.get("final") or "")


def _processors(text: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        try:
            found |= set(range(int(first), int(last or first) + 1))
        except ValueError:
            raise UsageError(f"{text!r} is no list of processors", hint="write it as 0-3,7") from None
    return found


def read_process(path: str) -> JSON:
    """The process object in a file; UsageError or LaunchError for none."""
    try:
        with open(path, "rb") as file:
            return checked(plainjson.loads(file.read()), PROCESS, path)
    except OSError as error:
        raise UsageError(f"cannot read {path}", error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no process object", str(error)) from error


def process_of(container: Container, options: ProcessOptions) -> JSON:
    """The process object of a command line: the container's own, with what *options* change."""
    base = container.document().get("process") or {"cwd": "/", "user": {}}
    document = {**base, "args": list(options.args), "terminal": options.terminal}
    document.pop("consoleSize", None)
    document["env"] = [*(base.get("env") or ()), *options.env]
    if options.cwd:
        document["cwd"] = options.cwd
    user = dict(base.get("user") or {})
    if options.user:
        uid, _, gid = options.user.partition(":")
        try:
            user = {"uid": int(uid), "gid": int(gid or 0)}
        except ValueError:
            raise UsageError(f"{options.user!r} is no user", hint="give numbers, UID or UID:GID") from None
    if options.groups:
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *options.groups]
    document["user"] = user
    if options.no_new_privileges:
        document["noNewPrivileges"] = True
    if options.capabilities:
        given = {kind: list(names or ()) for kind, names in (base.get("capabilities") or {}).items()}
        for kind in ("bounding", "effective", "permitted"):
            given[kind] = [*given.get(kind, ()), *options.capabilities]
        document["capabilities"] = given
    if options.apparmor:
        document["apparmorProfile"] = options.apparmor
    if options.label:
        document["selinuxLabel"] = options.label
    return document


class ProcessOptions(Record):
    """What a command line says about a process."""

    args: tuple[str, ...]
    terminal: bool
    env: tuple[str, ...]
    cwd: str
    user: str
    groups: tuple[int, ...]
    capabilities: tuple[str, ...]
    no_new_privileges: bool
    apparmor: str
    label: str
