"""What a container cannot see, do or keep: each a way in which engines have been left."""

from __future__ import annotations

import os
import re
import sys

import pytest

from engine.engine import Engine
from engine.errors import LaunchError
from engine.kernel import capabilities, devices
from engine.model import Volume
from engine.oci import runtime
from tests.support.captures import execute, fields, run, start

pytestmark = pytest.mark.kernel

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Groups", "Uid", "Seccomp")
DOCKERS = capabilities.mask(runtime.CAPABILITIES)


def status(engine: Engine, **options: object) -> dict[str, str]:
    return fields(run(engine, "cat", "/proc/self/status", **options).out, SETS[:8])


def test_capabilities_are_dockers(engine: Engine) -> None:
    found = status(engine)
    assert [int(found[name], 16) for name in SETS[:5]] == [0, DOCKERS, DOCKERS, DOCKERS, 0]
    assert found["NoNewPrivs"] == "1"


def test_capabilities_of_another_user_are_none(engine: Engine) -> None:
    found = status(engine, user="12:34")
    assert [int(found[name], 16) for name in SETS[:5]] == [0, 0, 0, DOCKERS, 0]
    assert found["Uid"].split() == ["12"] * 4


def test_capabilities_can_be_added_and_dropped(engine: Engine) -> None:
    found = status(engine, cap_add=("NET_ADMIN",), cap_drop=("cap_chown", "MKNOD"))
    expected = DOCKERS | capabilities.mask(["CAP_NET_ADMIN"])
    expected &= ~capabilities.mask(["CAP_CHOWN", "CAP_MKNOD"])
    assert int(found["CapEff"], 16) == expected
    assert int(status(engine, cap_drop=("ALL",))["CapBnd"], 16) == 0


def test_exec_has_the_same(engine: Engine) -> None:
    name = start(engine)
    found = fields(execute(engine, name, "cat", "/proc/self/status").out, SETS[:8])
    assert [int(found[kind], 16) for kind in SETS[:5]] == [0, DOCKERS, DOCKERS, DOCKERS, 0]
    assert found["NoNewPrivs"] == "1"


@pytest.mark.parametrize("through", ["run", "exec"])
def test_no_descriptor_of_ours_gets_in(engine: Engine, through: str) -> None:
    extra = os.open("/", os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        script = 'for f in /proc/self/fd/*; do echo "${f##*/}"; done; readlink /proc/self/cwd'
        if through == "run":
            out = run(engine, "sh", "-c", script).out
        else:
            out = execute(engine, start(engine), "sh", "-c", script).out
    finally:
        os.close(extra)
    numbers = {int(line) for line in out.splitlines() if line.isdigit()}
    assert numbers <= {0, 1, 2, 3}  # 3 is the listing itself
    assert out.splitlines()[-1] == "/"


def test_the_environment_is_only_what_was_given(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    script = "tr '\\0' '\\n' < /proc/self/environ"
    names = {line.partition("=")[0] for line in run(engine, "sh", "-c", script).out.split()}
    assert {"PATH", "HOSTNAME", "HOME"} <= names
    assert "SECRET" not in names
    name = start(engine)
    assert "SECRET" not in execute(engine, name, "sh", "-c", script).out


def test_namespaces_are_all_its_own(engine: Engine) -> None:
    kinds = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    inside = run(engine, "sh", "-c", script).out.split()
    outside = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert len(inside) == len(outside)
    assert not set(inside) & set(outside)


def test_only_its_own_processes_and_interface(engine: Engine) -> None:
    done = run(engine, "sh", "-c", "echo /proc/[0-9]*; cat /proc/1/comm; cat /proc/net/dev")
    processes, name, *rest = done.out.splitlines()
    assert (processes, name) == ("/proc/1", "sh")
    assert [line.split(":")[0].strip() for line in rest[2:]] == ["lo"]


def test_loopback_is_up(engine: Engine) -> None:
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    )
    assert run(engine, "python3", "-c", code).code == 0


def test_masked_files_are_empty_and_directories_too(engine: Engine) -> None:
    script = "for p in %s; do [ -e $p ] || continue; [ -d $p ] && ls -A $p | wc -l || wc -c < $p; done"
    done = run(engine, "sh", "-c", script % " ".join(runtime.MASKED))
    assert done.out.split()
    assert set(done.out.split()) == {"0"}


def test_read_only_paths_refuse_writing(engine: Engine) -> None:
    script = (
        "for p in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/profiling; do"
        " [ -e $p ] || continue; (echo 1 > $p) 2>/dev/null && echo wrote $p; done; echo done"
    )
    assert run(engine, "sh", "-c", script, cap_add=("SYS_ADMIN",)).out == "done\n"


def test_the_cgroup_is_its_own_and_read_only(engine: Engine) -> None:
    done = run(engine, "sh", "-c", "cat /proc/self/cgroup; cd /sys/fs/cgroup; mkdir x pids/x 2>/dev/null; ls")
    paths = {line.split(":", 2)[2] for line in done.out.splitlines() if re.match(r"\d+:", line)}
    limited = [line for line in done.out.splitlines() if re.match(r"\d+:(pids|memory|)[:,]", line)]
    assert all(line.endswith(":/") for line in limited), paths
    assert "x" not in done.out.splitlines()


OPEN_DISK = """
import os, stat, sys
for number, kind in ((os.makedev(%d, %d), stat.S_IFBLK), (os.makedev(1, 1), stat.S_IFCHR)):
    try:
        os.mknod("/node", 0o600 | kind, number)
        os.close(os.open("/node", os.O_RDONLY))
        print("opened")
    except PermissionError:
        print("refused")
    os.path.exists("/node") and os.unlink("/node")
"""


@pytest.mark.parametrize("through", ["run", "exec"])
def test_a_disk_cannot_be_opened(engine: Engine, through: str) -> None:
    """The root file system's disk and the machine's memory."""
    disk = os.stat("/").st_dev
    command = ("python3", "-c", OPEN_DISK % (os.major(disk), os.minor(disk)))
    done = run(engine, *command) if through == "run" else execute(engine, start(engine), *command)
    assert done.out.split() == ["refused", "refused"]


def test_without_a_devices_controller_no_node_works(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "restrict", lambda *_: False)
    disk = os.stat("/").st_dev
    command = ("python3", "-c", OPEN_DISK % (os.major(disk), os.minor(disk)))
    assert run(engine, *command).out.split() == ["refused", "refused"]
    assert execute(engine, start(engine), *command).out.split() == ["refused", "refused"]
    assert run(engine, "sh", "-c", "echo x > /dev/null && echo fine").out == "fine\n"


def test_default_devices(engine: Engine) -> None:
    script = "head -c 2 /dev/zero | wc -c; echo x > /dev/null; echo x > /dev/full || echo full;"
    script += " head -c 1 /dev/urandom | wc -c"
    assert run(engine, "sh", "-c", script).out.split() == ["2", "full", "1"]


def test_mounting_is_refused(engine: Engine) -> None:
    code = "import ctypes; raise SystemExit(ctypes.CDLL(None).mount(b't', b'/tmp', b'tmpfs', 0, None) == 0)"
    assert run(engine, "python3", "-c", code).code == 0


def test_the_host_python_cannot_be_reached_through_exec(engine: Engine) -> None:
    """Who waits inside for an exec, to look into its /proc entry, finds only the container's programs."""
    script = (
        "import os\nseen = set()\n"
        "while not os.path.exists('/stop'):\n"
        "  for p in os.listdir('/proc'):\n"
        "    if p.isdigit() and p != '1':\n"
        "      try: seen.add(open(f'/proc/{p}/exe', 'rb').read(4) and os.readlink(f'/proc/{p}/exe'))\n"
        "      except OSError: pass\n"
        "print(sorted(seen), flush=True)"
    )
    name = start(engine, "python3", "-c", script)
    for _ in range(30):
        execute(engine, name, "true")
    execute(engine, name, "touch", "/stop")
    assert engine.containers.wait(name) == 0
    lines = [line.text for line in engine.containers.logs(name)]
    assert len(lines) == 1
    assert os.path.realpath(sys.executable) not in lines[0]


def test_a_link_as_passwd_is_followed_inside_only(engine: Engine, tmp_path: object) -> None:
    """/etc/passwd as a link out of the rootfs gives nobody of the host (CVE-2024-9676)."""
    outside = f"{tmp_path}/passwd"
    with open(outside, "w", encoding="ascii") as file:
        file.write("outsider:x:77:77::/:/bin/sh\n")
    name = start(engine)
    execute(engine, name, "ln", "-sf", f"../../../../../../../..{outside}", "/etc/passwd")
    with pytest.raises(LaunchError, match="no user outsider"):
        execute(engine, name, "true", user="outsider")


def test_a_fifo_or_a_flood_as_group_file_is_refused(engine: Engine) -> None:
    name = start(engine)
    execute(engine, name, "sh", "-c", "rm /etc/passwd; mkfifo /etc/passwd")
    with pytest.raises(LaunchError, match="not a file"):
        execute(engine, name, "true")
    pid = engine.containers.get(name).pid
    with open(f"/proc/{pid}/root/flood", "w", encoding="ascii") as file:
        file.truncate(1 << 30)
    os.rename(f"/proc/{pid}/root/flood", f"/proc/{pid}/root/etc/passwd")
    with pytest.raises(LaunchError, match="larger than"):
        execute(engine, name, "true")


def test_a_working_directory_outside_is_refused(engine: Engine) -> None:
    """A descriptor of the host as working directory would be the way out (CVE-2024-21626)."""
    inside = run(engine, "ls", "-id", "/").out.split()[0]
    for number in range(3, 24):
        try:
            done = run(engine, "sh", "-c", "pwd -P; ls -id /", workdir=f"/proc/self/fd/{number}")
        except LaunchError:
            continue
        # What is left open until the exec is the container's own: its root, its /dev.
        assert done.code == 0
        assert done.out.split()[0] in ("/", "/dev", "/dev/pts"), (number, inside)


def test_null_swapped_for_a_link_does_not_unmask(engine: Engine, tmp_path: object) -> None:
    """What masks is the device that cowl made, whatever /dev/null is by then (CVE-2025-31133)."""
    fake = f"{tmp_path}/dev"
    os.makedirs(fake)
    os.symlink("/proc/sysrq-trigger", f"{fake}/null")
    done = run(engine, "sh", "-c", "cat /proc/timer_list | wc -c", volumes=(Volume(fake, "/dev"),))
    assert done.out.split() == ["0"]


def test_a_volume_over_proc_is_not_trusted(engine: Engine, tmp_path: object) -> None:
    fake = f"{tmp_path}/proc"
    os.makedirs(f"{fake}/sys/net/ipv4")
    with open(f"{fake}/sys/net/ipv4/ip_forward", "w", encoding="ascii") as file:
        file.write("0")
    with pytest.raises(LaunchError):
        run(engine, "true", volumes=(Volume(fake, "/proc"),), sysctls=("net.ipv4.ip_forward=1",))
    with open(f"{fake}/sys/net/ipv4/ip_forward", encoding="ascii") as file:
        assert file.read() == "0"


def test_sysctls_and_limits_of_processes(engine: Engine) -> None:
    done = run(
        engine,
        "sh",
        "-c",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ulimit -n; umask",
        sysctls=("net.ipv4.ip_unprivileged_port_start=77",),
        ulimits=("nofile=100:200",),
    )
    assert done.out.split() == ["77", "100", "0022"]


def test_privileged_has_everything_that_we_have(engine: Engine) -> None:
    own = capabilities.own()
    done = run(
        engine,
        "sh",
        "-c",
        "cat /proc/self/status; echo 1 > /proc/sys/vm/dirty_bytes_no 2>/dev/null; ls /dev | wc -l",
        privileged=True,
    )
    found = fields(done.out, SETS[:8])
    assert int(found["CapEff"], 16) == own.permitted & own.bounding
    assert found["NoNewPrivs"] == "0"
    assert int(done.out.splitlines()[-1]) > 15


def test_a_capability_that_we_lack_is_said(engine: Engine) -> None:
    own = capabilities.own()
    lacking = [name for name in capabilities.NUMBERS if not own.permitted >> capabilities.NUMBERS[name] & 1]
    if not lacking:
        pytest.skip("this user has every capability")
    with pytest.raises(LaunchError, match="capabilit"):
        run(engine, "true", cap_add=(lacking[0],))


def test_mounts_never_reach_the_host(engine: Engine) -> None:
    start(engine)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        assert [line for line in file if engine.root in line] == []
