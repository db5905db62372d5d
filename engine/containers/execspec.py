"""What an `exec` is to run: the container's own process object, with what is asked for instead."""

from __future__ import annotations

from engine.containers.state import Facts, read_document
from engine.errors import LaunchError, UsageError
from engine.kernel import capabilities
from engine.launch.filters import filter_of
from engine.launch.request import Join
from engine.model import JSON
from engine.oci.runtime import USER_ANNOTATION
from engine.record import Record
from engine.store.layout import ContainerPaths

NO_SIZE = (24, 80)
"""Rows and columns where there is no terminal to ask."""


class ExecOptions(Record):
    """What `exec` was asked for."""

    argv: tuple[str, ...]
    tty: bool = False
    interactive: bool = False
    detach: bool = False
    env: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    privileged: bool = False


def joining_of(
    paths: ContainerPaths, container_id: str, facts: Facts, options: ExecOptions, size: tuple[int, int]
) -> Join:
    """What is to be started in the container; *size* is rows and columns of its terminal, if it has one.

    Raises UsageError, LaunchError.
    """
    if not options.argv or not options.argv[0]:
        raise UsageError("no command to execute", hint="name one after the container")
    spec = read_document(paths.config)
    if spec is None or facts.who is None:
        raise LaunchError("cannot exec in the container", "it is being removed")
    user = spec.get("annotations", {}).get(USER_ANNOTATION, "")
    if options.user is not None:
        user = ",".join((options.user, *user.split(",")[1:]))
    held = filter_of(spec["linux"].get("seccomp"), paths.filters)
    return Join(
        id=container_id,
        pid=facts.who.pid,
        pid_start=facts.who.start,
        cgroup=facts.cgroup,
        process=_process(spec, options, facts.no_devices),
        user=user,
        filter=held.program.hex(),
        filter_flags=held.flags,
        rows=size[0],
        columns=size[1],
    )


def _process(spec: JSON, options: ExecOptions, no_devices: bool) -> JSON:
    """The container's own process object with what is asked for instead."""
    process: JSON = dict(spec["process"])
    env = dict(entry.partition("=")[::2] for entry in process.get("env", ()))
    if options.tty:
        env.setdefault("TERM", "xterm")
    for entry in options.env:
        name, equals, value = entry.partition("=")
        if equals and name:
            env[name] = value
        else:
            env.pop(name, None)
    process["args"] = list(options.argv)
    process["env"] = [f"{name}={value}" for name, value in env.items()]
    process["terminal"] = options.tty
    if options.workdir is not None:
        if not options.workdir.startswith("/"):
            raise UsageError(
                f"the working directory {options.workdir} is not absolute", hint="begin it with /"
            )
        process["cwd"] = options.workdir
    if options.privileged:
        given = capabilities.names(capabilities.own().permitted)
        process["capabilities"] = {"bounding": given, "effective": given, "permitted": given}
        process["noNewPrivileges"] = False
    if no_devices:
        process["capabilities"] = {
            kind: [name for name in names if name != "CAP_MKNOD"]
            for kind, names in process.get("capabilities", {}).items()
        }
    return process
