"""A runtime-spec document turned into what the child has to do: all looked up and checked before the fork.

Nothing of the container exists yet when this runs, so that every malformed document fails with a sentence and
without a trace.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import LaunchError
from engine.kernel import capabilities, mount, namespaces, process, seccomp
from engine.launch.filters import filter_of
from engine.launch.program import Program
from engine.launch.steps import PROPAGATION, Mappings, Step, absolute, mappings_of, step_of
from engine.model import JSON
from engine.oci.runtime import USER_ANNOTATION
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.launch.hooks import Hook

_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
_OF_IPC = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")
_FROM_THE_HOST = mount.MS_SLAVE | mount.MS_REC
"""How mounts are shared where a document does not say: the host's appear, the container's do not leave it."""


class Device(Record):
    """A device node to be made."""

    path: str
    mode: int
    """With S_IFCHR or S_IFBLK."""
    number: int
    uid: int
    gid: int


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
    mappings: Mappings = Mappings()
    """Of a new user namespace."""
    time_offsets: str = ""
    """As /proc/self/timens_offsets takes them."""
    hooks: dict[str, tuple[Hook, ...]] = {}  # noqa: RUF012  # nobody changes it
    propagation: int = mount.MS_PRIVATE | mount.MS_REC
    """How its root and the mounts of the host below it are shared: one of MS_PRIVATE and its like."""
    new_keyring: bool = True
    """Whether it gets a session keyring of its own."""
    pivots: bool = True
    """Whether its root becomes that of its mount namespace; a ramdisk's root cannot be exchanged."""
    on_host: bool = False
    """Whether it has no mount namespace: what is mounted for it is then to be unmounted."""
    warnings: tuple[str, ...] = ()
    """What was asked for, cannot be had, and may be missing (capabilities, says config.md)."""


def without_devices(plan: Plan) -> Plan:
    """*plan* for a machine that cannot hold a cgroup to its devices: no node can be made, and none works.

    The container's own /dev keeps the harmless ones that are made before the capability goes.
    """
    steps = tuple(
        step._replace(own=step.own.also((mount.ATTR_NODEV, mount.ATTR_NODEV)))
        if step.kind == "bind"
        else step
        for step in plan.steps
    )
    return plan._replace(program=without_mknod(plan.program), steps=steps, no_devices=True)


def without_mknod(program: Program) -> Program:
    """*program* without the capability to make device nodes."""
    kept = ~capabilities.mask(["CAP_MKNOD"])
    return program._replace(
        bounding=program.bounding & kept,
        effective=program.effective & kept,
        permitted=program.permitted & kept,
        ambient=program.ambient & kept,
    )


def plan_of(spec: JSON, filters: str | None = None, bundle: str = "", available: int | None = None) -> Plan:
    """What *spec* asks for. Raises LaunchError for what is malformed or not supported.

    *filters* is how the files begin in which compiled seccomp filters are kept for the next time, *bundle*
    where relative paths begin, *available* the mask of capabilities that can be given, if not known to be.
    """
    try:
        return _plan(spec, filters, bundle, available)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LaunchError("config.json is malformed", f"{type(error).__name__}: {error}") from error


def _plan(spec: JSON, filters: str | None, bundle: str, available: int | None) -> Plan:
    linux = spec.get("linux") or {}
    flags, joined = _namespaces(linux.get("namespaces") or ())
    entered = flags | sum(kind for kind, _ in joined)
    mappings = mappings_of(linux)
    if flags & namespaces.CLONE_NEWUSER and not (mappings.uids and mappings.gids):
        raise LaunchError("cannot make a user namespace", "config.json says no uidMappings or no gidMappings")
    document = spec.get("process") or {"cwd": "/", "args": ()}
    if "process" in spec and not document.get("args"):
        raise ValueError("process.args is empty")
    warnings: list[str] = []
    annotations = spec.get("annotations") or {}
    if not all(key and isinstance(value, str) for key, value in annotations.items()):
        raise ValueError("annotations are not all strings under a name")
    program = program_of(
        document,
        annotations.get(USER_ANNOTATION),
        filter_of(linux.get("seccomp"), filters),
        available,
        warnings,
    )
    propagation = linux.get("rootfsPropagation") or ""
    plan = Plan(
        namespaces=flags,
        hostname=spec.get("hostname") or "",
        domainname=spec.get("domainname") or "",
        read_only=bool(spec["root"].get("readonly")),
        steps=tuple(
            step_of(entry, bundle, linux.get("mountLabel") or "") for entry in spec.get("mounts") or ()
        ),
        devices=_devices(linux.get("devices") or ()),
        masked=tuple(map(absolute, linux.get("maskedPaths") or ())),
        read_only_paths=tuple(map(absolute, linux.get("readonlyPaths") or ())),
        sysctls=_sysctls(linux.get("sysctl") or {}, entered),
        program=program,
        cgroup_path=linux["cgroupsPath"],
        resources=linux.get("resources") or {},
        joined=joined,
        mappings=mappings,
        on_host=not entered & namespaces.CLONE_NEWNS,
        propagation=PROPAGATION[propagation] | mount.MS_REC if propagation else _FROM_THE_HOST,
        warnings=tuple(warnings),
    )
    if not spec.keys() & _RARE and not linux.keys() & _RARE:
        return plan
    return _rare(plan, spec, linux, entered)


_RARE = {"hooks", "timeOffsets", "personality", "intelRdt", "netDevices", "mountLabel"}


def _rare(plan: Plan, spec: JSON, linux: JSON, entered: int) -> Plan:
    """What few documents have."""
    if spec.get("hooks"):
        from engine.launch.hooks import hooks_of

        plan = plan._replace(hooks=hooks_of(spec["hooks"]))
    if offsets := linux.get("timeOffsets"):
        if not plan.namespaces & namespaces.CLONE_NEWTIME:
            raise LaunchError("cannot set timeOffsets", "config.json asks for no new time namespace")
        lines = (
            f"{clock} {int(entry.get('secs', 0))} {int(entry.get('nanosecs', 0))}\n"
            for clock, entry in offsets.items()
        )
        plan = plan._replace(time_offsets="".join(lines))
    if linux.get("personality"):
        from engine.launch.confinement import with_personality

        plan = plan._replace(program=with_personality(plan.program, linux["personality"]))
    if label := linux.get("mountLabel"):
        from engine.launch.confinement import has_selinux

        if not has_selinux():
            raise LaunchError(f"cannot apply the label {label}", "SELinux is not enabled in this kernel")
    for name in ("intelRdt", "netDevices"):
        if linux.get(name):
            raise LaunchError(f"cannot apply linux.{name}", "cowl does not support it", "leave it out")
    return plan


def _namespaces(entries: Sequence[JSON]) -> tuple[int, tuple[tuple[int, str], ...]]:
    """The bits of those to be made, and those to be entered."""
    flags = 0
    joined: list[tuple[int, str]] = []
    for entry in entries:
        kind = namespaces.BY_TYPE[entry["type"]]
        if flags & kind or any(kind == other for other, _ in joined):
            raise ValueError(f"the {entry['type']} namespace is named twice")
        if entry.get("path"):
            joined.append((kind, absolute(entry["path"])))
        else:
            flags |= kind
    return flags, tuple(joined)


def _sysctls(values: JSON, entered: int) -> tuple[tuple[str, str], ...]:
    """Those of a document, all of which must be of the container's own namespaces: *entered* says which."""
    for name in values:
        dotted = name.replace("/", ".")
        if dotted.startswith("net."):
            kind = namespaces.CLONE_NEWNET
        elif dotted.startswith(_OF_IPC):
            kind = namespaces.CLONE_NEWIPC
        elif dotted in ("kernel.hostname", "kernel.domainname"):
            kind = namespaces.CLONE_NEWUTS
        else:
            raise LaunchError(
                f"cannot set the sysctl {name}", "it is not one of a namespace: it is the host's"
            )
        if not entered & kind:
            raise LaunchError(
                f"cannot set the sysctl {name}", "the container shares that namespace with the host"
            )
    return tuple(values.items())


def program_of(
    document: JSON,
    user: str | None = None,
    filter_: seccomp.Filter = seccomp.NONE,
    available: int | None = None,
    warnings: list[str] | None = None,
) -> Program:
    """The process object of a document; *user* overrides its numbers with a name of the container's.

    Capabilities that are not known, or not in *available*, are left out; *warnings* gets a line for each.
    """
    given = document.get("capabilities") or {}
    masks = {kind: _mask(given.get(kind) or (), available, warnings) for kind in _SETS}
    _leave_out(masks, "effective", masks["permitted"], warnings)
    _leave_out(masks, "ambient", masks["permitted"] & masks["inheritable"], warnings)
    numbers = document.get("user") or {}
    program = Program(
        args=tuple(document["args"]),
        env=dict(_variable(entry) for entry in document.get("env") or ()),
        cwd=absolute(document["cwd"]),
        user=f"{int(numbers.get('uid', 0))}:{int(numbers.get('gid', 0))}" if user is None else user,
        groups=tuple(numbers.get("additionalGids") or ()),
        own_group=user is not None,
        terminal=bool(document.get("terminal")),
        no_new_privileges=bool(document.get("noNewPrivileges")),
        limits=_limits(document.get("rlimits") or ()),
        umask=numbers.get("umask", 0o022),
        oom_score_adj=document.get("oomScoreAdj"),
        bounding=masks["bounding"],
        effective=masks["effective"],
        permitted=masks["permitted"],
        inheritable=masks["inheritable"],
        ambient=masks["ambient"],
        filter=filter_,
    )
    size = document.get("consoleSize")
    if size and program.terminal:
        program = program._replace(size=(int(size["height"]), int(size["width"])))
    for key in ("scheduler", "ioPriority", "apparmorProfile", "selinuxLabel"):
        if document.get(key):
            from engine.launch.confinement import confined

            return confined(program, document)
    return program


def _mask(names: Sequence[str], available: int | None, warnings: list[str] | None) -> int:
    if warnings is None:
        return capabilities.mask(names)
    known = [name for name in names if name in capabilities.NUMBERS]
    found = capabilities.mask(known)
    if available is not None:
        known = [name for name in known if available >> capabilities.NUMBERS[name] & 1]
        found &= available
    for name in names:
        text = f"the capability {name} cannot be given"
        if name not in known and text not in warnings:
            warnings.append(text)
    return found


def _leave_out(masks: dict[str, int], kind: str, possible: int, warnings: list[str] | None) -> None:
    """Take what the kernel would refuse from the set *kind*: what is not in others too (capabilities(7))."""
    lost = masks[kind] & ~possible
    masks[kind] &= possible
    if lost and warnings is not None:
        names = [name for name, number in capabilities.NUMBERS.items() if lost >> number & 1]
        needed = "permitted" if kind == "effective" else "permitted and inheritable"
        warnings.append(f"not {kind}, as they are not {needed}: {', '.join(names)}")


def _variable(entry: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not name or not equals:
        raise ValueError(f"not an environment variable: {entry!r}")
    return name, value


def _limits(entries: Sequence[JSON]) -> tuple[tuple[str, int, int], ...]:
    found: dict[str, tuple[str, int, int]] = {}
    for entry in entries:
        name = entry["type"]
        if name not in process.RLIMITS:
            raise ValueError(f"unknown limit {name}")
        if name in found:
            raise ValueError(f"the limit {name} is named twice")
        found[name] = (name, int(entry["soft"]), int(entry["hard"]))
    return tuple(found.values())


def _devices(entries: Sequence[JSON]) -> tuple[Device, ...]:
    """Those to be made; the host's /dev/ptmx, which podman lists too, is the container's own in any case."""
    return tuple(device for device in map(_device, entries) if device.path != "/dev/ptmx")


def _device(entry: JSON) -> Device:
    import os
    import stat

    kinds = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    return Device(
        path=absolute(entry["path"]),
        mode=kinds[entry["type"]] | (entry.get("fileMode") or 0o666) & 0o7777,
        number=os.makedev(entry.get("major", 0), entry.get("minor", 0)),
        uid=entry.get("uid") or 0,
        gid=entry.get("gid") or 0,
    )
