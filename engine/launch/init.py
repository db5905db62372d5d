"""What a container's first process does before it becomes the program: config.json, executed as written.

It runs in a fork of the monitor and ends in exec or, after it has said why over its channel, in `_exit`. Most
containers do not come here: `scripted` does the same for them, by a list of calls.
Nothing may be imported here once the process has left the host's root.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

from engine.errors import CommandNotFoundError, CowlError, LaunchError, NotExecutableError
from engine.kernel import capabilities, mount, namespaces, process, seccomp, syscalls, terminal
from engine.kernel.cgroup import join
from engine.kernel.channel import Channel, sethostname
from engine.launch import nodes, programfile, request, rootfs, users
from engine.launch.isolation import IGNORED, stop_imports
from engine.launch.mounting import CgroupView, Tree
from engine.launch.plan import Plan
from engine.launch.program import Program
from engine.model import JSON
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

READY = b"R"
"""From the child: everything is prepared. The monitor sends GO once it has recorded whom it watches."""
MAPPED = b"M"
"""To the child: its user namespace has its IDs."""
HOOKS = b"H"
"""From the child: its root is made and not yet entered; hooks of the host's side are run now."""
HOOKED = b"h"
_SETUP_FAILED = 125


class Stdio(Record):
    """Descriptors for 0, 1 and 2 of the program; None is the container's null device. A terminal has none."""

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    size: terminal.Size = terminal.DEFAULT_SIZE


class Joinable(Record):
    """What the child needs of its cgroup."""

    entries: tuple[int, ...]
    """Descriptors of cgroup.procs files to write oneself to."""
    views: tuple[CgroupView, ...]


class Place(Record):
    """Where and between whom a first process is born."""

    source: rootfs.Stack | rootfs.Directory
    cgroup: Joinable
    stdio: Stdio
    trees: Mapping[int, Tree] = {}
    """Binds that the parent has prepared."""
    state: JSON | None = None
    """The container's state, for hooks."""
    gate: Channel | None = None
    """A socket that listens: whoever connects and sends GO starts the program. If None, the parent does."""
    networked: bool = False
    """Whether whoever forks it is in its network namespace, which is ready."""


class Prepared(Record):
    """What is left to be done is to become the program."""

    user: users.User
    stdio: Stdio


def become(plan: Plan, place: Place, channel: Channel) -> NoReturn:
    """Be the first process of the container; never returns."""
    if not plan.namespaces & namespaces.CLONE_NEWPID:
        process.hide()  # from those who are in the PID namespace already (CVE-2016-9962)
    try:
        prepared = _prepare(plan, place, channel)
        channel.send(READY)
        if place.gate is not None:
            _let_go(plan, place, prepared)
            channel.close()
            channel = place.gate.accept()
        if channel.recv(16) != request.GO:
            os._exit(_SETUP_FAILED)
        if not plan.program.args:
            raise LaunchError("cannot start the container", "config.json has no process")
        _hook("startContainer", "created", plan, place)
        execute(plan.program, prepared.user, prepared.stdio, channel, first=True)
    except (CowlError, OSError) as error:
        tell(channel, error)
    finally:
        os._exit(_SETUP_FAILED)


def _let_go(plan: Plan, place: Place, prepared: Prepared) -> None:
    """Close what a wait would keep open: others wait for the ends of what a runtime was given."""
    for entry in place.cgroup.entries:
        os.close(entry)
    if plan.program.terminal and prepared.stdio.stdin is not None:
        for number in range(3):
            os.dup2(prepared.stdio.stdin, number)


def tell(channel: Channel, error: BaseException) -> None:
    """Say over *channel* what failed; nobody listening means that nobody needs to know."""
    with contextlib.suppress(OSError):
        channel.send(request.FAILED + request.failure(error))


def _prepare(plan: Plan, place: Place, channel: Channel) -> Prepared:
    join(place.cgroup.entries)
    _enter_namespaces(plan, channel)
    os.setsid()
    if plan.new_keyring:
        process.leave_keyring()
    if plan.hostname:
        sethostname(plan.hostname)
    if plan.domainname:
        namespaces.set_domain_name(plan.domainname)
    if plan.namespaces & namespaces.CLONE_NEWNET and not place.networked:
        namespaces.bring_up_loopback()
    made = rootfs.build(plan, place.source, place.cgroup.views, place.trees)
    stdio = place.stdio
    if plan.program.terminal:
        stdio = _open_terminal(made, plan.program.size, stdio.size, channel)
    elif None in stdio[:3]:
        null = _open_null(made)
        stdin, stdout, stderr = (null if descriptor is None else descriptor for descriptor in stdio[:3])
        stdio = Stdio(stdin, stdout, stderr, stdio.size)
    if plan.hooks:
        channel.send(HOOKS)
        if channel.recv(16) != HOOKED:
            os._exit(_SETUP_FAILED)
        _hook("createContainer", "creating", plan, place)
    rootfs.close_off(plan, made)
    stop_imports()
    rootfs.enter(plan, made)
    user = users.resolve(plan.program.user, made.root)
    if place.gate is not None and plan.program.args:
        programfile.find(plan.program.args[0], plan.program.env)
    return Prepared(user, stdio)


def _enter_namespaces(plan: Plan, channel: Channel) -> None:
    """Those that are entered by the process itself; `birth` sees to what its parent must do before."""
    if plan.namespaces & namespaces.CLONE_NEWUSER:
        if channel.recv(16) != MAPPED:
            os._exit(_SETUP_FAILED)
        become_root()
    elif plan.joined and not staged(plan):
        for kind, path in plan.joined:
            namespaces.enter(path, kind)
    if plan.namespaces & namespaces.CLONE_NEWCGROUP:
        namespaces.unshare(namespaces.CLONE_NEWCGROUP)


def staged(plan: Plan) -> bool:
    """Whether some of its namespaces can only be entered by a process between its first one and the parent.

    A time or PID namespace is entered by children alone, and a user namespace must be before what it owns.
    """
    if plan.namespaces & (namespaces.CLONE_NEWTIME | namespaces.CLONE_NEWUSER):
        return bool(plan.joined or plan.namespaces & namespaces.CLONE_NEWTIME)
    stepped = namespaces.CLONE_NEWPID | namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWTIME
    return any(kind & stepped for kind, _ in plan.joined)


def become_root() -> None:
    """Be user 0 of the user namespace just entered, whoever that is outside."""
    set_groups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def set_groups(groups: Sequence[int]) -> None:
    """Have these groups besides one's own; none where the user namespace denies it (user_namespaces(7))."""
    try:
        os.setgroups(groups)
    except PermissionError:
        if groups:
            raise


def _hook(kind: str, status: str, plan: Plan, place: Place) -> None:
    """Run hooks inside; the process numbers of their state are the container's."""
    if kind not in plan.hooks:
        return
    from engine.launch import hooks

    hooks.run(kind, plan.hooks, lambda: {**(place.state or {}), "status": status, "pid": os.getpid()})


def _open_null(made: rootfs.Made) -> int:
    """The container's null device; what else is in its place is not even opened: nothing is masked yet."""
    found = nodes.null_of(made.root) if made.null is None else os.dup(made.null)
    try:
        nodes.check_null(found)
        return os.open(mount.by_descriptor(found), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(found)


def _open_terminal(
    made: rootfs.Made, wanted: tuple[int, int] | None, size: terminal.Size, channel: Channel
) -> Stdio:
    size = terminal.Size(*wanted) if wanted else size
    pts = open_pts(made.root) if made.pts is None else made.pts
    slave = attach_terminal(pts, size, channel)
    # The slave is shown as /dev/console, over a file made in our own /dev (CVE-2025-52565).
    with contextlib.suppress(FileNotFoundError):
        directory = syscalls.openat2(
            made.root,
            "dev",
            os.O_PATH | os.O_DIRECTORY,
            syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS,
        )
        try:
            _console(directory, slave, ours=mount.file_system(directory) == mount.TMPFS_MAGIC)
        except FileExistsError:
            raise LaunchError("cannot give a terminal", "something lies at its /dev/console") from None
        finally:
            os.close(directory)
    return Stdio(slave, slave, slave, size)


def open_pts(root: int) -> int:
    """The container's own devpts, if what it shows at /dev/pts is one; LaunchError if not."""
    try:
        found = syscalls.openat2(
            root,
            "dev/pts",
            os.O_PATH | os.O_DIRECTORY,
            syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS,
        )
    except OSError as error:
        raise LaunchError("cannot give a terminal", f"/dev/pts: {syscalls.reason(error)}") from error
    if mount.file_system(found) != mount.DEVPTS_MAGIC:
        raise LaunchError("cannot give a terminal", "/dev/pts in the container is no devpts")
    return found


def _console(directory: int, slave: int, *, ours: bool) -> None:
    """Show the terminal as *directory*'s console; a /dev that is not *ours* keeps the files that it has."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    flags |= os.O_CREAT | os.O_EXCL if ours else os.O_PATH
    console = os.open("console", flags, 0o600, dir_fd=directory)
    tree = mount.clone_tree(slave)
    try:
        mount.move_mount(tree, console)
    finally:
        os.close(tree)
        os.close(console)


def attach_terminal(pts: int, size: terminal.Size, channel: Channel) -> int:
    """Make a terminal in the devpts *pts*, send its master away, make its slave this session's; the slave."""
    master, slave = terminal.open_pair(pts)
    terminal.set_size(slave, size)
    terminal.make_controlling(slave)
    request.send_descriptors(channel, request.TERMINAL, [master])
    os.close(master)
    return slave


def execute(
    program: Program, user: users.User, stdio: Stdio, channel: Channel, *, first: bool = False
) -> NoReturn:
    """Become *program*, in the container already: descriptors, limits, identity, capabilities, exec.

    What fails at the very end goes over *channel*. A working directory that is missing is made for the
    *first* process alone. Raises LaunchError with docker's codes: 126 for what cannot be executed, 127 for
    what is not there.
    """
    environment = dict(program.env)
    environment.setdefault("HOME", user.home)
    streams = [descriptor for descriptor in stdio[:3] if descriptor is not None]
    _standard_streams(streams, user, program.preserved)
    os.umask(program.umask)
    for name, soft, hard in program.limits:
        process.set_limit(name, soft, hard)
    if program.confined:
        from engine.launch import confinement

        confinement.apply(program)
    _enter(program.cwd, make=first)
    process.reset_signals(IGNORED)
    held = _become_user(program, user)
    path = programfile.find(program.args[0], environment)
    step = programfile.prepare(path, channel.fileno())
    _filter(program, held)
    raise programfile.become(step, path, program.args, environment)


def _standard_streams(streams: Sequence[int], user: users.User, preserved: int) -> None:
    """Put *streams* at 0, 1 and 2, the user's own unless that is root; *preserved* more go through exec."""
    high = [os.dup(descriptor) if descriptor < 3 else descriptor for descriptor in streams]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number)
        if user.uid:
            with contextlib.suppress(OSError):  # what was handed to us may be on a read-only file system
                if os.fstat(number).st_rdev != nodes.NULL:
                    os.fchown(number, user.uid, -1)
    syscalls.close_range(3 + preserved, flags=syscalls.CLOSE_RANGE_CLOEXEC)


def _enter(path: str, *, make: bool) -> None:
    try:
        os.chdir(path)
    except FileNotFoundError as missing:
        if not make:
            raise CommandNotFoundError(
                f"cannot change to the directory {path}", syscalls.reason(missing), "choose another"
            ) from missing
        # Only below a volume or tmpfs: what the image lacks is in the init layer by now.
        try:
            os.makedirs(path, exist_ok=True)
            os.chdir(path)
        except OSError as error:
            raise _no_directory(path, error) from error
    except OSError as error:
        raise _no_directory(path, error) from error
    # A directory outside the root reads as "(unreachable)" or not at all (CVE-2024-21626).
    try:
        inside = os.getcwd().startswith("/")
    except OSError:
        inside = False
    if not inside:
        raise LaunchError(f"cannot work in {path}", "it is outside the container")


def _no_directory(path: str, error: OSError) -> NotExecutableError:
    return NotExecutableError(
        f"cannot change to the directory {path}", syscalls.reason(error), "choose another"
    )


def _become_user(program: Program, user: users.User) -> int:
    """The identity and the capabilities; those that are held until `_filter`, as installing one takes them.

    That is CAP_SYS_ADMIN, if there is a filter and new privileges are not forbidden.
    """
    capabilities.drop_bounding(program.bounding)
    capabilities.clear_ambient()
    own = (user.gid,) if program.own_group else ()
    set_groups(tuple(dict.fromkeys((*own, *user.groups, *program.groups))))
    os.setresgid(user.gid, user.gid, user.gid)
    # Whoever is not root keeps them until exec, where those that are ambient stay (capabilities(7)).
    held = capabilities.SYS_ADMIN if program.filter.program and not program.no_new_privileges else 0
    if user.uid:
        process.keep_capabilities()
    os.setresuid(user.uid, user.uid, user.uid)
    if user.uid:
        process.hide()  # where fs.suid_dumpable is 1, a change of user undoes that (proc_sys_fs(5))
    effective, permitted, inheritable = program.effective, program.permitted, program.inheritable
    capabilities.set_sets(effective | held, permitted | held, inheritable)
    if program.ambient:
        capabilities.raise_ambient(program.ambient)
    if program.no_new_privileges:
        process.forbid_new_privileges()
    return held & ~permitted


def _filter(program: Program, held: int) -> None:
    """Install its filter, after which nothing but exec need pass it, and let go of what was *held*."""
    if program.filter.program:
        seccomp.install(program.filter)
    if held:
        capabilities.set_sets(program.effective, program.permitted, program.inheritable)
