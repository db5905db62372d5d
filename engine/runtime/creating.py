"""``create``: a first process that is ready, and waits to become the program."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Callable

from engine.containers.state import write_document
from engine.errors import ConflictError, LaunchError, UnsupportedError
from engine.kernel import capabilities, cgroup, devices, mount, process
from engine.kernel.cgroup_limits import KERNEL_MEMORY
from engine.kernel.channel import AF_UNIX, SOCK_SEQPACKET, Channel
from engine.launch import birth, init, rootfs
from engine.launch.cgroupviews import views_of
from engine.launch.plan import Plan, plan_of, without_devices
from engine.model import JSON
from engine.record import Record
from engine.runtime import containers
from engine.runtime.containers import Container
from engine.runtime.report import Report
from engine.store import clock

CGROUP_PARENT = "COWL_CGROUP_PARENT"


class Wanted(Record):
    """What ``create`` and ``run`` were asked for."""

    root: str
    """Where containers are known."""
    id: str
    bundle: str
    pid_file: str
    preserved: int
    """How many descriptors after the first three are the program's too."""
    terminal: Callable[[int], None]
    """Takes the master of the container's terminal."""
    pivots: bool = True
    new_keyring: bool = True


def create(wanted: Wanted, report: Report) -> Container:
    """Make the container of a bundle; its program does not run yet. Undone when anything fails."""
    spec = containers.read_config(wanted.bundle)
    linux = spec.setdefault("linux", {}) or {}
    if not linux.get("cgroupsPath"):
        linux["cgroupsPath"] = f"{os.environ.get(CGROUP_PARENT, 'cowl-runtime')}/{wanted.id}"
    plan = _plan(spec, wanted, report)
    directory = containers.reserve(wanted.root, wanted.id)
    with contextlib.ExitStack() as always, contextlib.ExitStack() as undo:
        lock = containers.lock(directory)
        if lock is None or lock == containers.BUSY:
            raise ConflictError(f"cannot create container {wanted.id}", "somebody deletes it")
        always.callback(os.close, lock)
        undo.callback(containers.clear, directory)
        write_document(f"{directory}/config.json", spec)
        group, plan = _cgroup(plan, report)
        undo.callback(_end_cgroup, group)
        container = Container(
            id=wanted.id,
            directory=directory,
            bundle=wanted.bundle,
            rootfs=_rootfs(spec, wanted.bundle),
            annotations=spec.get("annotations") or {},
            created=clock.now(),
            cgroup=group.to_json(),
            no_devices=plan.no_devices,
            owner=_owner(),
        )
        container.save()
        container = _bear(plan, container, wanted, undo)
        if wanted.pid_file:
            containers.write_pid(wanted.pid_file, container.pid)
        undo.pop_all()
    return container


def _plan(spec: JSON, wanted: Wanted, report: Report) -> Plan:
    filters = f"{wanted.root}/{containers.FILTERS}/"
    plan = plan_of(spec, filters, wanted.bundle, available=capabilities.own().bounding)
    for warning in plan.warnings:
        report.warn(warning)
    passed = os.environ.get("LISTEN_FDS", "")
    listening = int(passed) if passed.isascii() and passed.isdigit() and len(passed) < 5 else 0
    environment = plan.program.env
    if listening:
        environment = {**environment, "LISTEN_FDS": str(listening), "LISTEN_PID": "1"}
    if not wanted.pivots:
        report.warn("without pivot_root a container's root with CAP_SYS_CHROOT can leave it")
    return plan._replace(
        pivots=wanted.pivots,
        new_keyring=wanted.new_keyring,
        program=plan.program._replace(preserved=wanted.preserved + listening, env=environment),
    )


def _rootfs(spec: JSON, bundle: str) -> str:
    path = os.path.join(bundle, spec["root"]["path"])
    if not os.path.isdir(path):
        raise LaunchError(f"cannot use the rootfs {path}", "no such directory")
    return os.path.realpath(path)


def _owner() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _cgroup(plan: Plan, report: Report) -> tuple[cgroup.Cgroup, Plan]:
    """The container's cgroup, held to its limits and devices."""
    group = cgroup.create(plan.cgroup_path)
    with contextlib.ExitStack() as unless_made:
        unless_made.callback(cgroup.remove, group)
        left_out = cgroup.apply(group, plan.resources)
        if refused := [text for text in left_out if text != KERNEL_MEMORY]:
            raise UnsupportedError("a limit cannot be set", "; ".join(refused), "leave it out")
        for text in left_out:
            report.warn(text)
        rules = plan.resources.get("devices") or ()
        if rules and not devices.restrict_to_usual(group, rules):
            plan = without_devices(plan)
            report.warn("this kernel cannot hold a cgroup to its devices: none can be made, or used")
        unless_made.pop_all()
    return group, plan


def _end_cgroup(group: cgroup.Cgroup) -> None:
    cgroup.kill_all(group)
    cgroup.remove(group)


def _bear(plan: Plan, container: Container, wanted: Wanted, undo: contextlib.ExitStack) -> Container:
    """Its first process, waiting to be started."""
    group = container.group
    gate = _listen(container)
    into = None if birth.joins_user(plan) else cgroup.into_cgroup(group)
    entries = cgroup.entrances(group, born_inside=into is not None)
    place = init.Place(
        source=rootfs.Directory(container.rootfs),
        cgroup=init.Joinable(entries, views_of(group)),
        stdio=init.Stdio(0, 1, 2),
        state=container.state("creating"),
        gate=gate,
    )
    if plan.on_host:
        undo.callback(containers.unmount_rootfs, container)
    preserved = range(3, 3 + plan.program.preserved)
    born = birth.bear(plan, place, into, preserved)
    undo.callback(birth.end, born)
    gate.close()
    who = process.identify(born.pid)
    container = container._replace(pid=born.pid, pid_start=who.start if who else 0)
    undo.callback(run_poststop, plan, container, [])
    birth.await_ready(born, plan, lambda: container.state("creating"), wanted.terminal)
    container.save()
    return container


def _listen(container: Container) -> Channel:
    """The socket to wait at; its name goes by the directory's descriptor, as sun_path ends at 108 bytes."""
    listener = Channel(AF_UNIX, SOCK_SEQPACKET)
    directory = os.open(container.directory, os.O_PATH | os.O_CLOEXEC)
    try:
        listener.bind(f"{mount.by_descriptor(directory)}/{os.path.basename(container.gate)}")
    finally:
        os.close(directory)
    listener.listen(1)
    return listener


def run_poststop(plan: Plan, container: Container, warnings: list[str]) -> None:
    """The hooks that follow a container's end; those that fail add to *warnings*."""
    if "poststop" in plan.hooks:
        from engine.launch import hooks

        warnings += hooks.run_all("poststop", plan.hooks, lambda: container.state("stopped"))
