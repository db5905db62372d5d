"""``features`` and ``spec``: what this runtime can do on this kernel, and a document to begin with."""

from __future__ import annotations

import os

from engine.kernel import capabilities, namespaces, seccomp
from engine.launch import confinement, hooks, steps
from engine.model import JSON
from engine.oci import runtime, syscalls
from engine.oci import seccomp as compiler
from engine.version import VERSION

_MOUNTS = (
    ("/proc", "proc", "nosuid,noexec,nodev"),
    ("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    ("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
    ("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
    ("/sys/fs/cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
)


def features() -> JSON:
    """The features object (runtime-spec, features.md)."""
    known = [name for name in namespaces.BY_TYPE if os.path.exists(f"/proc/self/ns/{_file(name)}")]
    last = capabilities.last()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": runtime.VERSION,
        "hooks": list(hooks.KINDS),
        "mountOptions": list(steps.OPTIONS),
        "linux": {
            "namespaces": known,
            "capabilities": [name for name, number in capabilities.NUMBERS.items() if number <= last],
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": _seccomp(),
            "apparmor": {"enabled": confinement.has_apparmor()},
            "selinux": {"enabled": confinement.has_selinux()},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"cowl.version": VERSION},
    }


def _seccomp() -> JSON:
    """What `linux.seccomp` may ask for; listeners are refused (features-linux.md, Seccomp)."""
    family = syscalls.FAMILIES.get(os.uname().machine, ())
    return {
        "enabled": seccomp.available(),
        "actions": [f"SCMP_ACT_{name}" for name in compiler.ACTIONS],
        "operators": sorted(f"SCMP_CMP_{name}" for name in compiler.OPERATORS),
        "archs": [f"SCMP_ARCH_{each.name}" for each in family],
        "knownFlags": list(compiler.FLAGS),
        "supportedFlags": list(compiler.FLAGS),
    }


def _file(name: str) -> str:
    return {"mount": "mnt", "network": "net"}.get(name, name)


def example() -> JSON:
    """A document with the defaults of a container of cowl, for a shell."""
    given = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    return {
        "ociVersion": runtime.VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"PATH={runtime.PATH}", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), given),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "cowl",
        "mounts": [
            {"destination": path, "type": kind, "source": kind, "options": options.split(",")}
            for path, kind, options in _MOUNTS
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": list(runtime.MASKED),
            "readonlyPaths": list(runtime.READ_ONLY),
        },
    }
