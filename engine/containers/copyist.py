"""The process that reads and writes a container's files from inside: no link in there leads out of it.

It enters the container's mounts (or mounts them, where it does not run) and has nothing of the host below its
root any more when it touches the first path. Modules that it needs are loaded before that.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any, NoReturn

from engine.containers import landing
from engine.errors import ConflictError, CowlError
from engine.kernel import mount, namespaces, process, syscalls
from engine.launch import rootfs
from engine.launch.isolation import stop_imports
from engine.launch.plan import Plan, plan_of
from engine.layers.mergedtar import write_tree
from engine.layers.untar import Rename, untar
from engine.model import JSON
from engine.record import Record

_NOT_ITS_FILES = ("/proc", "/sys", "/dev")
"""What a runtime mounts: in a copy there is what the container's own layers have in these places."""


class Order(Record):
    """What is to be copied."""

    direction: str
    """``out``: the tar goes to standard output; ``in``: it comes from standard input."""
    path: str
    """In the container."""
    follow: bool = False
    """Whether a link is what it leads to."""
    named: bool = False
    """Whether the tar that goes out has the name of what is copied as its first component."""
    source: tuple[Any, ...] | None = None
    """The fields of what comes in; None for a tar of somebody else, which needs a directory."""
    owner: tuple[int, int] | None = None
    """Whom it belongs to; None: as the tar says."""


class Running(Record):
    """A container that runs."""

    pid: int
    start: int


class Resting(Record):
    """A container that does not; nobody else may start it meanwhile."""

    config: str
    lowers: tuple[str, ...]
    upper: str
    work: str
    init: str
    target: str


def main() -> NoReturn:
    """Do the order of the command line; say how it went on the descriptor that it names."""
    control, order, place = decode(sys.argv[1])
    os.umask(0)
    process.hide()
    process.set_name("cowl-copy")
    try:
        _enter(place)
        _import_no_more()
        if order.direction == "out":
            _send(order, control)
        else:
            _receive(order, control)
        _say(control, {"done": True})
        os._exit(0)
    except (CowlError, OSError) as error:
        with contextlib.suppress(OSError):
            _say(control, {"error": _fields(error)})
        os._exit(1)


def encode(control: int, order: Order, place: Running | Resting) -> str:
    """The argument for `main`."""
    return json.dumps([control, order, isinstance(place, Running), place])


def decode(text: str) -> tuple[int, Order, Running | Resting]:
    """What `encode` was given."""
    control, order, running, place = json.loads(text)
    return control, Order(*order), Running(*place) if running else Resting(*place)


def _enter(place: Running | Resting) -> None:
    """Make the container's root ours."""
    if isinstance(place, Running):
        pidfd = process.open_pidfd(process.Identity(place.pid, place.start))
        if pidfd is None:
            raise ConflictError("cannot copy", "the container has ended meanwhile", "try again")
        stop_imports()
        namespaces.setns(pidfd, namespaces.CLONE_NEWNS)
        os.close(pidfd)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
        for path in _NOT_ITS_FILES:
            with contextlib.suppress(OSError):  # nothing is mounted there
                mount.unmount(path, mount.MNT_DETACH)
    else:
        with open(place.config, "rb") as file:
            plan = _only_files(plan_of(json.load(file)))
        stack = rootfs.Stack(tuple(place.lowers), *place[2:])
        namespaces.unshare(namespaces.CLONE_NEWNS)
        made = rootfs.build(plan, stack, ())
        rootfs.enter(plan, made)
    os.chdir("/")
    open_no_devices()


def open_no_devices() -> None:
    """Neither may a device be opened that a container puts in a file's place: no cgroup keeps us from it."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # before Linux 5.12
            mount.set_attributes(root, mount.ATTR_NODEV, recursive=True)
    finally:
        os.close(root)


def _import_no_more() -> None:
    """A module that is not loaded by now would come from the container's files (as in CVE-2019-14271)."""
    sys.path.clear()
    sys.meta_path.clear()


def _only_files(plan: Plan) -> Plan:
    """*plan* with no more than the root and the volumes."""
    volumes = tuple(
        step
        for step in plan.steps
        if step.kind == "bind" and not step.destination.startswith((*_NOT_ITS_FILES, "/etc/"))
    )
    return plan._replace(
        namespaces=namespaces.CLONE_NEWNS,
        steps=volumes,
        devices=(),
        masked=(),
        read_only_paths=(),
        sysctls=(),
    )


def _send(order: Order, control: int) -> None:
    path, source = landing.source_of(_absolute(order.path), follow=order.follow)
    _say(control, {"source": source})
    name = os.fsencode(source.name) if order.named and not source.contents else b""
    with open(1, "wb", buffering=0, closefd=False) as out:
        write_tree(os.fsencode(path), name or (b"" if source.directory else os.fsencode(source.name)), out)


def _receive(order: Order, control: int) -> None:
    path = _absolute(order.path)
    if order.source is None:
        where, rename = landing.Landing(path, ""), None
    else:
        source = landing.Source(*order.source)
        where = landing.landing_of(path, source)
        rename = renaming(source, where)
    directory = _open(where.directory)
    _say(control, {"ready": True})
    with open(0, "rb", closefd=False) as stream:
        untar(stream, directory, rename, None if order.owner is None else (order.owner[0], order.owner[1]))


def renaming(source: landing.Source, where: landing.Landing) -> Rename:
    """How the names of *source*'s tar become names where it lands."""
    old = b"" if source.directory else os.fsencode(source.name)
    return Rename(old, os.fsencode(where.name))


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _open(directory: str) -> int:
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConflictError(f"cannot copy into {directory}", error.strerror or str(error)) from error


def _say(control: int, what: JSON) -> None:
    os.write(control, json.dumps(what).encode() + b"\n")


def _fields(error: CowlError | OSError) -> JSON:
    if isinstance(error, CowlError):
        known = next(kind for kind in type(error).__mro__ if kind.__module__ == CowlError.__module__)
        return {"kind": known.__name__, "what": error.what, "why": error.why, "hint": error.hint}
    return {"kind": "StoreError", "what": "cannot copy", "why": syscalls.reason(error), "hint": ""}
