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
from engine.oci import security

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
    """The document of `inspect` of a container, with docker's fields before cowl's own."""
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
            "HostConfig": _host_config(found),
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
        Driver="local" if volume["name"] else "",
        Mode="ro" if volume["read_only"] else "",
        RW=not volume["read_only"],
        Propagation="" if volume["name"] else volume["propagation"] or "rprivate",
    )


def _config(found: JSON, process: JSON, words: list[str]) -> Known:
    options = found["options"]
    document = found["config"] or {}
    health = options["health"]
    return Known(
        Hostname=document.get("hostname", ""),
        Domainname=options["domainname"] or "",
        User=options["user"] or "",
        Tty=found["tty"],
        OpenStdin=found["interactive"],
        Env=process.get("env") or [],
        Cmd=words,
        Entrypoint=options["entrypoint"],
        Image=found["image"],
        WorkingDir=process.get("cwd") or "",
        Labels=found["labels"],
        ExposedPorts={port if "/" in port else f"{port}/tcp": {} for port in options["expose"]},
        Healthcheck=None if health is None else _check(health),
        StopSignal=options["stop_signal"] or "SIGTERM",
        StopTimeout=int(options["stop_timeout"]),
    )


def _check(health: JSON) -> Known:
    argv = health["argv"]
    times = {
        name: round(health[field] * 1e9)
        for name, field in (
            ("Interval", "interval_s"),
            ("Timeout", "timeout_s"),
            ("StartPeriod", "start_period_s"),
            ("StartInterval", "start_interval_s"),
        )
    }
    test = ["CMD-SHELL", *argv[2:]] if argv[:2] == ["/bin/sh", "-c"] else ["CMD", *argv]
    return Known(Test=test, **times, Retries=health["retries"])


def _host_config(found: JSON) -> Known:
    options = found["options"]
    name, _, times = options["restart"].partition(":")
    linux = (found["config"] or {}).get("linux") or {}
    return Known(
        **_resources(found["limits"], linux),
        AutoRemove=options["auto_remove"],
        Annotations=_pairs(options["annotations"]),
        Binds=[
            ":".join(
                (each["name"] or each["source"], each["destination"], "ro" if each["read_only"] else "rw")
            )
            for each in options["volumes"]
        ],
        CapAdd=options["cap_add"],
        CapDrop=options["cap_drop"],
        CgroupnsMode=options["cgroupns"],
        CgroupParent=options["cgroup_parent"] or "",
        Devices=[_device(text) for text in options["devices"]],
        DeviceCgroupRules=options["device_cgroup_rules"],
        Dns=options["dns"],
        DnsOptions=options["dns_options"],
        DnsSearch=options["dns_search"],
        ExtraHosts=options["extra_hosts"],
        GroupAdd=options["group_add"],
        Init=options["init"],
        IpcMode=options["ipc"],
        LogConfig=Known(Type="none" if options["log_max_size"] == 0 else "json-file", Config=_log(options)),
        MaskedPaths=linux.get("maskedPaths") or [],
        NetworkMode=options["network"],
        OomScoreAdj=options["oom_score_adj"] or 0,
        PidMode="" if options["pid"] == "private" else options["pid"],
        PortBindings=_bindings(options["publish"]),
        Privileged=options["privileged"],
        PublishAllPorts=options["publish_all"],
        ReadonlyPaths=linux.get("readonlyPaths") or [],
        ReadonlyRootfs=options["read_only"],
        RestartPolicy=Known(Name=name, MaximumRetryCount=int(times or 0)),
        Runtime="cowl",
        SecurityOpt=options["security_opts"],
        ShmSize=options["shm_size"] or 64 << 20,
        Sysctls=_pairs(options["sysctls"]),
        Tmpfs=dict(text.partition(":")[::2] for text in options["tmpfs"]),
        Ulimits=[_ulimit(text) for text in options["ulimits"]],
        UTSMode="" if options["uts"] == "private" else options["uts"],
        UsernsMode="host",
    )


def _resources(limits: JSON, linux: JSON) -> dict[str, Any]:
    """The limits among docker's words; those of block devices as the document has them."""
    block = (linux.get("resources") or {}).get("blockIO") or {}
    return {
        "Memory": limits["memory"] or 0,
        "MemorySwap": limits["memory_swap"] or 0,
        "MemoryReservation": limits["memory_reservation"] or 0,
        "MemorySwappiness": limits["memory_swappiness"],
        "OomKillDisable": bool(limits["oom_kill_disable"]),
        "NanoCpus": round((limits["cpus"] or 0) * 1e9),
        "CpuPeriod": limits["cpu_period"] or 0,
        "CpuQuota": round((limits["cpus"] or 0) * limits["cpu_period"]) if limits["cpu_period"] else 0,
        "CpuRealtimePeriod": limits["cpu_rt_period"] or 0,
        "CpuRealtimeRuntime": limits["cpu_rt_runtime"] or 0,
        "CpuShares": limits["cpu_shares"] or 0,
        "CpusetCpus": limits["cpuset_cpus"] or "",
        "CpusetMems": limits["cpuset_mems"] or "",
        "PidsLimit": limits["pids"],
        "BlkioWeight": limits["blkio_weight"] or 0,
        "BlkioWeightDevice": block.get("weightDevice") or [],
        "BlkioDeviceReadBps": block.get("throttleReadBpsDevice") or [],
        "BlkioDeviceWriteBps": block.get("throttleWriteBpsDevice") or [],
        "BlkioDeviceReadIOps": block.get("throttleReadIOPSDevice") or [],
        "BlkioDeviceWriteIOps": block.get("throttleWriteIOPSDevice") or [],
    }


def _pairs(texts: list[str]) -> dict[str, str]:
    return dict(text.partition("=")[::2] for text in texts)


def _device(text: str) -> Known:
    wanted = security.device(text)
    return Known(
        PathOnHost=wanted.source, PathInContainer=wanted.destination, CgroupPermissions=wanted.access
    )


def _ulimit(text: str) -> Known:
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    return Known(Name=name, Soft=int(soft), Hard=int(hard or soft))


def _log(options: JSON) -> dict[str, str]:
    size = options["log_max_size"]
    return {"max-size": "-1" if size is None else str(size), "max-file": str(options["log_max_files"])}


def _bindings(published: list[JSON]) -> dict[str, Any]:
    """The ports that are asked for; those that lead to it now are among the network's settings."""
    found: dict[str, Any] = {}
    for port in published:
        place = Known(HostIp=port["host_ip"], HostPort=str(port["host_port"] or ""))
        found.setdefault(f"{port['container_port']}/{port['protocol']}", []).append(place)
    return found


def _ports(found: JSON) -> dict[str, Any]:
    ports: dict[str, Any] = {}
    for port in found["ports"]:
        place = Known(HostIp=port["host_ip"], HostPort=str(port["host_port"]))
        ports.setdefault(f"{port['container_port']}/{port['protocol']}", []).append(place)
    return ports
