"""A first process without an interpreter: what most containers take, as one script of system calls.

It does what `init` and `rootfs` do, in their order, for a plan that leaves nothing to be decided on the way.
What its parent can prepare it has prepared (`detached`). Whenever something is not as it was thought to be,
the script ends, nobody has seen anything of the container, and `init` does it again with all its care: there
alone are the reasons why a container cannot be started.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from engine.errors import CowlError
from engine.kernel import (
    capabilities,
    channel,
    mount,
    namespaces,
    process,
    script,
    seccomp,
    syscalls,
    terminal,
)
from engine.kernel.script import Label, Result, Script
from engine.launch import detached, init, nodes, programfile, rootfs, users
from engine.launch.birth import Born
from engine.launch.detached import Attached, Mounted, Shown, Unsuited
from engine.launch.isolation import IGNORED
from engine.launch.mounting import CgroupView
from engine.launch.plan import Plan
from engine.launch.program import Program
from engine.launch.steps import Attributes
from engine.record import Record

_NEEDED = namespaces.CLONE_NEWNS | namespaces.CLONE_NEWPID
_POSSIBLE = (
    _NEEDED
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWCGROUP
)
_LEAST_MEMORY = 64 << 20
"""Bytes. Should its memory run out while it shares its parent's, the kernel would end that one as well."""
_ACCOUNTS = ("/etc", "/etc/passwd", "/etc/group")
_KERNEL = {"proc": "proc", "sys": "sysfs"}
_HERE = -100
"""AT_FDCWD."""
_NOBODYS = 100
"""A descriptor of scripts that are not played."""
_AF_INET, _SOCK_DGRAM = 2, 2
_TIOCSCTTY = 0x540E
_F_SETFD = 2
_X_OK = 1
_SIG_SETMASK = 2
_JOIN_SESSION_KEYRING = 1
_SIGSET_BYTES = 8
_SIGACTION_BYTES = 32
_SECCOMP_SET_MODE_FILTER = 1
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_IN_ONE = _BENEATH | syscalls.RESOLVE_NO_XDEV
_CLONED = mount.OPEN_TREE_CLONE | mount.OPEN_TREE_CLOEXEC | syscalls.AT_EMPTY_PATH
_ATTACH = mount.MOVE_MOUNT_F_EMPTY_PATH | mount.MOVE_MOUNT_T_EMPTY_PATH
_PATH_ONLY = os.O_PATH | os.O_CLOEXEC


class Ahead(Record):
    """What has been made before it was known for which container."""

    network: namespaces.Network | None = None
    """Its network namespace."""
    stock: detached.Stock | None = None


@functools.cache
def available() -> bool:
    """Whether there can be any here. It is asked before the forks that want to know."""
    return script.available() and mount.overlays_are_detached()


def bear(plan: Plan, place: init.Place, into: int | None, ahead: Ahead) -> Born:
    """As `birth.bear_in`. Raises Unsuited, with the network untouched, where an interpreter has to do it."""
    _check(plan, place)
    network = ahead.network
    with ExitStack() as opened:
        ours, theirs = channel.pair()
        opened.callback(theirs.close)
        unless_born = opened.enter_context(ExitStack())
        unless_born.callback(ours.close)
        try:
            place = place._replace(networked=network is not None)
            assert isinstance(place.source, rootfs.Stack)
            size = _size(plan, place)
            furniture = detached.furnish(plan, place.source, place.cgroup.views, size, opened, ahead.stock)
            play = _Writer(plan, place, furniture, theirs.fileno(), opened).write()
        except (CowlError, OSError) as error:
            raise Unsuited(str(error)) from error
        flags = plan.namespaces & ~namespaces.CLONE_NEWCGROUP
        if network is None:
            pid = play.run(flags, into)
        elif flags & namespaces.CLONE_NEWNET:
            with network.entered():
                pid = play.run(flags & ~namespaces.CLONE_NEWNET, into)
        else:
            network.close()
            pid = play.run(flags, into)
        unless_born.pop_all()
        master = None if furniture.screen is None else os.dup(furniture.screen.master)
        return Born(pid, os.pidfd_open(pid), ours, play, master)


def rehearse(plan: Plan, views: Sequence[CgroupView], stock: detached.Stock) -> None:
    """Write a script for *plan* that is never played, on the host's own root: nothing of that is changed."""
    with ExitStack() as opened:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, root)
        numbers = range(_NOBODYS, _NOBODYS + len(views))
        stdio = init.Stdio(None, _NOBODYS, _NOBODYS)
        joinable = init.Joinable(tuple(numbers), tuple(views))
        place = init.Place(rootfs.Directory("/"), joinable, stdio, networked=True)
        # Closing a mount that has been attached nowhere waits for all processors: none is made here.
        steps = tuple(step for step in plan.steps if step.kind != "cgroup")
        furniture = detached.place_in(root, "/", plan._replace(steps=steps), (), stdio.size, opened, stock)
        names = tuple(zip(numbers, (view.name for view in views), strict=True))
        shown = detached.Shown(stock.directory, names, Attributes())
        furniture = furniture._replace(parts=(*furniture.parts, shown))
        _Writer(plan, place, furniture, root, opened).write().build()


def _size(plan: Plan, place: init.Place) -> terminal.Size:
    return terminal.Size(*plan.program.size) if plan.program.size else place.stdio.size


def _check(plan: Plan, place: init.Place) -> None:
    """Raise Unsuited for what is rare, or decided by what is found on the way."""
    program = plan.program
    suited = (
        available()
        and isinstance(place.source, rootfs.Stack)
        and plan.namespaces & ~_POSSIBLE == 0
        and plan.namespaces & _NEEDED == _NEEDED
        and not (plan.joined or plan.hooks or plan.devices or plan.sysctls or plan.on_host)
        and not plan.propagation & (mount.MS_SHARED | mount.MS_UNBINDABLE)
        and plan.pivots
        and place.gate is None
        and not place.trees
        and not program.confined
        and program.oom_score_adj is None
        and not program.preserved
        and program.args
        and all(descriptor is None or descriptor > 2 for descriptor in place.stdio[:3])
        and not any(step.destination in _ACCOUNTS for step in plan.steps)
    )
    limit = (plan.resources.get("memory") or {}).get("limit") or 0
    if not suited or 0 < limit < _LEAST_MEMORY:
        raise Unsuited("something rare")


def _user(program: Program, root: int) -> users.User:
    """Who the program is; its names are looked up in files of the image that no link leads to."""
    for path in _ACCOUNTS[1:]:
        with suppress(FileNotFoundError):
            os.close(syscalls.openat2(root, path.lstrip("/"), os.O_PATH, _BENEATH))
    return users.resolve(program.user, root)


def _tops(plan: Plan) -> list[str]:
    """Of /proc and /sys, what has something to be hidden in it; both are the kernel's, and whole."""
    paths = (*plan.read_only_paths, *plan.masked)
    found = [name for name in _KERNEL if any(path.startswith(f"/{name}/") for path in paths)]
    if not all(path.startswith(tuple(f"/{name}/" for name in found)) for path in paths):
        raise Unsuited("something hidden elsewhere")
    for name in found:
        kinds = {step.destination: step.kind for step in plan.steps}
        inside = {path for path in kinds if path.startswith(f"/{name}/")}
        if kinds.get(f"/{name}") != _KERNEL[name] or inside - {detached.CGROUPS}:
            raise Unsuited(f"a /{name} that is not the kernel's alone")
    return found


class _Writer:
    """Writes the script of one container."""

    def __init__(
        self,
        plan: Plan,
        place: init.Place,
        furniture: detached.Furniture,
        channel_: int,
        opened: ExitStack,
    ) -> None:
        self._plan = plan
        self._place = place
        self._channel = channel_
        self._furniture = furniture
        self._user = _user(plan.program, self._furniture.root)
        self._streams = self._open_streams(opened)
        step = programfile.prepare(plan.program.args[0], channel_)
        if step is None:
            raise Unsuited("no step before the program")
        opened.callback(os.close, step)
        self._step = step
        self._covered = False
        self._script = Script(channel_)
        self._do = self._script.call

    def write(self) -> Script:
        """All of it, from a copy of the monitor to the program."""
        self._leave_parent()
        self._mount()
        self._restrict()
        self._pivot()
        self._do("wait", script.NR_RECVFROM, self._channel, bytes(16), 16, 0, 0, 0, least=1)
        self._become()
        return self._script

    def _open_streams(self, opened: ExitStack) -> list[int]:
        if self._furniture.screen is not None:
            return [self._furniture.screen.slave] * 3
        streams = self._place.stdio[:3]
        null = -1
        if None in streams:
            nodes.check_null(self._furniture.null)
            path = mount.by_descriptor(self._furniture.null)
            null = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            opened.callback(os.close, null)
        return [null if descriptor is None else descriptor for descriptor in streams]

    def _kept(self) -> set[int]:
        """What the child needs of what its parent has open."""
        furniture = self._furniture
        kept = {self._channel, *self._place.cgroup.entries, *self._streams, self._step}
        kept |= {furniture.root, furniture.null, furniture.empty}
        if furniture.screen is not None:
            kept.add(furniture.screen.console)
        for part in furniture.parts:
            if isinstance(part, Shown):
                kept |= {part.directory, *(tree for tree, _ in part.views)}
                continue
            if isinstance(part, Attached):
                kept.add(part.tree)
            if isinstance(part.target, int):
                kept.add(part.target)
        return kept

    def _leave_parent(self) -> None:
        plan, do = self._plan, self._do
        script.close_all_but(self._script, self._kept())
        for entry in self._place.cgroup.entries:
            do("join the cgroup", script.NR_WRITE, entry, b"0", 1)
        if plan.namespaces & namespaces.CLONE_NEWCGROUP:
            do("make a cgroup namespace", script.NR_UNSHARE, namespaces.CLONE_NEWCGROUP)
        do("begin a session", script.NR_SETSID)
        if plan.new_keyring:
            self._script.attempt("leave the keyring", script.NR_KEYCTL, _JOIN_SESSION_KEYRING, 0)
        for name, number in (
            (plan.hostname, script.NR_SETHOSTNAME),
            (plan.domainname, script.NR_SETDOMAINNAME),
        ):
            if name:
                text = os.fsencode(name)
                do("set its name", number, text, len(text))
        if plan.namespaces & namespaces.CLONE_NEWNET and not self._place.networked:
            asking = do("ask for loopback", script.NR_SOCKET, _AF_INET, _SOCK_DGRAM, 0)
            wanted = namespaces.loopback_up()
            do("bring up loopback", script.NR_IOCTL, asking, namespaces.SIOCSIFFLAGS, wanted)
            do("close it", script.NR_CLOSE, asking)

    def _mount(self) -> None:
        furniture, do = self._furniture, self._do
        shared = mount.MS_REC | detached.inherited(self._plan)
        do("have mounts of its own", script.NR_MOUNT, 0, b"/", 0, shared, 0)
        over = os.fsencode(furniture.target)
        how = mount.MOVE_MOUNT_F_EMPTY_PATH
        do("attach the root", syscalls.NR_MOVE_MOUNT, furniture.root, b"", _HERE, over, how)
        for part in furniture.parts:
            if isinstance(part, Attached):
                self._attach(part.tree, self._place_of(part.target))
            elif isinstance(part, Mounted):
                self._mount_new(part)
            else:
                self._show(part)
        if furniture.screen is not None:
            slave = furniture.screen.slave
            do("take the terminal", script.NR_IOCTL, slave, _TIOCSCTTY, 0)
            tree = do("copy the terminal", syscalls.NR_OPEN_TREE, slave, b"", _CLONED)
            self._attach(tree, furniture.screen.console)

    def _attach(self, tree: int | Result, target: int | Result) -> None:
        self._do("attach a mount", syscalls.NR_MOVE_MOUNT, tree, b"", target, b"", _ATTACH)

    def _place_of(self, target: int | str) -> int | Result:
        if isinstance(target, int):
            return target
        return self._open(self._furniture.root, target.lstrip("/"), _PATH_ONLY, _BENEATH)

    def _open(
        self,
        directory: int | Result,
        path: str,
        flags: int,
        rules: int,
        otherwise: Label | None = None,
    ) -> Result:
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, rules)
        name = os.fsencode(path)
        return self._do(
            f"open {path}", syscalls.NR_OPENAT2, directory, name, how, len(how), otherwise=otherwise
        )

    def _mount_new(self, part: Mounted) -> None:
        target = part.target
        if isinstance(target, str):
            raise Unsuited(f"a mount at {target}")
        step = part.step
        self._do(
            f"mount {step.kind}",
            script.NR_MOUNT,
            os.fsencode(step.source),
            os.fsencode(mount.by_descriptor(target)),
            os.fsencode(step.kind),
            step.flags,
            os.fsencode(part.data) if part.data else 0,
        )

    def _show(self, part: Shown) -> None:
        how = mount.MOVE_MOUNT_F_EMPTY_PATH
        for tree, name in part.views:
            text = os.fsencode(name)
            self._do("show a cgroup", syscalls.NR_MOVE_MOUNT, tree, b"", part.directory, text, how)
        attributes = part.attributes
        wanted = mount.mount_attr(attributes.add, attributes.remove, detached.inherited(self._plan))
        self._change(part.directory, wanted)

    def _change(self, tree: int | Result, wanted: bytes, *, recursive: bool = True) -> None:
        at = syscalls.AT_EMPTY_PATH | (mount.AT_RECURSIVE if recursive else 0)
        self._do("change a mount", syscalls.NR_MOUNT_SETATTR, tree, b"", at, wanted, len(wanted))

    def _restrict(self) -> None:
        """As `restrictions.restrict`, and the root as `rootfs.close_off`."""
        plan = self._plan
        tops = {
            name: self._open(self._furniture.root, name, os.O_PATH | os.O_DIRECTORY, _BENEATH)
            for name in _tops(plan)
        }
        read_only = mount.mount_attr(mount.ATTR_RDONLY)
        for path in plan.read_only_paths:
            _, top, rest = path.split("/", 2)
            absent = Label()
            found = self._open(tops[top], rest, os.O_PATH, _IN_ONE, absent)
            flags = _CLONED | mount.AT_RECURSIVE
            tree = self._do("copy a mount", syscalls.NR_OPEN_TREE, found, b"", flags)
            self._change(tree, read_only)
            self._attach(tree, found)
            self._script.label(absent)
        for path in plan.masked:
            _, top, rest = path.split("/", 2)
            self._mask(path, tops[top], rest)
        attributes = mount.ATTR_RDONLY if plan.read_only else 0
        attributes |= mount.ATTR_NODEV if plan.no_devices else 0
        if attributes:
            self._change(self._furniture.root, mount.mount_attr(attributes), recursive=False)

    def _mask(self, path: str, top: Result, rest: str) -> None:
        absent = Label()
        directory = detached.is_directory(path)
        flags = os.O_PATH | (os.O_DIRECTORY if directory else 0)
        found = self._open(top, rest, flags, _IN_ONE, absent if directory is None else None)
        if directory is None:
            self._script.stop(f"{path} is not to be there")
            self._script.label(absent)
            return
        if directory and not self._covered:
            # What is not attached yet cannot be copied (Linux 6.15).
            self._covered = True
            self._attach(self._furniture.empty, found)
            return
        cover = self._furniture.empty if directory else self._furniture.null
        tree = self._do("copy a mount", syscalls.NR_OPEN_TREE, cover, b"", _CLONED)
        self._attach(tree, found)

    def _pivot(self) -> None:
        """As `namespaces.pivot_root`."""
        do = self._do
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        old = do("open the old root", script.NR_OPENAT, _HERE, b"/", flags, 0)
        do("enter the root", script.NR_FCHDIR, self._furniture.root)
        do("pivot into the container's root", script.NR_PIVOT_ROOT, b".", b".")
        do("enter the old root", script.NR_FCHDIR, old)
        do("let go of the old root", script.NR_UMOUNT2, b".", mount.MNT_DETACH)
        do("close the old root", script.NR_CLOSE, old)
        do("enter the root", script.NR_CHDIR, b"/")

    def _become(self) -> None:
        """As `init.execute`."""
        program, user, do = self._plan.program, self._user, self._do
        self._hand_over_streams()
        do("set the umask", script.NR_UMASK, program.umask)
        for name, soft, hard in program.limits:
            value = process.limit_value(soft, hard)
            do(f"set {name}", script.NR_PRLIMIT64, 0, process.RLIMITS.index(name), value, 0)
        # A directory outside the root is reached over a link of /proc alone (CVE-2024-21626).
        rules = syscalls.RESOLVE_NO_MAGICLINKS
        where = self._open(_HERE, program.cwd, os.O_PATH | os.O_DIRECTORY, rules)
        do("change the directory", script.NR_FCHDIR, where)
        usual, none = bytes(_SIGACTION_BYTES), bytes(_SIGSET_BYTES)
        for number in IGNORED:
            do("reset a signal", script.NR_RT_SIGACTION, number, usual, 0, _SIGSET_BYTES)
        do("unblock signals", script.NR_RT_SIGPROCMASK, _SIG_SETMASK, none, 0, _SIGSET_BYTES)
        held = self._become_user()
        environment = dict(program.env)
        environment.setdefault("HOME", user.home)
        self._execute(environment, held)

    def _hand_over_streams(self) -> None:
        do, user = self._do, self._user
        for number, descriptor in enumerate(self._streams):
            do("hand over a stream", script.NR_DUP3, descriptor, number, 0)
            if user.uid and os.fstat(descriptor).st_rdev != nodes.NULL:
                self._script.attempt("give a stream away", script.NR_FCHOWN, number, user.uid, -1)
        flags = syscalls.CLOSE_RANGE_CLOEXEC
        do("close descriptors", syscalls.NR_CLOSE_RANGE, 3, 0x7FFFFFFF, flags)
        do("keep the channel", script.NR_FCNTL, self._channel, _F_SETFD, 0)

    def _become_user(self) -> int:
        """As `init._become_user`: the capabilities that are held until the filter is there."""
        program, user = self._plan.program, self._user
        prctl = self._prctl
        for number in range(capabilities.last() + 1):
            if not program.bounding >> number & 1:
                prctl(capabilities.PR_CAPBSET_DROP, number)
        prctl(capabilities.PR_CAP_AMBIENT, capabilities.PR_CAP_AMBIENT_CLEAR_ALL)
        own = (user.gid,) if program.own_group else ()
        groups = tuple(dict.fromkeys((*own, *user.groups, *program.groups)))
        do = self._do
        do("set groups", script.NR_SETGROUPS, len(groups), struct.pack(f"={len(groups)}I", *groups))
        do("set the group", script.NR_SETRESGID, user.gid, user.gid, user.gid)
        held = capabilities.SYS_ADMIN if program.filter.program and not program.no_new_privileges else 0
        if user.uid:
            prctl(process.PR_SET_KEEPCAPS, 1)
        do("set the user", script.NR_SETRESUID, user.uid, user.uid, user.uid)
        if user.uid:
            prctl(process.PR_SET_DUMPABLE, 0)
        self._set_capabilities(program.effective | held, program.permitted | held, program.inheritable)
        for number in range(64):
            if program.ambient >> number & 1:
                prctl(capabilities.PR_CAP_AMBIENT, capabilities.PR_CAP_AMBIENT_RAISE, number)
        if program.no_new_privileges:
            prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        return held & ~program.permitted

    def _prctl(self, option: int, value: int, more: int = 0) -> None:
        self._do("set an attribute", script.NR_PRCTL, option, value, more, 0, 0)

    def _set_capabilities(self, effective: int, permitted: int, inheritable: int) -> None:
        header, sets = capabilities.packed(effective, permitted, inheritable)
        self._do("set capabilities", script.NR_CAPSET, header, sets)

    def _execute(self, environment: dict[str, str], held: int) -> None:
        """Look for the program as its user; the first that could be executed is, for good or ill."""
        program = self._plan.program
        filter_ = seccomp.packed(program.filter) if program.filter.program else None
        arguments = list(map(os.fsencode, program.args))
        variables = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
        step = os.fsencode(mount.by_descriptor(self._step))
        for path in map(os.fsencode, programfile.places(program.args[0], environment)):
            other, plain = Label(), Label()
            self._do("find", script.NR_FACCESSAT, _HERE, path, _X_OK, otherwise=other)
            flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
            self._do("look", script.NR_OPENAT, _HERE, path, flags, 0, otherwise=plain)
            self._script.stop("a directory is no program")
            self._script.label(plain)
            if filter_ is not None:
                head, code = filter_
                self._script.keep(code)
                mode, bits = _SECCOMP_SET_MODE_FILTER, program.filter.flags
                self._do("install the filter", script.NR_SECCOMP, mode, bits, head)
            if held:
                self._set_capabilities(program.effective, program.permitted, program.inheritable)
            self._do("execute", script.NR_EXECVE, step, [path, *arguments], variables)
            self._script.label(other)
        self._script.stop("the program is not there")
