"""What a document wants of a process beyond its identity: scheduling, priorities, labels."""

from __future__ import annotations

import contextlib
import os

from engine.errors import LaunchError
from engine.kernel import mount, scheduling
from engine.launch.program import Program
from engine.model import JSON

_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SELINUX = "/sys/fs/selinux/enforce"


def confined(program: Program, document: JSON) -> Program:
    """*program* with what the process object *document* says; LaunchError for what this kernel has not."""
    if wanted := document.get("scheduler"):
        program = program._replace(scheduler=_scheduler(wanted))
    if wanted := document.get("ioPriority"):
        level = int(wanted.get("priority", 0))
        if not 0 <= level <= 7:
            raise ValueError(f"the I/O priority {level} is not within 0 and 7")
        program = program._replace(io_priority=(scheduling.IO_CLASSES[wanted["class"]], level))
    profile, label = document.get("apparmorProfile") or "", document.get("selinuxLabel") or ""
    if profile and not has_apparmor():
        raise LaunchError(f"cannot apply the profile {profile}", "AppArmor is not enabled in this kernel")
    if label and not has_selinux():
        raise LaunchError(f"cannot apply the label {label}", "SELinux is not enabled in this kernel")
    return program._replace(apparmor=profile, selinux=label)


def with_personality(program: Program, wanted: JSON) -> Program:
    """*program* with what ``linux.personality`` says; KeyError or ValueError for what is not known."""
    if wanted.get("flags"):
        raise ValueError("no flags of a personality are known")
    return program._replace(personality=scheduling.PERSONALITIES[wanted["domain"]])


def has_apparmor() -> bool:
    """Whether this kernel confines by AppArmor profiles."""
    with contextlib.suppress(OSError), open(_APPARMOR, encoding="ascii") as file:
        return file.read(1) == "Y"
    return False


def has_selinux() -> bool:
    """Whether this kernel confines by SELinux labels."""
    return os.path.exists(_SELINUX)


def _scheduler(wanted: JSON) -> bytes:
    flags = 0
    for flag in wanted.get("flags") or ():
        flags |= scheduling.FLAGS[flag]
    times = tuple(int(wanted.get(key) or 0) for key in ("runtime", "deadline", "period"))
    return scheduling.scheduler(
        scheduling.POLICIES[wanted["policy"]],
        flags,
        int(wanted.get("nice") or 0),
        int(wanted.get("priority") or 0),
        (times[0], times[1], times[2]),
    )


def apply(program: Program) -> None:
    """Give this process, in the container already, what `confined` has found."""
    if program.personality:
        scheduling.set_personality(program.personality)
    if program.scheduler:
        scheduling.set_scheduler(program.scheduler)
    if program.io_priority:
        scheduling.set_io_priority(*program.io_priority)
    if program.apparmor:
        _label("apparmor/exec", f"exec {program.apparmor}")
    if program.selinux:
        _label("exec", program.selinux)


def _label(name: str, text: str) -> None:
    """Write one of /proc/self/attr, in the kernel's own /proc only (CVE-2019-19921)."""
    try:
        descriptor = os.open(f"/proc/thread-self/attr/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            if mount.file_system(descriptor) != mount.PROC_SUPER_MAGIC:
                raise LaunchError(f"cannot apply the label {text}", "/proc is not the kernel's own")
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LaunchError(f"cannot apply the label {text}", error.strerror or str(error)) from error
