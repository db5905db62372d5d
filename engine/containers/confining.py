"""What this machine adds to a container's document: its seccomp filter, its devices, what it cannot do.

`engine.oci` says what options mean whatever the machine; this looks at the kernel and at /dev.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Sequence

from engine.errors import UnsupportedError, UsageError
from engine.kernel import seccomp
from engine.launch.filters import check
from engine.model import JSON, LaunchOptions
from engine.oci import security
from engine.oci.resources import weight
from engine.record import Record

_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SELINUX = "/sys/fs/selinux/enforce"
_OWN_DEVICES = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/ptmx")
"""Every container has these of its own."""


def confine(spec: JSON, options: LaunchOptions) -> str:
    """Complete *spec* with the profile that the kernel holds it to; the filter of its system calls.

    That is JSON, for `linux.seccomp`, which *spec* does not have; empty for none. Raises UsageError and
    UnsupportedError for what was asked for and cannot be had.
    """
    wanted = security.parse(options.security_opts)
    process = spec["process"]
    profile = _profile(wanted.seccomp, process["capabilities"]["bounding"], options.privileged)
    if wanted.apparmor and wanted.apparmor != security.UNCONFINED:
        if not os.path.exists(_APPARMOR):
            raise UnsupportedError(
                f"cannot hold it to the AppArmor profile {wanted.apparmor}",
                "this kernel has no AppArmor",
                "leave the option out",
            )
        process["apparmorProfile"] = wanted.apparmor
    for label in security.labels(options.security_opts):
        if label != "disable" and os.path.exists(_SELINUX):
            raise UnsupportedError(f"cannot set the label {label}", "cowl sets none", "use label=disable")
    return profile


def _profile(wanted: str, capabilities: Sequence[str], privileged: bool) -> str:
    if wanted == security.UNCONFINED or (privileged and not wanted):
        return ""
    if not seccomp.available():
        if wanted not in ("", security.BUILTIN):
            raise UnsupportedError(
                f"cannot hold it to {wanted}", "this kernel has no seccomp", "use seccomp=unconfined"
            )
        return ""
    from engine.oci import profile

    if wanted in ("", security.BUILTIN):
        return profile.encoded_default(tuple(capabilities))
    found = profile.read_profile(wanted, capabilities)
    check(found)
    return json.dumps(found)


def filtering(spec: JSON, options: LaunchOptions) -> str:
    """What holds the system calls of a container that was made so, in one word for people."""
    wanted = security.parse(options.security_opts).seccomp
    if spec.get("linux", {}).get("seccomp"):
        return wanted or security.BUILTIN
    if wanted == security.UNCONFINED or options.privileged:
        return security.UNCONFINED
    return "unavailable"


class Devices(Record):
    """Device nodes, as linux.devices and linux.resources.devices have them."""

    nodes: tuple[JSON, ...]
    rules: tuple[JSON, ...]


def devices_of(options: LaunchOptions) -> Devices:
    """The nodes and rules that *options* ask for. Raises UsageError for what is no device."""
    nodes = host_devices() if options.privileged else []
    rules: list[JSON] = []
    for text in options.devices:
        wanted = security.device(text)
        for node in _nodes(wanted):
            nodes.append(node)
            rules.append(
                {
                    "allow": True,
                    "type": node["type"],
                    "major": node["major"],
                    "minor": node["minor"],
                    "access": wanted.access,
                }
            )
    rules += [security.device_rule(text) for text in options.device_cgroup_rules]
    return Devices(tuple(nodes), tuple(rules))


_BLOCK_LIMITS = {
    "weight": ("weightDevice", "weight"),
    "read-bps": ("throttleReadBpsDevice", "rate"),
    "write-bps": ("throttleWriteBpsDevice", "rate"),
    "read-iops": ("throttleReadIOPSDevice", "rate"),
    "write-iops": ("throttleWriteIOPSDevice", "rate"),
}
"""By the kind of a limit: its array in linux.resources.blockIO, and the field of its number."""


def block_limits(options: LaunchOptions) -> JSON:
    """What *options* ask for of block devices, as linux.resources.blockIO has it. Raises UsageError."""
    found: JSON = {}
    for text in options.block_limits:
        kind, _, rest = text.partition("=")
        path, _, number = rest.rpartition(":")
        array, field = _BLOCK_LIMITS[kind]
        status = _status(path)
        if not stat.S_ISBLK(status.st_mode):
            raise UsageError(f"{path} is no block device", "nothing else has limits of IO", "see lsblk")
        entry = {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
        value = weight(int(number)) if kind == "weight" else int(number)
        if value <= 0:
            raise UsageError(f"bad rate {value} for {path}", "it would never be used", "leave it out")
        found.setdefault(array, []).append(entry | {field: value})
    return found


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise UsageError(f"no device {path}", error.strerror or str(error)) from error


def _nodes(wanted: security.DeviceWanted) -> list[JSON]:
    """The device, or all below it where it is a directory."""
    status = _status(wanted.source)
    if stat.S_ISDIR(status.st_mode):
        return [
            {**node, "path": wanted.destination + node["path"][len(wanted.source) :]}
            for node in _below(wanted.source.rstrip("/"))
        ]
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise UsageError(f"{wanted.source} is no device", hint="to show a file, use -v")
    return [_device(wanted.destination, status)]


def host_devices() -> list[JSON]:
    """The device nodes of this machine: what `--privileged` gives."""
    return _below("/dev")


def _below(top: str) -> list[JSON]:
    found: list[JSON] = []
    pending = [top]
    while pending:
        directory = pending.pop()
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.path in _OWN_DEVICES:
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)
                elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                    found.append(_device(entry.path, status))
    return sorted(found, key=lambda device: str(device["path"]))


def _device(path: str, status: os.stat_result) -> JSON:
    return {
        "path": path,
        "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
