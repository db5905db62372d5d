"""`version` and `info`: which cowl this is, on what machine, and what its store holds."""

from __future__ import annotations

import os
import sys
from collections import Counter

import click

from engine.cli import output
from engine.cli.flags import form_of, format_option, json_option
from engine.cli.session import Session
from engine.cli.templates import Known
from engine.engine import Engine
from engine.model import JSON
from engine.version import SPECIFICATION, VERSION, version_line

_SHOWN = {
    "version": "Version",
    "root": "Root",
    "containers": "Containers",
    "running": "  Running",
    "paused": "  Paused",
    "stopped": "  Stopped",
    "images": "Images",
    "nodes": "Nodes",
    "volumes": "Volumes",
    "cgroup_version": "Cgroup version",
    "seccomp": "System call filters",
    "kernel": "Kernel",
    "operating_system": "Operating system",
    "architecture": "Architecture",
    "cpus": "CPUs",
    "memory": "Memory",
    "name": "Name",
}
"""What people are shown, in this order, and how it is called."""


@click.command("version")
@format_option("{{.Server.Version}}", "-f")
@json_option
@click.pass_obj
def version_command(session: Session, template: str | None, as_json: bool) -> None:
    """Show the versions of cowl, Python and the kernel."""
    form = form_of(template, {})
    if as_json:
        output.emit({"version": VERSION, "python": _python(), "kernel": os.uname().release})
    elif form is not None:
        form.write([version_words()])
    else:
        print(version_line())


def _python() -> str:
    return sys.version.split()[0]


def version_words() -> Known:
    """What ``version --format`` knows: both sides are one, as there is no daemon."""
    from engine.oci import platforms

    machine = platforms.host()
    both = {
        "Version": VERSION,
        "Os": machine.os,
        "Arch": machine.architecture,
        "KernelVersion": os.uname().release,
        "PythonVersion": _python(),
        "SpecVersion": SPECIFICATION,
    }
    return Known({"Client": Known(both), "Server": Known(both), **both})


@click.command("info")
@format_option("{{.Containers}} {{.CgroupVersion}}", "-f")
@json_option
@click.pass_obj
def info_command(session: Session, template: str | None, as_json: bool) -> None:
    """Show what the store holds, and what this machine has."""
    form = form_of(template, {})
    with session.open() as engine:
        found = facts(engine)
    if as_json:
        output.emit(found)
    elif form is not None:
        form.write([info_words(found)])
    else:
        width = max(map(len, _SHOWN.values())) + 3
        for key, title in _SHOWN.items():
            value = output.size_text(found[key]) if key == "memory" else str(found[key])
            print(f"{title:<{width}}{output.visible(value)}")


def facts(engine: Engine) -> JSON:
    """What `info` tells; sizes in bytes."""
    from engine.kernel import cgroup, seccomp
    from engine.kernel.host import memory

    states = Counter(container.state for container in engine.containers.list())
    live = states["running"] + states["restarting"]
    system = os.uname()
    with open("/proc/meminfo", "rb") as file:
        total, _ = memory(file.read())
    return {
        "version": VERSION,
        "root": engine.root,
        "containers": states.total(),
        "running": live,
        "paused": states["paused"],
        "stopped": states.total() - live - states["paused"],
        "images": len({image.manifest_digest for image in engine.images.list()}),
        "nodes": len(engine.images.forest()),
        "volumes": len(engine.volumes.list()),
        "cgroup_version": cgroup.detect().version,
        "seccomp": "builtin" if seccomp.available() else "unavailable",
        "kernel": system.release,
        "operating_system": _operating_system(),
        "architecture": system.machine,
        "cpus": os.cpu_count(),
        "memory": total,
        "name": system.nodename,
    }


def _operating_system() -> str:
    """Its name for people (os-release(5))."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = dict(line.rstrip().partition("=")[::2] for line in file)
        except FileNotFoundError:
            continue
        return lines.get("PRETTY_NAME", "Linux").strip("\"'")
    return "Linux"


def info_words(found: JSON) -> Known:
    """What ``info --format`` knows, docker's fields before cowl's own."""
    security = ["name=seccomp,profile=builtin"] if found["seccomp"] == "builtin" else []
    return Known(
        {
            **found,
            "Containers": found["containers"],
            "ContainersRunning": found["running"],
            "ContainersPaused": found["paused"],
            "ContainersStopped": found["stopped"],
            "Images": found["images"],
            "Driver": "overlay",
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": str(found["cgroup_version"]),
            "Plugins": Known(
                Volume=["local"], Network=["bridge", "host", "none"], Log=["json-file", "local"]
            ),
            "KernelVersion": found["kernel"],
            "OperatingSystem": found["operating_system"],
            "OSType": "linux",
            "Architecture": found["architecture"],
            "NCPU": found["cpus"],
            "MemTotal": found["memory"],
            "Name": found["name"],
            "ServerVersion": found["version"],
            "DockerRootDir": found["root"],
            "DefaultRuntime": "cowl",
            "Swarm": Known(LocalNodeState="inactive"),
            "LiveRestoreEnabled": True,
            "SecurityOptions": [*security, "name=cgroupns"],
            "Warnings": None,
        }
    )
