"""What a container's first process does before it becomes the program: config.json, executed as written.

It runs in a fork of the monitor and ends in exec or, after it has said why over its channel, in `_exit`.
Nothing may be imported here once the process has left the host's root.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import NoReturn

from engine.containers import request, rootfs, users
from engine.containers.isolation import IGNORED
from engine.containers.plan import Plan, Program
from engine.errors import CommandNotFoundError, CowlError, LaunchError, NotExecutableError
from engine.kernel import capabilities, mount, namespaces, process, seccomp, syscalls, terminal
from engine.kernel.cgroup import join
from engine.kernel.channel import Channel, sethostname
from engine.record import Record

READY = b"R"
"""From the child: everything is prepared. The monitor answers GO once it has recorded whom it watches."""
GO = b"G"
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
    views: tuple[rootfs.CgroupView, ...]


def become(plan: Plan, stack: rootfs.Stack, cgroup: Joinable, stdio: Stdio, channel: Channel) -> NoReturn:
    """Be the first process of the container; never returns."""
    try:
        _prepare(plan, stack, cgroup, stdio, channel)
    except (CowlError, OSError) as error:
        tell(channel, error)
    finally:
        os._exit(_SETUP_FAILED)


def tell(channel: Channel, error: BaseException) -> None:
    """Say over *channel* what failed; nobody listening means that nobody needs to know."""
    with contextlib.suppress(OSError):
        channel.send(request.FAILED + request.failure(error))


def _prepare(plan: Plan, stack: rootfs.Stack, cgroup: Joinable, stdio: Stdio, channel: Channel) -> None:
    join(cgroup.entries)
    for kind, path in plan.joined:
        namespaces.enter(path, kind)
    if plan.namespaces & namespaces.CLONE_NEWCGROUP:
        namespaces.unshare(namespaces.CLONE_NEWCGROUP)
    os.setsid()
    if plan.namespaces & namespaces.CLONE_NEWUTS and plan.hostname:
        sethostname(plan.hostname)
        if plan.domainname:
            namespaces.set_domain_name(plan.domainname)
    if plan.namespaces & namespaces.CLONE_NEWNET:
        namespaces.bring_up_loopback()
    made = rootfs.build(plan, stack, cgroup.views)
    if plan.program.terminal:
        stdio = _open_terminal(made, stdio.size, channel)
    elif None in stdio[:3]:
        null = _open_null(made)
        stdin, stdout, stderr = (null if descriptor is None else descriptor for descriptor in stdio[:3])
        stdio = Stdio(stdin, stdout, stderr, stdio.size)
    namespaces.pivot_root(made.root)
    user = users.resolve(plan.program.user, made.root)
    channel.send(READY)
    if channel.recv(16) != GO:
        os._exit(_SETUP_FAILED)
    execute(plan.program, user, stdio)


def _open_null(made: rootfs.Made) -> int:
    if made.null is None:
        return syscalls.openat2(made.root, "/dev/null", os.O_RDWR | os.O_NOCTTY, syscalls.RESOLVE_IN_ROOT)
    return os.open(mount.by_descriptor(made.null), os.O_RDWR | os.O_CLOEXEC)


def _open_terminal(made: rootfs.Made, size: terminal.Size, channel: Channel) -> Stdio:
    if made.pts is None:
        raise LaunchError("cannot give a terminal", "config.json mounts no devpts at /dev/pts")
    slave = attach_terminal(made.pts, size, channel)
    # The slave is shown as /dev/console, over a file made in our own /dev (CVE-2025-52565).
    with contextlib.suppress(FileNotFoundError):
        directory = syscalls.openat2(
            made.root,
            "dev",
            os.O_PATH | os.O_DIRECTORY,
            syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS,
        )
        try:
            if mount.file_system(directory) == mount.TMPFS_MAGIC:
                _console(directory, slave)
        finally:
            os.close(directory)
    return Stdio(slave, slave, slave, size)


def _console(directory: int, slave: int) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
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


def execute(program: Program, user: users.User, stdio: Stdio) -> NoReturn:
    """Become *program*, in the container already: descriptors, limits, identity, capabilities, exec.

    Raises LaunchError with docker's codes: 126 for what cannot be executed, 127 for what is not there.
    """
    environment = dict(program.env)
    environment.setdefault("HOME", user.home)
    streams = [descriptor for descriptor in stdio[:3] if descriptor is not None]
    _standard_streams(streams, user)
    os.umask(program.umask)
    _limits(program)
    _enter(program.cwd)
    process.reset_signals(IGNORED)
    _become_user(program, user)
    _exec(program.args, environment)


def _standard_streams(streams: Sequence[int], user: users.User) -> None:
    """Put *streams* at 0, 1 and 2, the user's own where it is not root, and let nothing else through exec."""
    high = [os.dup(descriptor) if descriptor < 3 else descriptor for descriptor in streams]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number)
        if user.uid:
            with contextlib.suppress(OSError):  # what was handed to us may be on a read-only file system
                if os.fstat(number).st_rdev != rootfs.NULL:
                    os.fchown(number, user.uid, -1)
    syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)


def _limits(program: Program) -> None:
    for name, soft, hard in program.limits:
        process.set_limit(name, soft, hard)
    if program.oom_score_adj is not None:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"%d" % program.oom_score_adj)
        os.close(descriptor)


def _enter(path: str) -> None:
    try:
        os.chdir(path)
    except FileNotFoundError:
        # Only below a volume or tmpfs: what the image lacks is in the init layer by now.
        try:
            os.makedirs(path, exist_ok=True)
            os.chdir(path)
        except OSError as error:
            raise _no_directory(path, error) from error
    except OSError as error:
        raise _no_directory(path, error) from error
    # A directory outside the root reads as "(unreachable)" or not at all (CVE-2024-21626).
    if not os.getcwd().startswith("/"):
        raise LaunchError(f"cannot work in {path}", "it is outside the container")


def _no_directory(path: str, error: OSError) -> NotExecutableError:
    return NotExecutableError(
        f"cannot change to the directory {path}", syscalls.reason(error), "choose another"
    )


def _become_user(program: Program, user: users.User) -> None:
    """The identity, the capabilities, and last the filter: nothing but exec need pass it.

    Without no_new_privs a filter takes CAP_SYS_ADMIN, which is then held until it is installed.
    """
    capabilities.drop_bounding(program.bounding)
    capabilities.clear_ambient()
    groups = tuple(dict.fromkeys((*user.groups, *program.groups)))
    os.setgroups(groups)
    os.setresgid(user.gid, user.gid, user.gid)
    # setresuid from 0 empties the permitted and effective sets, just as docker has it for such users.
    sets = (0, 0, 0) if user.uid else (program.effective, program.permitted, program.inheritable)
    held = capabilities.SYS_ADMIN if program.filter.program and not program.no_new_privileges else 0
    if held and user.uid:
        process.keep_capabilities()
    os.setresuid(user.uid, user.uid, user.uid)
    effective, permitted, inheritable = sets
    capabilities.set_sets(effective | held, permitted | held, inheritable)
    if program.ambient and not user.uid:
        capabilities.raise_ambient(program.ambient)
    if program.no_new_privileges:
        process.forbid_new_privileges()
    if program.filter.program:
        seccomp.install(program.filter)
    if held and not permitted & held:
        capabilities.set_sets(effective, permitted, inheritable)


def _exec(args: Sequence[str], environment: dict[str, str]) -> NoReturn:
    name = args[0]
    if "/" in name:
        places = [name]
    else:
        path = environment.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        places = [f"{directory or '.'}/{name}" for directory in path.split(":")]
    denied: OSError | None = None
    for place in places:
        try:
            os.execve(place, list(args), environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.lexists(place) and os.path.isfile(place):
                raise CommandNotFoundError(
                    f"cannot execute {place}", "the interpreter that it names is not in the image"
                ) from error
        except PermissionError as error:
            denied = error
        except OSError as error:
            raise NotExecutableError(f"cannot execute {place}", syscalls.reason(error)) from error
    if denied is not None:
        raise NotExecutableError(
            f"cannot execute {name}",
            syscalls.reason(denied),
            "look at its mode and whether it is a directory",
        )
    hint = "look at PATH and at what the image has" if "/" not in name else "look at what the image has"
    raise CommandNotFoundError(f"command not found: {name}", "the container has no such file", hint)
