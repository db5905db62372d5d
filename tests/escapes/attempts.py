"""Ways out, tried from the inside: this file's text is run by the Python of a container's image.

``python3 -c TEXT`` with a JSON object of system call numbers as its argument prints a JSON object: for each
attempt ``done``, the name of the error that it got, or the signal that ended it. Each is made in a process of
its own, and so that nothing of the host changes should it succeed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable
from functools import partial

NUMBERS: dict[str, int] = {}
_libc = ctypes.CDLL(None, use_errno=True)

CLONE_FLAGS = {
    "user": 0x10000000,
    "mount": 0x20000,
    "pid": 0x20000000,
    "network": 0x40000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "cgroup": 0x2000000,
}


def call(name: str, *arguments: object) -> int:
    """One system call; OSError when it fails, as when the machine has none of that name."""
    if name not in NUMBERS:
        raise OSError(errno.ENOSYS, name)
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc.syscall(ctypes.c_long(NUMBERS[name]), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def calls() -> dict[str, Callable[[], object]]:
    """System calls that a container must not be let through with, each with arguments that are in order."""
    buffer = ctypes.create_string_buffer(4096)
    found: dict[str, Callable[[], object]] = {
        "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "mount bind": lambda: call("mount", b"/", b"/tmp", None, 4096, None),
        "mount remount": lambda: call("mount", None, b"/proc/sys", None, 32 | 4096, None),
        "umount2": lambda: call("umount2", b"/proc/sys", 2),
        "umount2 of a mask": lambda: call("umount2", b"/proc/timer_list", 2),
        "pivot_root": lambda: call("pivot_root", b".", b"."),
        "fsopen": lambda: call("fsopen", b"tmpfs", 0),
        "open_tree": lambda: call("open_tree", -100, b"/", 1),
        "move_mount": lambda: call("move_mount", -100, b"/tmp", -100, b"/mnt", 0),
        "mount_setattr": lambda: call("mount_setattr", -100, b"/proc/sys", 0, buffer, 32),
        "clone user": lambda: call("clone", CLONE_FLAGS["user"] | signal.SIGCHLD, 0, 0, 0, 0),
        "clone3 user": lambda: call("clone3", struct.pack("11Q", CLONE_FLAGS["user"], *[0] * 10), 88),
        "setns": lambda: call("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0),
        "bpf": lambda: call("bpf", 0, struct.pack("5I", 1, 4, 4, 1, 0), 20),
        "perf_event_open": lambda: call(
            "perf_event_open", struct.pack("IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0
        ),
        "userfaultfd": lambda: call("userfaultfd", 0),
        "keyctl": lambda: call("keyctl", 0, -3, 0, 0, 0),
        "add_key": lambda: call("add_key", b"user", b"escape", b"x", 1, -2),
        "request_key": lambda: call("request_key", b"user", b"escape", None, 0),
        "init_module": lambda: call("init_module", buffer, 16, b""),
        "finit_module": lambda: call("finit_module", os.open("/etc/passwd", os.O_RDONLY), b"", 0),
        "delete_module": lambda: call("delete_module", b"cowl_nosuch", 0o4000),
        "kexec_load": lambda: call("kexec_load", 0, 0, None, 0xFFFF),
        "iopl": lambda: call("iopl", 3),
        "ioperm": lambda: call("ioperm", 0x80, 1, 1),
        "reboot": lambda: call("reboot", 0x1234, 0, 0, None),
        "settimeofday": lambda: call("settimeofday", None, None),
        "clock_settime": lambda: call("clock_settime", 0, struct.pack("qq", 0, -1)),
        "adjtimex": lambda: call("adjtimex", struct.pack("i", 0x4000) + bytes(204)),
        "quotactl": lambda: call("quotactl", 0x800003 << 8, None, 0, buffer),
        "swapon": lambda: call("swapon", b"/nosuch", 0),
        "swapoff": lambda: call("swapoff", b"/nosuch"),
        "acct": lambda: call("acct", b"/nosuch"),
        "syslog": lambda: call("syslog", 3, buffer, 4096),
        "open_by_handle_at": lambda: call(
            "open_by_handle_at", os.open("/etc/hosts", os.O_RDONLY), struct.pack("IiII", 8, 1, 2, 0), 0
        ),
        "kcmp": lambda: call("kcmp", 1, os.getpid(), 0, 0, 0),
        "pidfd_getfd": lambda: call("pidfd_getfd", os.pidfd_open(os.getppid()), 0, 0),
        "personality": lambda: call("personality", 0x40000),
        "vhangup": lambda: call("vhangup"),
        "sethostname": lambda: call("sethostname", b"escaped", 7),
        "setdomainname": lambda: call("setdomainname", b"escaped", 7),
        "fanotify_init": lambda: call("fanotify_init", 0, 0),
        "io_uring_setup": lambda: call("io_uring_setup", 1, buffer),
        "socket vsock": lambda: call("socket", 40, 1, 0),
        "socket alg": lambda: call("socket", 38, 5, 0),
        "move_pages": lambda: call("move_pages", 0, 0, None, None, None, 0),
        "mbind": lambda: call("mbind", None, 0, 0, None, 0, 0),
        "lookup_dcookie": lambda: call("lookup_dcookie", 1, buffer, 10),
        "another file as its own": lambda: call("prctl", 35, 13, 0, 0, 0),
        "more capabilities": lambda: call(
            "capset", struct.pack("Ii", 0x20080522, 0), struct.pack("6I", *[0xFFFFFFFF] * 6)
        ),
    }
    for kind, flag in CLONE_FLAGS.items():
        found[f"unshare {kind}"] = partial(call, "unshare", flag)
    return found | priorities() | other_words()


def priorities() -> dict[str, Callable[[], object]]:
    """What is others' to have, taken by standing in front of them."""
    return {
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "nicer than others": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
        "disks in real time": lambda: call("ioprio_set", 1, 0, 1 << 13),
        "an attribute of overlayfs": lambda: os.setxattr("/root", "trusted.overlay.opaque", b"y"),
        "an attribute that is trusted": lambda: os.setxattr("/root", "trusted.escape", b"y"),
        "an interface": lambda: _ioctl(0x8914, struct.pack("16sh14x", b"lo", 0)),  # SIOCSIFFLAGS
    }


def _ioctl(number: int, argument: bytes) -> None:
    with socket.socket() as channel:
        fcntl.ioctl(channel, number, argument)


LOW = 0x10000000
"""An address that fits in 32 bits."""
I386 = {"mount": 21, "unshare": 310, "keyctl": 288, "userfaultfd": 374, "setns": 346, "init_module": 128}


def other_words() -> dict[str, Callable[[], object]]:
    """The same calls by numbers of another kind, which a filter that knows one kind alone lets pass."""
    if os.uname().machine != "x86_64":
        return {}
    found: dict[str, Callable[[], object]] = {
        f"x32 {name}": partial(_x32, name, *arguments)
        for name, arguments in (
            ("unshare", (CLONE_FLAGS["user"],)),
            ("keyctl", (0, -3, 0)),
            ("mount", (0,) * 5),
        )
    }
    found |= {f"i386 {name}": partial(_i386, number) for name, number in I386.items()}
    found["i386 socket vsock"] = partial(_i386, 359, 40, 1)
    return found


def _x32(name: str, *arguments: int) -> None:
    if _libc.syscall(ctypes.c_long(NUMBERS[name] | 1 << 30), *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), name)


def _i386(number: int, first: int = 0, second: int = 0) -> None:
    """One call by int $0x80, which is answered even in a program of 64 bits; ENOSYS where it is not."""
    _libc.mmap.restype = ctypes.c_void_p
    place = _libc.mmap(ctypes.c_void_p(LOW), 4096, 7, 0x32, -1, ctypes.c_long(0))
    if _interrupt(place, 20) != os.getpid():  # getpid, if its numbers are those of i386 at all
        raise OSError(errno.ENOSYS, "int $0x80")
    result = _interrupt(place, number, first, second)
    if result < 0:
        raise OSError(-result, "int $0x80")


def _interrupt(place: int, number: int, first: int = 0, second: int = 0) -> int:
    words = (b"\xb8", number), (b"\xbb", first), (b"\xb9", second), (b"\xba", 0)
    code = b"".join(register + struct.pack("<I", word) for register, word in words)
    code = b"\x53" + code + b"\xcd\x80\x5b\xc3"  # EBX is the caller's
    ctypes.memmove(place, code, len(code))
    result: int = ctypes.CFUNCTYPE(ctypes.c_int)(place)()
    return result


def opened(path: str, flags: int) -> None:
    """Open and nothing more: to be let in is the failure, and nothing of the host is changed by it."""
    os.close(os.open(path, flags))


def files() -> dict[str, Callable[[], object]]:
    """Files of the kernel through which the host could be changed or read."""
    writing = (
        *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/panic_on_oom"),
        *("/proc/sys/kernel/hostname", "/proc/sys/fs/binfmt_misc/register", "/proc/sysrq-trigger"),
        *("/proc/irq/default_smp_affinity", "/proc/bus/pci/devices", "/proc/mtrr"),
        *("/sys/kernel/uevent_helper", "/sys/kernel/profiling", "/sys/power/state", "/sys/kernel/mm/ksm/run"),
        *(
            "/sys/module/kernel/parameters/panic",
            "/sys/fs/cgroup/release_agent",
            "/sys/fs/cgroup/cgroup.procs",
        ),
        "/sys/kernel/tracing/trace",
    )
    reading = (
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/dev/kmsg",
        "/dev/kvm",
        "/dev/vda",
        "/dev/sda",
        "/dev/loop0",
    )
    found: dict[str, Callable[[], object]] = {
        f"write {path}": partial(opened, path, os.O_WRONLY) for path in writing
    }
    found.update({f"read {path}": partial(opened, path, os.O_RDONLY) for path in reading})
    for place in ("", "/tmp", "/dev", "/dev/shm", "/run"):
        for name, kind, number in NODES:
            found[f"read {name} by a node in {place}/"] = partial(_by_node, place, kind, number)
    found["read /proc/kmsg"] = lambda: opened("/proc/kmsg", os.O_RDONLY)
    found["more chance to live"] = lambda: _write("/proc/self/oom_score_adj", b"-1000")
    for controller in ("", "devices", "memory", "pids", "freezer"):
        place = f"/sys/fs/cgroup/{controller}".rstrip("/")
        found[f"make a cgroup in {place}"] = partial(os.mkdir, f"{place}/escape")
        for name in (
            "release_agent",
            "notify_on_release",
            "devices.allow",
            "cgroup.procs",
            "memory.limit_in_bytes",
        ):
            path = f"{place}/{name}"
            found[f"write {path}"] = partial(opened, path, os.O_WRONLY)
    return found


NODES = (
    *((f"disk {major}", stat.S_IFBLK, os.makedev(major, 0)) for major in (8, 98, 254, 259)),
    ("memory", stat.S_IFCHR, os.makedev(1, 1)),
    ("ports", stat.S_IFCHR, os.makedev(1, 4)),
    ("messages", stat.S_IFCHR, os.makedev(1, 11)),
)


def _by_node(place: str, kind: int, number: int) -> None:
    path = f"{place}/node-{os.getpid()}"
    os.mknod(path, kind | 0o600, number)
    try:
        opened(path, os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.unlink(path)


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def outcome(attempt: Callable[[], object]) -> str:
    """What comes of *attempt* in a process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        said = b"done"
        try:
            attempt()
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, str(error.errno)).encode()
        finally:
            os.write(writer, said)
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 100)
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    return said.decode() if said else f"signal {os.WTERMSIG(status)}"


def main() -> None:
    NUMBERS.update(json.loads(sys.argv[1]))
    found = {name: outcome(attempt) for name, attempt in (calls() | files()).items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
