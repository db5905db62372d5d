"""The shape of a runtime-spec document: which properties it may have, and of which types.

What others have written is checked before anything is made of it, so that all that works with a document may
rely on it. Properties that are not known are left as they are, and null counts as not being there.
"""

from __future__ import annotations

from engine.errors import LaunchError
from engine.model import JSON
from engine.record import Record

Shape = object
"""A type; a list or dict of shapes; or one of the records below. ``!`` marks a key that must be there."""


class Whole(Record):
    """A whole number within bounds."""

    least: int
    most: int


class Every(Record):
    """An object in which every value has one shape, whatever its name."""

    shape: Shape


_INT = Whole(-(1 << 63), (1 << 63) - 1)
_UINT = Whole(0, (1 << 64) - 1)
_ID = Whole(0, 0xFFFFFFFE)
_NUMBER = Whole(-1, 0xFFFFFFFF)
_MODE = Whole(0, 0o7777)

_MAPPING: Shape = [{"!containerID": _ID, "!hostID": _ID, "!size": Whole(1, 0xFFFFFFFF)}]
_HOOK: Shape = [{"!path": str, "args": [str], "env": [str], "timeout": _INT}]
_RATE: Shape = [{"!major": _NUMBER, "!minor": _NUMBER, "!rate": _UINT}]

PROCESS: Shape = {
    "terminal": bool,
    "consoleSize": {"height": object, "width": object},
    "!cwd": str,
    "env": [str],
    "!args": [str],
    "rlimits": [{"!type": str, "!soft": Whole(-1, (1 << 64) - 1), "!hard": Whole(-1, (1 << 64) - 1)}],
    "apparmorProfile": str,
    "selinuxLabel": str,
    "capabilities": {
        kind: [str] for kind in ("effective", "bounding", "inheritable", "permitted", "ambient")
    },
    "noNewPrivileges": bool,
    "oomScoreAdj": Whole(-1000, 1000),
    "scheduler": {
        "!policy": str,
        "nice": Whole(-20, 19),
        "priority": Whole(-100, 100),
        "flags": [str],
        "runtime": _UINT,
        "deadline": _UINT,
        "period": _UINT,
    },
    "ioPriority": {"!class": str, "priority": _INT},
    "execCPUAffinity": {"initial": str, "final": str},
    "user": {"uid": _ID, "gid": _ID, "umask": _MODE, "additionalGids": [_ID]},
}
RESOURCES: Shape = {
    "devices": [{"!allow": bool, "type": str, "major": _NUMBER, "minor": _NUMBER, "access": str}],
    "memory": {
        **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), _INT),
        "swappiness": Whole(0, 200),
        **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), bool),
    },
    "cpu": {
        **dict.fromkeys(("shares", "burst", "period", "realtimePeriod"), _UINT),
        **dict.fromkeys(("quota", "realtimeRuntime", "idle"), _INT),
        **dict.fromkeys(("cpus", "mems"), str),
    },
    "pids": {"limit": _INT},
    "blockIO": {
        "weight": Whole(0, 1000),
        "leafWeight": Whole(0, 1000),
        "weightDevice": [
            {"!major": _NUMBER, "!minor": _NUMBER, "weight": Whole(0, 1000), "leafWeight": Whole(0, 1000)}
        ],
        "throttleReadBpsDevice": _RATE,
        "throttleWriteBpsDevice": _RATE,
        "throttleReadIOPSDevice": _RATE,
        "throttleWriteIOPSDevice": _RATE,
    },
    "hugepageLimits": [{"!pageSize": str, "!limit": _UINT}],
    "network": {
        "classID": Whole(0, 0xFFFFFFFF),
        "priorities": [{"!name": str, "!priority": Whole(0, 0xFFFFFFFF)}],
    },
    "rdma": Every({"hcaHandles": Whole(0, 0xFFFFFFFF), "hcaObjects": Whole(0, 0xFFFFFFFF)}),
    "unified": Every(str),
}
_SECCOMP: Shape = {
    "!defaultAction": str,
    "defaultErrnoRet": Whole(0, 0xFFFFFFFF),
    "architectures": [str],
    "flags": [str],
    "listenerPath": str,
    "listenerMetadata": str,
    "syscalls": [
        {
            "!names": [str],
            "!action": str,
            "errnoRet": Whole(0, 0xFFFFFFFF),
            "args": [{"!index": _UINT, "!value": object, "valueTwo": object, "!op": str}],
        }
    ],
}
_LINUX: Shape = {
    "namespaces": [{"!type": str, "path": str}],
    "uidMappings": _MAPPING,
    "gidMappings": _MAPPING,
    "timeOffsets": Every({"secs": _INT, "nanosecs": Whole(0, 999_999_999)}),
    "devices": [
        {
            "!type": str,
            "!path": str,
            "major": _NUMBER,
            "minor": _NUMBER,
            "fileMode": Whole(0, 0o177777),
            "uid": _ID,
            "gid": _ID,
        }
    ],
    "cgroupsPath": str,
    "resources": RESOURCES,
    "rootfsPropagation": str,
    "seccomp": _SECCOMP,
    "sysctl": Every(str),
    "maskedPaths": [str],
    "readonlyPaths": [str],
    "mountLabel": str,
    "intelRdt": dict,
    "netDevices": dict,
    "personality": {"!domain": str, "flags": [str]},
}
DOCUMENT: Shape = {
    "!ociVersion": object,
    "!root": {"!path": str, "readonly": bool},
    "mounts": [
        {
            "!destination": str,
            "type": str,
            "source": str,
            "options": [str],
            "uidMappings": _MAPPING,
            "gidMappings": _MAPPING,
        }
    ],
    "process": PROCESS,
    "hostname": str,
    "domainname": str,
    "hooks": dict.fromkeys(
        ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"), _HOOK
    ),
    "annotations": Every(str),
    "linux": _LINUX,
}


def checked(document: object, shape: Shape = DOCUMENT, name: str = "config.json") -> JSON:
    """*document* without its nulls; LaunchError that says where it is not of the *shape* it has to be."""
    try:
        found = _checked(document, shape, "")
    except ValueError as error:
        raise LaunchError(f"{name} is malformed", str(error)) from error
    assert isinstance(found, dict)
    return found


def _checked(value: object, shape: Shape, where: str) -> object:
    if isinstance(shape, dict):
        return _object(value, shape, where)
    if isinstance(shape, Every):
        if not isinstance(value, dict) or "" in value:
            raise ValueError(f"{where} is no object with names")
        return {
            _text(key, where): _checked(entry, shape.shape, f"{where}.{key}") for key, entry in value.items()
        }
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise ValueError(f"{where} is no array")
        return [_checked(entry, shape[0], f"{where}[{number}]") for number, entry in enumerate(value)]
    if isinstance(shape, Whole):
        if not isinstance(value, int) or isinstance(value, bool) or not shape.least <= value <= shape.most:
            raise ValueError(f"{where} is no number from {shape.least} to {shape.most}")
    elif shape is str:
        return _text(value, where)
    elif isinstance(shape, type) and not isinstance(value, shape):
        raise ValueError(f"{where} is {'neither true nor false' if shape is bool else 'no object'}")
    return value


def _object(value: object, shape: dict[str, Shape], where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'it'} is no object")
    found = {key: entry for key, entry in value.items() if entry is not None}
    for key, inner in shape.items():
        name = key.lstrip("!")
        if name in found:
            found[name] = _checked(found[name], inner, f"{where}.{name}".lstrip("."))
        elif key[0] == "!":
            raise ValueError(f"{where or 'it'} has no {name}")
    return found


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{where} is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} is no text that can be written") from None
    return value
