"""``update``, ``pause``, ``resume`` and ``events``: a container's cgroup while it runs."""

from __future__ import annotations

import sys

from engine import plainjson
from engine.errors import ConflictError, UnsupportedError, UsageError
from engine.kernel import cgroup
from engine.kernel.cgroup_limits import KERNEL_MEMORY
from engine.model import JSON
from engine.oci.shape import RESOURCES, checked
from engine.runtime.containers import Container
from engine.runtime.words import Words

_NUMBERS = {
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "blkio-weight": ("blockIO", "weight"),
    "pids-limit": ("pids", "limit"),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}


def resources_of(words: Words) -> JSON:
    """The `linux.resources` that *words* of ``update`` ask for."""
    if source := words.one("resources"):
        try:
            if source == "-":
                data: str | bytes = sys.stdin.read()
            else:
                with open(source, "rb") as file:
                    data = file.read()
        except OSError as error:
            raise UsageError(f"cannot read {source}", error.strerror or str(error)) from error
        try:
            found = plainjson.loads(data)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{source} is no resources document", str(error)) from error
        return checked(found, RESOURCES, source)
    wanted: dict[str, dict[str, int | str]] = {}
    for flag, (controller, key) in _NUMBERS.items():
        if flag in words.flags:
            try:
                wanted.setdefault(controller, {})[key] = _number(words.one(flag))
            except ValueError:
                raise UsageError(f"--{flag} takes a number, not {words.one(flag)!r}") from None
    for flag, (controller, key) in _TEXTS.items():
        if flag in words.flags:
            wanted.setdefault(controller, {})[key] = words.one(flag)
    if not wanted:
        raise UsageError("nothing to update", "no flag and no document says what")
    return wanted


def _number(text: str) -> int:
    factor = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}.get(text[-1:].lower(), 1)
    return int(text if factor == 1 else text[:-1]) * factor


def update(container: Container, resources: JSON) -> None:
    """Give it other limits; those that are not named stay."""
    _active(container, "update")
    left_out = cgroup.apply(container.group, {**resources, "devices": []})
    if refused := [text for text in left_out if text != KERNEL_MEMORY]:
        raise UnsupportedError("a limit cannot be set", "; ".join(refused), "leave it out")


def pause(container: Container) -> None:
    """Stop all its processes where they are."""
    if _active(container, "pause") == "paused":
        raise ConflictError(f"cannot pause container {container.id}", "it is paused")
    cgroup.freeze(container.group)


def resume(container: Container) -> None:
    """Let them go on."""
    if _active(container, "resume") != "paused":
        raise ConflictError(f"cannot resume container {container.id}", "it is not paused")
    cgroup.thaw(container.group)


def _active(container: Container, what: str) -> str:
    status = container.status()
    if status not in ("created", "running", "paused"):
        raise ConflictError(f"cannot {what} container {container.id}", f"it is {status}")
    return status


def processes(container: Container) -> list[int]:
    """The numbers of its processes."""
    _active(container, "list the processes of")
    return sorted(cgroup.procs(container.group))
