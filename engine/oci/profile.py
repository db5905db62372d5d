"""Seccomp profiles: docker's default as data of our own, and files of docker's or the runtime-spec's form.

A profile is a `linux.seccomp` object with conditions besides: on the capabilities that a container may ever
have (its bounding set), on the machine and on the kernel. `default_profile` and `resolved` settle them. The
facts are those of moby's profiles/seccomp, default.json. Like that one it lets `socketcall` of i386 pass, as
programs of 32 bits have no network without it: the family of sockets that it asks for is in memory, out of a
filter's sight.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from engine.errors import UsageError
from engine.model import JSON

ALWAYS = """
_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack
membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2
mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2
pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64
process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat
renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg
sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl
shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat
stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
vmsplice wait4 waitid waitpid write writev
"""
"""What every container may call, on whichever architecture it is there."""

OF_MACHINES: Mapping[str, str] = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
}
SINCE_4_8 = "process_vm_readv process_vm_writev ptrace"
"""Safe since a tracer cannot change a call any more that has been decided on."""

OF_CAPABILITIES: Mapping[str, str] = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
        "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open "
        "quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}
"""What a capability opens besides."""

_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEW… of clone(2): every kind but time, which clone cannot make."""
_ENOSYS = 38
_EPERM = 1
_AF_ALG, _AF_BETWEEN, _AF_VSOCK = 38, 39, 40
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux and Linux on 32 bits, each with UNAME26 or without, and the question which it is."""

ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
"""How profile files call the machines in their conditions."""


def default_profile(capabilities: Collection[str]) -> JSON:
    """`linux.seccomp` of a container that may ever have *capabilities*, on this machine."""
    system = os.uname()
    allowed = [ALWAYS, OF_MACHINES.get(system.machine, "")]
    allowed += [names for name, names in OF_CAPABILITIES.items() if name in capabilities]
    if _version(system.release) >= (4, 8):
        allowed.append(SINCE_4_8)
    rules: list[JSON] = [_rule(name for text in allowed for name in text.split())]
    rules += [_rule(["socket"], "LT", _AF_ALG), _rule(["socket"], "EQ", _AF_BETWEEN)]
    rules += [_rule(["socket"], "GT", _AF_VSOCK)]
    rules += [_rule(["personality"], "EQ", value) for value in _PERSONALITIES]
    if "CAP_SYS_ADMIN" not in capabilities:
        rules.append(_rule(["clone"], "MASKED_EQ", _NEW_NAMESPACES))
        # Its flags are in memory, out of a filter's sight; who hears ENOSYS takes clone(2).
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": list(ARCHITECTURES.get(system.machine, ())),
        "syscalls": rules,
    }


@lru_cache(maxsize=16)
def encoded_default(capabilities: tuple[str, ...]) -> str:
    """`default_profile` as JSON: most of a container's document, and the same for most of them."""
    import json

    return json.dumps(default_profile(capabilities))


def _rule(names: Iterable[str], operator: str = "", value: int = 0) -> JSON:
    """Allow *names*, if their first argument compares so."""
    rule: JSON = {"names": list(dict.fromkeys(names)), "action": "SCMP_ACT_ALLOW"}
    if operator:
        rule["args"] = [{"index": 0, "value": value, "op": f"SCMP_CMP_{operator}"}]
    return rule


def read_profile(path: str, capabilities: Collection[str]) -> JSON:
    """`linux.seccomp` out of the profile in the file *path*.

    Raises UsageError for a file that cannot be read, and for what is no profile.
    """
    import json

    try:
        with open(path, encoding="utf-8") as file:
            profile = json.load(file)
    except OSError as error:
        raise UsageError(f"cannot read the seccomp profile {path}", error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no seccomp profile", str(error)) from error
    try:
        return resolved(profile, capabilities)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is no seccomp profile", f"{type(error).__name__}: {error}") from error


def resolved(profile: JSON, capabilities: Collection[str]) -> JSON:
    """*profile* with its conditions settled for this machine; raises ValueError and the like."""
    system = os.uname()
    found = {key: value for key, value in profile.items() if key not in ("archMap", "syscalls")}
    if profile.get("archMap"):
        if profile.get("architectures"):
            raise ValueError("it has both architectures and archMap")
        own = ARCHITECTURES.get(system.machine, ("",))[0]
        for entry in profile["archMap"]:
            if entry["architecture"] == own:
                found["architectures"] = [own, *(entry.get("subArchitectures") or ())]
    found["syscalls"] = [
        _plain(entry)
        for entry in profile.get("syscalls") or ()
        if _holds(entry.get("includes") or {}, capabilities, system, all)
        and not (entry.get("excludes") and _holds(entry["excludes"], capabilities, system, any))
    ]
    return found


def _plain(entry: JSON) -> JSON:
    """A rule of the runtime-spec; older profiles have a single name."""
    if entry.get("name"):
        if entry.get("names"):
            raise ValueError("a rule has both name and names")
        entry = {**entry, "names": [entry["name"]]}
    kept = ("names", "action", "errnoRet", "args")
    return {key: entry[key] for key in kept if entry.get(key) is not None}


def _holds(condition: JSON, capabilities: Collection[str], system: os.uname_result, which: Any) -> bool:
    """Whether *which*, all or any, of what a condition names is so: capabilities, machine, kernel."""
    found = [name in capabilities for name in condition.get("caps") or ()]
    if machines := condition.get("arches"):
        found.append(_GO_NAMES.get(system.machine) in machines)
    if condition.get("minKernel"):
        found.append(_version(system.release) >= _version(condition["minKernel"]))
    return bool(which(found))


def _version(release: str) -> tuple[int, int]:
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None:
        raise ValueError(f"no version of a kernel: {release}")
    return int(numbers[1]), int(numbers[2])
