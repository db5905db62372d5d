"""docker's options for devices, masks and shared namespaces, on real containers."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from engine.containers import confining
from engine.engine import Engine
from engine.errors import CommandNotFoundError, LaunchError, NotExecutableError, UnsupportedError, UsageError
from engine.kernel import devices, process, seccomp
from engine.kernel.channel import gethostname
from engine.model import Limits
from tests.support.captures import execute, run, start, wait_for

pytestmark = pytest.mark.kernel

OPEN = "import os, sys\nfor p in sys.argv[1:]:\n  try: os.close(os.open(p, os.O_RDWR)); print('opened')\n"
OPEN += "  except OSError as e: print(e.errno)"


def test_a_device_of_the_host(engine: Engine) -> None:
    code = "import os; s = os.stat('/dev/here/m'); print(s.st_rdev, oct(s.st_mode))"
    source = "/dev/zero"
    done = run(engine, "python3", "-c", code, devices=(f"{source}:/dev/here/m:r",))
    assert done.out == f"{os.makedev(1, 5)} {oct(os.stat(source).st_mode)}\n"


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse to be given")
def test_a_device_can_be_opened_as_far_as_it_was_given(engine: Engine) -> None:
    paths = ("/dev/fuse",)
    assert run(engine, "python3", "-c", OPEN, *paths, devices=paths).out == "opened\n"
    assert run(engine, "python3", "-c", OPEN, *paths, devices=("/dev/fuse:r",)).out == f"{errno.EPERM}\n"
    made = "import os\nos.mknod('/f', 0o20600, os.makedev(10, 229))\n" + OPEN
    assert run(engine, "python3", "-c", made, "/f").out == f"{errno.EPERM}\n"
    rule = ("c 10:229 rwm",)
    assert run(engine, "python3", "-c", made, "/f", device_cgroup_rules=rule).out == "opened\n"


def test_a_directory_of_devices(engine: Engine) -> None:
    if not os.path.isdir("/dev/net"):
        pytest.skip("no directory of devices here")
    done = run(engine, "ls", "/dev/other", devices=("/dev/net:/dev/other",))
    assert done.out.split() == sorted(os.listdir("/dev/net"))


@pytest.mark.parametrize("text", ["/nosuch", "/etc/passwd", "/dev/null:x"])
def test_what_is_no_device_makes_no_container(engine: Engine, text: str) -> None:
    with pytest.raises(UsageError):
        run(engine, "true", devices=(text,))
    assert engine.containers.list() == []


def test_privileged_has_every_device_of_the_host(engine: Engine) -> None:
    found = confining.devices_of(engine.containers.get(start(engine, privileged=True)).options)
    assert {node["path"] for node in found.nodes} == {node["path"] for node in confining.host_devices()}


def test_masks_of_ones_own(engine: Engine) -> None:
    script = "wc -c < /etc/hosts; ls /usr/share | wc -l; wc -c < /etc/hostname"
    done = run(engine, "sh", "-c", script, security_opts=("mask=/etc/hosts:/usr/share",))
    assert done.out.split()[:2] == ["0", "0"]
    assert int(done.out.split()[2]) > 0


def test_unmasking(engine: Engine) -> None:
    script = "grep -c ' /proc/' /proc/self/mountinfo"
    assert int(run(engine, "sh", "-c", script).out) > 3
    for option in ("systempaths=unconfined", "unmask=ALL"):
        assert run(engine, "sh", "-c", script, security_opts=(option,)).out == "0\n"


def test_apparmor_and_labels_where_the_kernel_has_neither(engine: Engine) -> None:
    if not os.path.exists("/sys/module/apparmor"):
        with pytest.raises(UnsupportedError, match="no AppArmor"):
            run(engine, "true", security_opts=("apparmor=docker-default",))
    if not os.path.exists("/sys/fs/selinux/enforce"):
        assert run(engine, "true", security_opts=("label=type:x",)).code == 0
    assert run(engine, "true", security_opts=("apparmor=unconfined", "label=disable")).code == 0


def namespaces(engine: Engine, **options: str) -> dict[str, bool]:
    """By kind: whether it is the host's."""
    kinds = ("ipc", "pid", "uts", "cgroup")
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    lines = run(engine, "sh", "-c", script, **options).out.split()  # type: ignore[arg-type]
    return {
        kind: line == os.readlink(f"/proc/self/ns/{kind}") for kind, line in zip(kinds, lines, strict=True)
    }


@pytest.mark.parametrize(
    ("option", "kind"), [("ipc", "ipc"), ("pid", "pid"), ("uts", "uts"), ("cgroupns", "cgroup")]
)
def test_a_namespace_of_the_host(engine: Engine, option: str, kind: str) -> None:
    found = namespaces(engine, **{option: "host"})
    assert {name for name, shared in found.items() if shared} == {kind}


def test_what_comes_with_a_namespace_of_the_host(engine: Engine) -> None:
    own = gethostname()
    assert run(engine, "hostname", uts="host").out == f"{own}\n"
    assert run(engine, "cat", "/etc/hostname", uts="host").out == f"{own}\n"
    assert str(os.getpid()) in run(engine, "ls", "/proc", pid="host").out.split()
    with open(f"/dev/shm/{engine.root.rpartition('/')[2]}.shared", "w", encoding="ascii") as file:
        try:
            names = run(engine, "ls", "/dev/shm", ipc="host").out.split()
        finally:
            os.unlink(file.name)
    assert os.path.basename(file.name) in names
    with pytest.raises(UsageError, match="rename the host"):
        run(engine, "true", uts="host", hostname="x")
    with pytest.raises(UsageError, match="sysctl"):
        run(engine, "true", ipc="host", sysctls=("kernel.shmmax=1",))


def test_processes_that_share_the_host_s_numbers_end_with_the_first(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "sleep 4321 & echo $!; sleep 0.3", pid="host")
    assert engine.containers.wait(name) == 0
    pid = int(next(iter(engine.containers.logs(name))).text)
    wait_for(lambda: process.start_time(pid) is None)


def test_who_enters_is_in_every_cgroup_of_the_container(engine: Engine) -> None:
    """Also in the second hierarchy of a hybrid machine, which limits nothing but counts pressure."""
    name = start(engine, cgroupns="host")
    lines = [execute(engine, name, "cat", "/proc/self/cgroup").out.split("\n")]
    lines.append(run(engine, "cat", "/proc/self/cgroup", cgroupns="host").out.split("\n"))
    for found in lines:
        paths = {line.split(":")[1]: line.split(":", 2)[2] for line in found if line}
        ours = {kind for kind, path in paths.items() if "/cowl" in path}
        assert "" in ours or not os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        assert {"memory", "pids"} <= ours or "" in ours
    executed, first = ({line.split(":")[1] for line in found if "/cowl" in line} for found in lines)
    assert executed == first


def test_shared_memory_and_groups(engine: Engine) -> None:
    code = "import os; s = os.statvfs('/dev/shm'); print(s.f_blocks * s.f_frsize, sorted(os.getgroups()))"
    done = run(engine, "python3", "-c", code, shm_size=1 << 20, group_add=("77", "tty"), user="12:34")
    size, _, groups = done.out.strip().partition(" ")
    assert int(size) == 1 << 20
    assert groups == "[5, 34, 77]" or groups == "[5, 77]"
    name = start(engine, group_add=("77",))
    for user in (None, "12:34"):
        assert "77" in execute(engine, name, "id", "-G", user=user).out.split()
    with pytest.raises(LaunchError, match="no group nosuch"):
        run(engine, "true", group_add=("nosuch",))


def test_the_chance_to_be_ended(engine: Engine) -> None:
    name = start(engine, oom_score_adj=321)
    assert execute(engine, name, "cat", "/proc/self/oom_score_adj").out == "321\n"
    pid = engine.containers.get(name).pid
    with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
        assert file.read() == "321\n"
    with pytest.raises(UsageError):
        run(engine, "true", oom_score_adj=1001)


def test_a_working_directory_is_made_for_the_first_process_alone(engine: Engine) -> None:
    name = start(engine, "sleep", "100", workdir="/made/here")
    assert execute(engine, name, "pwd").out == "/made/here\n"
    with pytest.raises(CommandNotFoundError, match="No such file"):
        execute(engine, name, "true", workdir="/nosuch")
    with pytest.raises(NotExecutableError, match="Not a directory"):
        execute(engine, name, "true", workdir="/etc/passwd")
    assert execute(engine, name, "ls", "/nosuch").code != 0


def test_a_memory_limit_that_nothing_can_start_in(engine: Engine) -> None:
    with pytest.raises(UsageError, match="too low"):
        run(engine, "true", limits=Limits(memory=1))


def test_inspect_says_what_holds_its_calls(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {(): "builtin", ("seccomp=unconfined",): "unconfined", ("seccomp=builtin",): "builtin"}
    if seccomp.available():
        for options, expected in cases.items():
            assert engine.containers.inspect(start(engine, security_opts=options))["seccomp"] == expected
        assert engine.containers.inspect(start(engine, privileged=True))["seccomp"] == "unconfined"
    monkeypatch.setattr(seccomp, "available", lambda: False)
    assert engine.containers.inspect(start(engine))["seccomp"] == "unavailable"
    with pytest.raises(UnsupportedError, match="no seccomp"):
        run(engine, "true", security_opts=("seccomp=/etc/passwd",))


def test_devices_that_a_machine_without_control_of_them_gives(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for is there; nothing else can be made or opened."""
    monkeypatch.setattr(devices, "restrict", lambda *_: False)
    done = run(engine, "python3", "-c", OPEN, "/dev/z", devices=("/dev/zero:/dev/z",))
    assert done.out == "opened\n"
    assert stat.S_ISCHR(os.stat("/dev/zero").st_mode)


def test_it_ends_with_a_bomb_of_processes_held(engine: Engine) -> None:
    code = (
        "import os, time\ncount = 0\n"
        "try:\n"
        "  for count in range(1000):\n"
        "    if os.fork() == 0: time.sleep(100)\n"
        "except OSError as error: print(count, error.errno, flush=True)\n"
        "time.sleep(100)"
    )
    name = start(engine, "python3", "-c", code, limits=Limits(pids=20))
    wait_for(lambda: list(engine.containers.logs(name)))
    assert next(iter(engine.containers.logs(name))).text == f"19 {errno.EAGAIN}"
    engine.containers.remove(name, force=True)


def test_a_bomb_of_memory_ends_alone(engine: Engine) -> None:
    code = "x = [bytearray(b'x' * (1 << 20)) for _ in range(400)]"
    name = start(engine, "python3", "-c", code, limits=Limits(memory=32 << 20, memory_swap=32 << 20))
    assert engine.containers.wait(name) == 137
    assert engine.containers.get(name).oom_killed
