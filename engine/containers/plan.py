"""A runtime-spec document turned into what the child has to do: all looked up and checked before the fork.

Nothing of the container exists yet when this runs, so that every malformed document fails with a sentence and
without a trace.
"""

from __future__ import annotations

import posixpath
from typing import Any

from engine.containers.filters import filter_of
from engine.errors import LaunchError
from engine.kernel import capabilities, mount, namespaces, process, seccomp
from engine.model import JSON
from engine.oci.runtime import USER_ANNOTATION
from engine.record import Record

_SET = {
    "ro": mount.MS_RDONLY,
    "nosuid": mount.MS_NOSUID,
    "nodev": mount.MS_NODEV,
    "noexec": mount.MS_NOEXEC,
    "sync": mount.MS_SYNCHRONOUS,
    "dirsync": mount.MS_DIRSYNC,
    "noatime": mount.MS_NOATIME,
    "nodiratime": mount.MS_NODIRATIME,
    "relatime": mount.MS_RELATIME,
    "strictatime": mount.MS_STRICTATIME,
    "nosymfollow": mount.MS_NOSYMFOLLOW,
    "bind": mount.MS_BIND,
    "rbind": mount.MS_BIND | mount.MS_REC,
}
_CLEAR = {
    "rw": mount.MS_RDONLY,
    "suid": mount.MS_NOSUID,
    "dev": mount.MS_NODEV,
    "exec": mount.MS_NOEXEC,
    "async": mount.MS_SYNCHRONOUS,
    "atime": mount.MS_NOATIME,
    "diratime": mount.MS_NODIRATIME,
    "norelatime": mount.MS_RELATIME,
    "nostrictatime": mount.MS_STRICTATIME,
    "defaults": 0,
}
_PROPAGATION = {
    "private": mount.MS_PRIVATE,
    "rprivate": mount.MS_PRIVATE | mount.MS_REC,
    "slave": mount.MS_SLAVE,
    "rslave": mount.MS_SLAVE | mount.MS_REC,
    "shared": mount.MS_SHARED,
    "rshared": mount.MS_SHARED | mount.MS_REC,
    "unbindable": mount.MS_UNBINDABLE,
    "runbindable": mount.MS_UNBINDABLE | mount.MS_REC,
}
_JOINED_BY_THE_CHILD = (namespaces.CLONE_NEWNET, namespaces.CLONE_NEWIPC, namespaces.CLONE_NEWUTS)


class Step(Record):
    """One mount."""

    destination: str
    """Absolute and normal."""
    kind: str
    """A file system's name, or ``bind``."""
    source: str
    flags: int
    propagation: int
    data: str


class Device(Record):
    """A device node to be made."""

    path: str
    mode: int
    """With S_IFCHR or S_IFBLK."""
    number: int
    uid: int
    gid: int


class Program(Record):
    """A process to be run in a container: what an exec and a container's first process have in common."""

    args: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    user: str
    """``user[:group]``, to be looked up inside."""
    groups: tuple[int, ...]
    """Further groups, besides those that the container's /etc/group gives."""
    terminal: bool
    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    no_new_privileges: bool
    limits: tuple[tuple[str, int, int], ...]
    umask: int
    oom_score_adj: int | None
    filter: seccomp.Filter = seccomp.NONE
    """What its system calls are held to; installed last of all, by `init.execute`."""


class Plan(Record):
    """Everything that a container's first process does before it becomes the program."""

    namespaces: int
    """CLONE_NEW… bits."""
    hostname: str
    domainname: str
    read_only: bool
    steps: tuple[Step, ...]
    devices: tuple[Device, ...]
    masked: tuple[str, ...]
    read_only_paths: tuple[str, ...]
    sysctls: tuple[tuple[str, str], ...]
    program: Program
    cgroup_path: str
    resources: JSON
    no_devices: bool = False
    """Whether device nodes of the rootfs must not work."""
    joined: tuple[tuple[int, str], ...] = ()
    """Namespaces that exist already: their CLONE_NEW… bit, and the path of a file that is one (nsfs)."""


def without_devices(plan: Plan) -> Plan:
    """*plan* for a machine that cannot hold a cgroup to its devices: no node can be made, and none works.

    The container's own /dev keeps the harmless ones that are made before the capability goes.
    """
    forbidden = ~capabilities.mask(["CAP_MKNOD"])
    program = plan.program._replace(
        bounding=plan.program.bounding & forbidden,
        effective=plan.program.effective & forbidden,
        permitted=plan.program.permitted & forbidden,
        ambient=plan.program.ambient & forbidden,
    )
    steps = tuple(
        step._replace(flags=step.flags | mount.MS_NODEV) if step.kind == "bind" else step
        for step in plan.steps
    )
    return plan._replace(program=program, steps=steps, no_devices=True)


def plan_of(spec: JSON, filters: str | None = None) -> Plan:
    """What *spec* asks for. Raises LaunchError for what is malformed or not supported.

    *filters* is a directory in which compiled seccomp filters are kept for the next time.
    """
    try:
        return _plan(spec, filters)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LaunchError("config.json is malformed", f"{type(error).__name__}: {error}") from error


def _plan(spec: JSON, filters: str | None) -> Plan:
    linux = spec["linux"]
    flags = 0
    joined: list[tuple[int, str]] = []
    for entry in linux["namespaces"]:
        kind = namespaces.BY_TYPE[entry["type"]]
        if flags & kind or any(kind == other for other, _ in joined):
            raise LaunchError("config.json is malformed", f"the {entry['type']} namespace is named twice")
        if entry.get("path"):
            if kind not in _JOINED_BY_THE_CHILD:
                raise LaunchError(f"cannot join the {entry['type']} namespace {entry['path']}")
            joined.append((kind, entry["path"]))
        else:
            flags |= kind
    if not flags & namespaces.CLONE_NEWNS:
        raise LaunchError("config.json is malformed", "it has no mount namespace")
    return Plan(
        namespaces=flags,
        hostname=spec.get("hostname", ""),
        domainname=spec.get("domainname", ""),
        read_only=bool(spec["root"].get("readonly")),
        steps=tuple(_step(entry) for entry in spec.get("mounts", ())),
        devices=tuple(_device(entry) for entry in linux.get("devices", ())),
        masked=tuple(linux.get("maskedPaths", ())),
        read_only_paths=tuple(linux.get("readonlyPaths", ())),
        sysctls=tuple(linux.get("sysctl", {}).items()),
        program=program_of(
            spec["process"],
            spec.get("annotations", {}).get(USER_ANNOTATION, ""),
            filter_of(linux.get("seccomp"), filters),
        ),
        cgroup_path=linux["cgroupsPath"],
        resources=linux.get("resources", {}),
        joined=tuple(joined),
    )


def program_of(document: JSON, user: str = "", filter_: seccomp.Filter = seccomp.NONE) -> Program:
    """The process object of a document; *user* overrides its numbers with a name of the container's."""
    given = document.get("capabilities", {})
    masks = {
        kind: capabilities.mask(given.get(kind, ()))
        for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    numbers = document.get("user", {})
    uid, gid = numbers.get("uid", 0), numbers.get("gid", 0)
    return Program(
        args=tuple(document["args"]),
        env=dict(_variable(entry) for entry in document.get("env", ())),
        cwd=_normal(document["cwd"]),
        user=user or (f"{uid}:{gid}" if uid or gid else ""),
        groups=tuple(numbers.get("additionalGids", ())),
        terminal=bool(document.get("terminal")),
        no_new_privileges=bool(document.get("noNewPrivileges")),
        limits=tuple(_limit(entry) for entry in document.get("rlimits", ())),
        umask=numbers.get("umask", 0o022),
        oom_score_adj=document.get("oomScoreAdj"),
        filter=filter_,
        **masks,
    )


def _variable(entry: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not name or not equals:
        raise ValueError(f"not an environment variable: {entry!r}")
    return name, value


def _limit(entry: JSON) -> tuple[str, int, int]:
    if entry["type"] not in process.RLIMITS:
        raise ValueError(f"unknown limit {entry['type']}")
    return entry["type"], int(entry["soft"]), int(entry["hard"])


def _normal(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not absolute")
    return posixpath.normpath("/" + path.lstrip("/"))


def _step(entry: dict[str, Any]) -> Step:
    flags = propagation = 0
    data = []
    for option in entry.get("options", ()):
        if option in _SET:
            flags |= _SET[option]
        elif option in _CLEAR:
            flags &= ~_CLEAR[option]
        elif option in _PROPAGATION:
            propagation |= _PROPAGATION[option]
        elif option != "newinstance":  # since Linux 4.7 every devpts mount is a new instance
            data.append(option)
    bound = bool(flags & mount.MS_BIND)
    kind = "bind" if bound else entry["type"]
    if kind == "bind" and not bound:
        flags |= mount.MS_BIND
    return Step(
        destination=_normal(entry["destination"]),
        kind=kind,
        source=entry.get("source", kind),
        flags=flags,
        propagation=propagation,
        data=",".join(data),
    )


def _device(entry: JSON) -> Device:
    import os
    import stat

    kinds = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    return Device(
        path=_normal(entry["path"]),
        mode=kinds[entry["type"]] | entry.get("fileMode", 0o666),
        number=os.makedev(entry.get("major", 0), entry.get("minor", 0)),
        uid=entry.get("uid", 0),
        gid=entry.get("gid", 0),
    )
