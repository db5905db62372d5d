"""Containers in docker's words, for ``--format``: the fields that scripts ask `ps` and `inspect` for.

What docker has and cowl has not is left out, so that asking for it is an error and not an empty line.
"""

from __future__ import annotations

from typing import Any

from engine.cli import output
from engine.cli.forest import state_text
from engine.cli.ports import ports_text
from engine.cli.templates import Known
from engine.model import JSON, Container

_ZERO = "0001-01-01T00:00:00Z"
"""What docker says for a time that has not come."""


def row(container: Container, size: str | None = None, *, whole: bool = False) -> Known:
    """A container as ``ps --format`` knows it."""
    options = container.options
    command = " ".join(container.command)
    return Known(
        ID=container.id if whole else output.short(container.id),
        Image=container.image,
        Command=f'"{command}"' if whole or len(command) <= 20 else f'"{command[:19]}…"',
        CreatedAt=container.created,
        RunningFor=f"{output.age_text(container.created)} ago",
        Ports=ports_text(container.ports),
        State=container.state,
        Status=state_text(container),
        Size=size or "0B",
        Names=container.name,
        Name=container.name,
        Labels=",".join(f"{name}={value}" for name, value in container.labels.items()),
        Label=lambda name: container.labels.get(name, ""),
        Mounts=",".join(volume.name or volume.source for volume in options.volumes),
        LocalVolumes=str(sum(1 for volume in options.volumes if volume.name)),
        Networks=options.network,
    )


def inspected(found: JSON) -> Known:
    """The document of `inspect`, with docker's fields before cowl's own; an image's as it is."""
    if "chain_id" not in found or "options" not in found:
        return Known({"Id": found.get("manifest_digest") or found.get("chain_id"), **found})
    network, options = found["network"], found["options"]
    address = network.get("ip_address") or ""
    process = (found["config"] or {}).get("process") or {}
    words = list(process.get("args") or found["command"])
    joined = Known(
        IPAddress=address,
        Gateway=network.get("gateway") or "",
        IPPrefixLen=network.get("prefix") or 0,
        MacAddress=network.get("mac_address") or "",
    )
    return Known(
        {
            **found,
            "Id": found["id"],
            "Name": f"/{found['name']}",
            "Created": found["created"],
            "Path": words[0] if words else "",
            "Args": words[1:],
            "State": _state(found),
            "Image": found["manifest"] or found["chain_id"],
            "LogPath": found["log"],
            "RestartCount": found["restarts"],
            **({"SizeRw": found["size"]} if "size" in found else {}),
            "HostnamePath": f"{found['upper'].rpartition('/')[0]}/hostname",
            "Mounts": [_mount(volume) for volume in options["volumes"]],
            "Config": _config(found, process, words),
            "HostConfig": _host_config(options, found["limits"]),
            "NetworkSettings": Known(
                {**joined, "Networks": {network["mode"]: joined}, "Ports": _ports(found)}
            ),
        }
    )


def _state(found: JSON) -> Known:
    health = found["health"]
    return Known(
        Status=found["state"],
        Running=found["state"] in ("running", "paused", "restarting"),
        Paused=found["state"] == "paused",
        Restarting=found["state"] == "restarting",
        OOMKilled=found["oom_killed"],
        Dead=False,
        Pid=found["pid"] or 0,
        ExitCode=found["exit_code"] or 0,
        Error=found["error"],
        StartedAt=found["started"] or _ZERO,
        FinishedAt=found["finished"] or _ZERO,
        Health=None if health is None else Known({"Status": health.get("status"), **health}),
    )


def _mount(volume: JSON) -> Known:
    return Known(
        Type="volume" if volume["name"] else "bind",
        Name=volume["name"],
        Source=volume["source"],
        Destination=volume["destination"],
        Mode="ro" if volume["read_only"] else "",
        RW=not volume["read_only"],
    )


def _config(found: JSON, process: JSON, words: list[str]) -> Known:
    options = found["options"]
    return Known(
        Hostname=(found["config"] or {}).get("hostname", ""),
        User=options["user"] or "",
        Tty=found["tty"],
        OpenStdin=found["interactive"],
        Env=process.get("env") or [],
        Cmd=words,
        Entrypoint=options["entrypoint"],
        Image=found["image"],
        WorkingDir=process.get("cwd") or "",
        Labels=found["labels"],
        StopSignal=options["stop_signal"] or "SIGTERM",
        StopTimeout=int(options["stop_timeout"]),
    )


def _host_config(options: JSON, limits: JSON) -> Known:
    name, _, times = options["restart"].partition(":")
    return Known(
        AutoRemove=options["auto_remove"],
        Binds=[
            ":".join(
                (each["name"] or each["source"], each["destination"], "ro" if each["read_only"] else "rw")
            )
            for each in options["volumes"]
        ],
        NetworkMode=options["network"],
        RestartPolicy=Known(Name=name, MaximumRetryCount=int(times or 0)),
        Privileged=options["privileged"],
        ReadonlyRootfs=options["read_only"],
        CapAdd=options["cap_add"],
        CapDrop=options["cap_drop"],
        PidMode="" if options["pid"] == "private" else options["pid"],
        IpcMode=options["ipc"],
        Memory=limits["memory"] or 0,
        MemorySwap=limits["memory_swap"] or 0,
        MemoryReservation=limits["memory_reservation"] or 0,
        NanoCpus=round((limits["cpus"] or 0) * 1e9),
        CpuShares=limits["cpu_shares"] or 0,
        CpusetCpus=limits["cpuset_cpus"] or "",
        PidsLimit=limits["pids"],
        ShmSize=options["shm_size"] or 64 << 20,
        OomScoreAdj=options["oom_score_adj"] or 0,
    )


def _ports(found: JSON) -> dict[str, Any]:
    ports: dict[str, Any] = {}
    for port in found["ports"]:
        place = Known(HostIp=port["host_ip"], HostPort=str(port["host_port"]))
        ports.setdefault(f"{port['container_port']}/{port['protocol']}", []).append(place)
    return ports
