"""Process identities, namespaces, capabilities and descriptors, on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from engine.kernel import capabilities, namespaces, process, syscalls

pytestmark = pytest.mark.kernel


def in_child(work: Callable[[], bool]) -> bool:
    """What *work* returns, run in a fork."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 1), "the child raised"
    return status == 0


def test_an_identity_is_of_one_process() -> None:
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        who = process.identify(sleeper.pid)
        assert who is not None
        assert process.alive(who)
        assert not process.is_ending(who)
        stranger = process.Identity(who.pid, who.start - 1)
        assert not process.alive(stranger)
        assert process.is_ending(stranger)
        assert process.open_pidfd(stranger) is None
        assert not process.send_signal(stranger, signal.SIGKILL)
        assert sleeper.poll() is None
        assert process.send_signal(who, signal.SIGKILL)
    finally:
        sleeper.kill()
        assert sleeper.wait() == -signal.SIGKILL
    assert not process.alive(who)
    assert process.is_ending(who)
    assert process.identify(sleeper.pid) is None


def test_a_zombie_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process.start_time(pid) is None
    os.waitpid(pid, 0)


def test_exit_codes() -> None:
    assert process.exit_code(3 << 8) == 3
    assert process.exit_code(9) == 137


def test_clone_gives_a_first_process() -> None:
    pid = namespaces.clone(namespaces.CLONE_NEWPID | namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWNET)
    if pid == 0:
        code = 1
        try:
            namespaces.bring_up_loopback()
            code = 40 + os.getpid()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 41


def test_setns_by_pidfd() -> None:
    pid = namespaces.clone(namespaces.CLONE_NEWUTS)
    if pid == 0:
        signal.pause()
        os._exit(0)
    there = os.readlink(f"/proc/{pid}/ns/uts")
    pidfd = os.pidfd_open(pid)

    def work() -> bool:
        namespaces.setns(pidfd, namespaces.CLONE_NEWUTS)
        return os.readlink("/proc/self/ns/uts") == there

    try:
        assert in_child(work)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)


def test_capability_sets() -> None:
    wanted = capabilities.mask(["CAP_CHOWN", "CAP_KILL"])

    def work() -> bool:
        capabilities.drop_bounding(wanted)
        capabilities.clear_ambient()
        capabilities.set_sets(wanted, wanted, 0)
        return capabilities.own() == capabilities.Sets(wanted, wanted, 0, wanted, 0)

    assert in_child(work)


def test_capability_names_follow_the_kernel() -> None:
    assert capabilities.NUMBERS["CAP_CHOWN"] == 0
    assert capabilities.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert capabilities.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40
    bits = capabilities.mask(["CAP_MKNOD", "CAP_BPF"])
    assert capabilities.names(bits) == ["CAP_MKNOD", "CAP_BPF"]
    with pytest.raises(KeyError):
        capabilities.mask(["CAP_NOTHING"])
    assert capabilities.last() >= 37


def test_no_new_privileges_and_hiding() -> None:
    def work() -> bool:
        process.forbid_new_privileges()
        process.hide()
        with open("/proc/thread-self/status", encoding="ascii") as file:
            return "NoNewPrivs:\t1" in file.read()

    assert in_child(work)


def test_limits() -> None:
    import resource

    def work() -> bool:
        process.set_limit("RLIMIT_NOFILE", 50, 60)
        return resource.getrlimit(resource.RLIMIT_NOFILE) == (50, 60)

    assert in_child(work)
    with pytest.raises(KeyError):
        process.set_limit("RLIMIT_NOTHING", 1, 1)


@pytest.mark.parametrize("without_call", [False, True])
def test_close_all_but(without_call: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if without_call:
        monkeypatch.setattr(syscalls, "close_range", syscalls._close_listed)

    def work() -> bool:
        opened = [os.open("/", os.O_RDONLY) for _ in range(6)]
        kept = {opened[1], opened[4]}
        syscalls.close_all_but(kept)
        left = set()
        for descriptor in range(3, max(opened) + 5):
            try:
                os.fstat(descriptor)
            except OSError:
                continue
            left.add(descriptor)
        return left == kept

    assert in_child(work)


def test_openat2_stays_inside(tmp_path: object) -> None:
    os.symlink("/etc/passwd", f"{tmp_path}/out")
    os.symlink("../../../../../../../../etc/passwd", f"{tmp_path}/up")
    root = os.open(str(tmp_path), os.O_PATH)
    try:
        for name in ("out", "up", "../../../etc/passwd"):
            with pytest.raises(FileNotFoundError):
                syscalls.openat2(root, name, os.O_RDONLY, syscalls.RESOLVE_IN_ROOT)
        with pytest.raises(OSError, match="Too many levels"):
            syscalls.openat2(root, "out", os.O_RDONLY, syscalls.RESOLVE_NO_SYMLINKS)
    finally:
        os.close(root)
