"""The runtime-spec document of a container (opencontainers/runtime-spec 1.2, config.md and config-linux.md).

`build_spec` is a pure function of what was asked for and of the image's configuration; the defaults are
docker's (moby, oci/defaults.go). Users are names of the *container's* /etc/passwd, so they are resolved
inside the rootfs when it starts; until then an annotation carries them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from posixpath import normpath

from engine.errors import UsageError
from engine.kernel import capabilities
from engine.model import JSON, Health, LaunchOptions, Volume
from engine.oci import security
from engine.oci.resources import resources
from engine.version import SPECIFICATION

VERSION = SPECIFICATION
USER_ANNOTATION = "cowl.user"
"""``user[:group][,group…]``: who it is, and groups besides."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
    "CAP_AUDIT_WRITE",
)
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
SHARED_MEMORY = "/dev/shm"
OWN_IPC = ("private", "shareable", "none")
"""Values of `LaunchOptions.ipc` with which the IPC namespace is the container's own."""
SYSCTLS_OF_NAMESPACES = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")
"""Beginnings of the sysctls that belong to the IPC namespace; those of ``net.`` belong to the network's."""


def build_spec(
    options: LaunchOptions,
    image_config: JSON,
    *,
    hostname: str,
    cgroup_path: str,
    files: Mapping[str, str],
    available: int,
    devices: Sequence[JSON] = (),
    device_rules: Sequence[JSON] = (),
) -> JSON:
    """The document of a container.

    *image_config* is the OCI image configuration; *files* maps paths in the container to files of the host
    that are bound there (/etc/hosts and its like); *available* is the mask of capabilities that can be
    given at all; *devices* are further device nodes, as linux.devices has them, and
    *device_rules* what may be done with them. Raises UsageError for what
    has no meaning.
    """
    wanted = security.parse(options.security_opts)
    spec: JSON = {
        "ociVersion": VERSION,
        "process": _process(options, image_config.get("config") or {}, hostname, available, wanted),
        "root": {"path": "rootfs", "readonly": options.read_only},
        "hostname": hostname,
        "mounts": _mounts(options, files),
        "annotations": _annotations(options, image_config),
        "linux": _linux(options, cgroup_path, wanted),
    }
    if options.uts == "host":
        del spec["hostname"]  # that is the host's
    elif options.domainname is not None:
        spec["domainname"] = options.domainname
    if devices:
        spec["linux"]["devices"] = list(devices)
    spec["linux"]["resources"]["devices"] += device_rules
    return spec


def _annotations(options: LaunchOptions, image_config: JSON) -> JSON:
    given = dict(text.partition("=")[::2] for text in options.annotations)
    if USER_ANNOTATION in given:
        raise UsageError(f"the annotation {USER_ANNOTATION} is cowl's own", "", "-u says who it runs as")
    return {**given, USER_ANNOTATION: ",".join((user_of(options, image_config), *options.group_add))}


def command_of(options: LaunchOptions, image_config: JSON) -> tuple[str, ...]:
    """What runs: entrypoint and command, an entrypoint of one's own setting the image's command aside."""
    image = image_config.get("config") or {}
    if options.entrypoint is not None:
        entrypoint: Sequence[str] = options.entrypoint
        command: Sequence[str] = options.command
    else:
        entrypoint = image.get("Entrypoint") or ()
        command = options.command or image.get("Cmd") or ()
    found = (*entrypoint, *command)
    if not found or not found[0]:
        raise UsageError(
            f"no command for {options.image}", "neither it nor the call says one", "name a command"
        )
    return found


def user_of(options: LaunchOptions, image_config: JSON) -> str:
    """``user[:group]`` as asked for or as the image says; empty for root."""
    return options.user or (image_config.get("config") or {}).get("User") or ""


def health_of(options: LaunchOptions, image_config: JSON) -> Health | None:
    """What is checked: as asked for, else as the image says (docker's image specification, Healthcheck).

    Raises UsageError where it is said how, but by nobody what.
    """
    if options.no_health:
        return None
    wanted = options.health or Health((), 0.0, 0.0, 0, 0.0, 0.0)
    said = (image_config.get("config") or {}).get("Healthcheck") or {}
    kind, *words = said.get("Test") or ("NONE",)
    argv = wanted.argv
    if not argv and kind in ("CMD", "CMD-SHELL") and words:
        argv = tuple(words) if kind == "CMD" else ("/bin/sh", "-c", words[0])
    if not argv and options.health is not None:
        why = "how often is said, but neither the call nor the image says what"
        raise UsageError("nothing to check", why, "name a command with --health-cmd")
    if not argv:
        return None
    usual = Health(())
    return Health(
        argv=argv,
        interval_s=wanted.interval_s or said.get("Interval", 0) / 1e9 or usual.interval_s,
        timeout_s=wanted.timeout_s or said.get("Timeout", 0) / 1e9 or usual.timeout_s,
        retries=wanted.retries or said.get("Retries", 0) or usual.retries,
        start_period_s=wanted.start_period_s or said.get("StartPeriod", 0) / 1e9,
        start_interval_s=wanted.start_interval_s
        or said.get("StartInterval", 0) / 1e9
        or usual.start_interval_s,
    )


def labels_of(options: LaunchOptions, image_config: JSON) -> tuple[str, ...]:
    """``NAME=VALUE``: what the image is labelled with, and what is asked for, which outweighs it."""
    said = (image_config.get("config") or {}).get("Labels") or {}
    own = {text.partition("=")[0] for text in options.labels}
    return (*(f"{name}={value}" for name, value in said.items() if name not in own), *options.labels)


def stop_signal_of(options: LaunchOptions, image_config: JSON) -> str:
    """The signal that asks the container to end."""
    return options.stop_signal or (image_config.get("config") or {}).get("StopSignal") or "SIGTERM"


def _process(
    options: LaunchOptions, image: JSON, hostname: str, available: int, wanted: security.Security
) -> JSON:
    workdir = options.workdir or image.get("WorkingDir") or "/"
    if not workdir.startswith("/"):
        raise UsageError(f"the working directory {workdir} is not absolute", hint="begin it with /")
    given = _capabilities(options, available)
    process: JSON = {
        "terminal": options.tty,
        "user": {"uid": 0, "gid": 0},
        "args": list(command_of(options, {"config": image})),
        "env": environment(options, image.get("Env") or (), hostname),
        "cwd": workdir,
        "capabilities": {"bounding": given, "effective": given, "permitted": given},
        "noNewPrivileges": not options.privileged
        if wanted.no_new_privileges is None
        else wanted.no_new_privileges,
    }
    if options.oom_score_adj is not None:
        process["oomScoreAdj"] = _oom_score_adj(options.oom_score_adj)
    if options.ulimits:
        process["rlimits"] = [_ulimit(text) for text in options.ulimits]
    return process


def _oom_score_adj(score: int) -> int:
    if not -1000 <= score <= 1000:
        raise UsageError(f"bad score {score} for running out of memory", hint="it goes from -1000 to 1000")
    return score


def environment(options: LaunchOptions, image_env: Sequence[str], hostname: str) -> list[str]:
    """PATH, HOSTNAME, TERM for a terminal, then the image's and the caller's; a bare NAME takes one away."""
    found = {"PATH": PATH, "HOSTNAME": hostname}
    if options.tty:
        found["TERM"] = "xterm"
    for entry in (*image_env, *options.env):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise UsageError(f"not an environment variable: {entry!r}", hint="write NAME=VALUE")
        if equals:
            found[name] = value
        else:
            found.pop(name, None)
    return [f"{name}={value}" for name, value in found.items()]


def _capabilities(options: LaunchOptions, available: int) -> list[str]:
    added = {_capability(name) for name in options.cap_add}
    dropped = {_capability(name) for name in options.cap_drop}
    if options.privileged or "ALL" in added:
        kept = {name for name in capabilities.NUMBERS if available >> capabilities.NUMBERS[name] & 1}
    else:
        kept = set() if "ALL" in dropped else set(CAPABILITIES)
        kept = {name for name in kept if available >> capabilities.NUMBERS[name] & 1}
    kept |= added - {"ALL"}
    kept -= dropped
    return [name for name in capabilities.NUMBERS if name in kept]


def _capability(text: str) -> str:
    name = text.upper()
    if name == "ALL":
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in capabilities.NUMBERS:
        raise UsageError(f"unknown capability {text}", hint="see capabilities(7)")
    return name


def _ulimit(text: str) -> JSON:
    name, equals, values = text.partition("=")
    soft, _, hard = values.partition(":")
    from engine.kernel.process import RLIMITS

    kind = f"RLIMIT_{name.upper()}"
    if not equals or kind not in RLIMITS:
        raise UsageError(f"not a limit: {text}", hint="write it as nofile=1024:2048")
    try:
        low = int(soft)
        high = int(hard) if hard else low
    except ValueError:
        raise UsageError(f"not a limit: {text}", hint="write it as nofile=1024:2048") from None
    if low > high >= 0:
        raise UsageError(
            f"the limit {text} is softer than hard", hint="the first number may not exceed the second"
        )
    return {"type": kind, "soft": low, "hard": high}


def _mounts(options: LaunchOptions, files: Mapping[str, str]) -> list[JSON]:
    safe = ["nosuid", "noexec", "nodev"]
    sys_mode = ["rw"] if options.privileged else ["ro"]
    mounts = [
        _mount("/proc", "proc", "proc", safe),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/sys", "sysfs", "sysfs", [*safe, *sys_mode]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*safe, "relatime", *sys_mode]),
        *_shared_memory(options, safe),
    ]
    asked = [*map(_tmpfs, options.tmpfs), *map(_volume, options.volumes)]
    taken = {normpath(mount["destination"]) for mount in asked}
    if len(taken) < len(asked):
        raise UsageError("two things cannot be shown in one place", hint="give each a directory of its own")
    given = [
        _mount(path, "bind", source, ["bind", "rprivate"])
        for path, source in files.items()
        if path not in taken
    ]
    # What is mounted above another's place comes first, or it would hide it.
    return mounts + sorted([*given, *asked], key=lambda mount: normpath(mount["destination"]).count("/"))


def _shared_memory(options: LaunchOptions, safe: list[str]) -> list[JSON]:
    """Message queues and /dev/shm, which belong to the IPC namespace: another's is known when it starts."""
    queues = _mount("/dev/mqueue", "mqueue", "mqueue", safe)
    if options.ipc == "none":
        return [queues]
    if options.ipc not in OWN_IPC:
        return [queues, _mount(SHARED_MEMORY, "bind", SHARED_MEMORY, ["rbind", "rprivate"])]
    size = "65536k" if options.shm_size is None else str(options.shm_size)
    return [queues, _mount(SHARED_MEMORY, "tmpfs", "shm", [*safe, "mode=1777", f"size={size}"])]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> JSON:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _tmpfs(text: str) -> JSON:
    destination, _, settings = text.partition(":")
    _absolute(destination)
    chosen = [option for option in settings.split(",") if option]
    return _mount(destination, "tmpfs", "tmpfs", ["nosuid", "nodev", "noexec", *chosen])


def _volume(volume: Volume) -> JSON:
    _absolute(volume.destination)
    # What is mounted below it must not be written either; kernels before 5.12 know ro alone.
    deep = volume.read_only and not volume.recursion
    how = [
        "bind" if volume.recursion == "disabled" else "rbind",
        volume.propagation or "rprivate",
        "ro" if volume.read_only else "rw",
        *(["rro"] if deep else []),
    ]
    return _mount(volume.destination, "bind", volume.source, how)


def _absolute(path: str) -> None:
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or not any(parts):
        raise UsageError(f"cannot mount at {path or 'an empty path'}", hint="name an absolute path below /")


def _linux(options: LaunchOptions, cgroup_path: str, wanted: security.Security) -> JSON:
    privileged = options.privileged
    shared = {"pid": options.pid, "ipc": options.ipc, "uts": options.uts, "cgroup": options.cgroupns}
    kinds = ["mount", *(kind for kind, how in shared.items() if how != "host")]
    if options.network != "host":
        kinds.append("network")
    linux: JSON = {
        "namespaces": [{"type": kind} for kind in kinds],
        "cgroupsPath": cgroup_path,
        "resources": resources(options.limits, privileged=options.privileged),
        "rootfsPropagation": _propagation(options.volumes),
        "maskedPaths": security.hidden(wanted, MASKED, privileged=privileged),
        "readonlyPaths": security.protected(wanted, READ_ONLY, privileged=privileged),
    }
    if options.sysctls:
        linux["sysctl"] = dict(_sysctl(text, options) for text in options.sysctls)
    return linux


def _propagation(volumes: Sequence[Volume]) -> str:
    """How the container's mounts hang together with the host's: no more than its volumes ask for."""
    wanted = {volume.propagation.removeprefix("r") for volume in volumes}
    return next((each for each in ("shared", "slave") if each in wanted), "private")


def _sysctl(text: str, options: LaunchOptions) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    own = (options.network != "host" and name.startswith("net.")) or (
        options.ipc in OWN_IPC and name.startswith(SYSCTLS_OF_NAMESPACES)
    )
    if not equals or "/" in name or not own:
        raise UsageError(
            f"cannot set the sysctl {text}",
            "only those of the container's own namespaces can be set",
            "net.* without --network host; kernel.msg*, kernel.sem, kernel.shm*, fs.mqueue.* without --ipc",
        )
    return name, value
