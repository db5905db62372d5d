"""``events --stats``: what a container uses, in the shape that runc gives it."""

from __future__ import annotations

from engine.errors import ConflictError
from engine.kernel import cgroupfs
from engine.kernel.cgroupfs import UNIFIED, Cgroup
from engine.model import JSON
from engine.runtime.containers import Container


def stats(container: Container) -> JSON:
    """One event of the type ``stats``; ConflictError for a container that has ended."""
    if container.status() not in ("created", "running", "paused"):
        raise ConflictError(f"cannot show what container {container.id} uses", "it has ended")
    group = container.group
    data = _version2(group.directories[UNIFIED]) if group.version == 2 else _version1(group)
    return {"type": "stats", "id": container.id, "data": data}


def _version1(group: Cgroup) -> JSON:
    places = group.directories
    return {
        "cpu": {"usage": {"total": _number(places.get("cpuacct"), "cpuacct.usage")}},
        "memory": {
            "usage": {
                "usage": _number(places.get("memory"), "memory.usage_in_bytes"),
                "max": _number(places.get("memory"), "memory.max_usage_in_bytes"),
                "limit": _number(places.get("memory"), "memory.limit_in_bytes"),
            }
        },
        "pids": {"current": _number(places.get("pids"), "pids.current")},
    }


def _version2(directory: str) -> JSON:
    usage = cgroupfs.field(cgroupfs.read(f"{directory}/cpu.stat"), b"usage_usec") * 1000
    return {
        "cpu": {"usage": {"total": usage}},
        "memory": {
            "usage": {
                "usage": _number(directory, "memory.current"),
                "max": _number(directory, "memory.peak"),
                "limit": _number(directory, "memory.max"),
            }
        },
        "pids": {"current": _number(directory, "pids.current")},
    }


def _number(directory: str | None, file: str) -> int:
    """The number in a file; 0 for none, or where the kernel has no such file."""
    if directory is None:
        return 0
    try:
        text = cgroupfs.read(f"{directory}/{file}").strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() else 0
