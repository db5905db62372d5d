"""config.md, Process and the rest: what the program finds itself to be."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from engine.kernel import capabilities, terminal
from tests.conformance.bundles import Bundle

pytestmark = pytest.mark.kernel
requirement = pytest.mark.requirement

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def status(bundle: Bundle) -> dict[str, str]:
    """The program's /proc/self/status."""
    done = bundle.run("exec cat /proc/self/status").check()
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in done.out.splitlines()}


@requirement("C1")
@pytest.mark.parametrize("version", ["", "1", "1.2", "v1.2.0", "1.2.0.0", 1.2, None, "2.0.0", "0.9.0"])
def test_versions_that_are_none(bundle: Bundle, version: object) -> None:
    bundle.config["ociVersion"] = version
    assert bundle.refused()


@requirement("C1")
@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0+build.5", "1.3.0"])
def test_versions_that_are_understood(bundle: Bundle, version: str) -> None:
    bundle.config["ociVersion"] = version
    bundle.run().check()


@requirement("C9")
@pytest.mark.parametrize("cwd", ["", "usr", "./x", None])
def test_a_relative_working_directory_fails(bundle: Bundle, cwd: object) -> None:
    bundle.process["cwd"] = cwd
    assert "malformed" in bundle.refused()


@requirement("C9")
def test_the_working_directory(bundle: Bundle) -> None:
    bundle.process["cwd"] = "/usr/bin"
    assert bundle.run("pwd").check().out == "/usr/bin\n"


@requirement("C10")
@pytest.mark.parametrize("args", [[], None])
def test_no_arguments_fail(bundle: Bundle, args: object) -> None:
    bundle.process["args"] = args
    assert "malformed" in bundle.refused()


@requirement("C10")
def test_the_first_argument_is_looked_for_on_the_path(bundle: Bundle) -> None:
    bundle.process["args"] = ["printenv", "A"]
    bundle.process["env"] = ["PATH=/nowhere:/usr/bin", "A=b=c"]
    bundle.write()
    assert bundle.call("run", "--bundle", bundle.path, "c").check().out == "b=c\n"


@requirement("C11")
def test_an_unknown_limit_fails(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]
    assert "unknown limit" in bundle.refused()


@requirement("C12")
def test_limits(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
        {"type": "RLIMIT_FSIZE", "soft": 1 << 40, "hard": 1 << 41},
    ]
    limits = bundle.run("exec cat /proc/self/limits").check().out
    found = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert found["Max open files"] == ["77", "99"]
    assert found["Max core file size"] == ["0", "4096"]
    assert found["Max file size"] == [str(1 << 40), str(1 << 41)]


@requirement("C13")
def test_a_limit_named_twice_fails(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2
    assert "named twice" in bundle.refused()


@requirement("C14")
def test_capabilities_that_cannot_be_given_are_warned_of(bundle: Bundle) -> None:
    bundle.process["capabilities"] = {"bounding": ["CAP_KILL", "CAP_OF_TOMORROW"]}
    done = bundle.run("exit 0").check()
    assert "the capability CAP_OF_TOMORROW cannot be given" in done.err


@requirement("C14")
def test_what_runc_spec_writes_has_ambient_capabilities_that_cannot_be(bundle: Bundle) -> None:
    given = bundle.process["capabilities"]
    given["ambient"] = ["CAP_KILL"]
    given["effective"] = [*given["effective"], "CAP_NET_RAW"]
    done = bundle.run("exec cat /proc/self/status").check()
    assert "not ambient, as they are not permitted and inheritable: CAP_KILL" in done.err
    assert "not effective, as they are not permitted: CAP_NET_RAW" in done.err
    found = dict(line.split(":", 1) for line in done.out.splitlines())
    assert int(found["CapEff"], 16) == capabilities.mask(given["permitted"])
    assert int(found["CapAmb"], 16) == 0


def test_the_five_sets_of_root(bundle: Bundle) -> None:
    given = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    bundle.process["capabilities"] = given
    bundle.process["noNewPrivileges"] = True
    found = status(bundle)
    assert found["NoNewPrivs"] == "1"
    # Root gains by executing what is bounding, but for no_new_privs (capabilities(7)).
    kill, both = capabilities.mask(["CAP_KILL"]), capabilities.mask(["CAP_CHOWN", "CAP_KILL"])
    assert [int(found[name], 16) for name in SETS] == [
        *(kill, both, both, capabilities.mask(given["bounding"]), kill)
    ]


def test_the_five_sets_of_somebody_else(bundle: Bundle) -> None:
    kill = ["CAP_KILL"]
    bundle.process["capabilities"] = dict.fromkeys(("permitted", "effective", "inheritable", "ambient"), kill)
    bundle.process["capabilities"]["bounding"] = ["CAP_KILL", "CAP_CHOWN"]
    bundle.process["user"] = {"uid": 12, "gid": 34, "additionalGids": [56, 78], "umask": 0o027}
    found = status(bundle)
    mask = capabilities.mask(kill)
    both = capabilities.mask(["CAP_KILL", "CAP_CHOWN"])
    assert [int(found[name], 16) for name in SETS] == [mask, mask, mask, both, mask]
    assert found["Uid"].split() == ["12"] * 4
    assert found["Gid"].split() == ["34"] * 4
    assert sorted(found["Groups"].split()) == ["56", "78"]
    assert found["Umask"] == "0027"


def test_nobody_is_looked_up(bundle: Bundle) -> None:
    """The names of the container's /etc/group are no business of a runtime's."""
    with open(f"{bundle.rootfs}/etc/group", "a", encoding="ascii") as file:
        file.write("extra:x:1234:root\n")
    assert status(bundle)["Groups"] == ""


@requirement("C15")
def test_the_oom_score(bundle: Bundle) -> None:
    bundle.process["oomScoreAdj"] = 321
    assert bundle.run("exec cat /proc/self/oom_score_adj").check().out == "321\n"


@requirement("C16")
def test_the_oom_score_stays(bundle: Bundle) -> None:
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        own = file.read()
    assert bundle.run("exec cat /proc/self/oom_score_adj").check().out == own


@requirement("C17")
def test_a_scheduler_without_numbers(bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH"}
    fields = bundle.run("exec cat /proc/self/stat").check().out.rpartition(")")[2].split()
    # proc_pid_stat(5): field 19 nice, 40 rt_priority, 41 policy; the first after the name is field 3.
    assert (fields[16], fields[37], fields[38]) == ("0", "0", "3")


def test_nice_and_the_io_priority(bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_OTHER", "nice": 7}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 4}
    bundle.process["args"] = ["/bin/sleep", "100"]
    bundle.create().check()
    bundle.call("start", "c").check()
    pid = bundle.state()["pid"]
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    number = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
    from engine.kernel import syscalls

    assert syscalls.call("ask for the priority", number, 1, pid) == 3 << 13 | 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheduler": {"policy": "SCHED_NONE"}},
        {"scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONE"]}},
        {"ioPriority": {"class": "IOPRIO_CLASS_NONE", "priority": 1}},
        {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 9}},
        {"user": {"uid": "root", "gid": 0}},
        {"env": ["NOTHING"]},
        {"rlimits": [{"type": "RLIMIT_CORE"}]},
    ],
)
@requirement("C37")
def test_invalid_values_of_the_process(bundle: Bundle, wrong: dict[str, object]) -> None:
    bundle.process.update(wrong)
    assert bundle.refused()


@requirement("C37")
def test_labels_of_modules_that_the_kernel_has_not(bundle: Bundle) -> None:
    from engine.launch import confinement

    if not confinement.has_apparmor():
        bundle.process["apparmorProfile"] = "some"
        assert "AppArmor is not enabled" in bundle.refused()
        del bundle.process["apparmorProfile"]
    if not confinement.has_selinux():
        bundle.process["selinuxLabel"] = "system_u:system_r:container_t:s0"
        assert "SELinux is not enabled" in bundle.refused()
        del bundle.process["selinuxLabel"]
        bundle.linux["mountLabel"] = "system_u:object_r:container_file_t:s0"
        assert "SELinux is not enabled" in bundle.refused()


@requirement("C8")
def test_the_size_of_no_console_is_ignored(bundle: Bundle) -> None:
    bundle.process["consoleSize"] = {"height": "nonsense"}
    bundle.run().check()


@requirement("X10", "C8")
def test_a_terminal(bundle: Bundle, tmp_path: object) -> None:
    bundle.process["terminal"] = True
    bundle.process["consoleSize"] = {"height": 33, "width": 111}
    bundle.script("stty size; [ /dev/console -ef /proc/self/fd/0 ] && echo same; tty")
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        bundle.create("c", "--console-socket", path).check()
        connection, _ = listener.accept()
        with connection:
            _, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
    (master,) = struct.unpack("i", ancillary[0][2])
    try:
        assert terminal.size_of(master) == terminal.Size(33, 111)
        bundle.call("start", "c").check()
        text = b""
        while b"/dev/" not in text:
            text += os.read(master, 1000)
        assert text.split() == [b"33", b"111", b"same", b"/dev/pts/0"]
    finally:
        os.close(master)


@requirement("X10")
def test_a_terminal_that_nobody_takes_fails(bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    assert "console-socket" in bundle.refused()


@requirement("L1", "X9", "X11")
def test_usual_devices_and_links(bundle: Bundle) -> None:
    names = ("null", "zero", "full", "random", "urandom", "tty")
    script = "; ".join(f"stat -c '%F %t:%T' /dev/{name}" for name in names)
    links = "; ".join(f"readlink /dev/{name}" for name in ("fd", "stdin", "stdout", "stderr", "ptmx"))
    lines = bundle.run(f"{script}; {links}; stat -L -c %t:%T /dev/ptmx").check().out.splitlines()
    numbers = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]
    assert lines[:6] == [f"character special file {number}" for number in numbers]
    assert lines[6:] == [
        *("/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx", "5:2")
    ]


@requirement("X11")
def test_the_ptmx_of_the_host_among_the_devices_changes_nothing(bundle: Bundle) -> None:
    """podman lists all of the host's when a container is privileged."""
    bundle.linux["devices"] = [{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o666}]
    assert bundle.run("readlink /dev/ptmx").check().out == "pts/ptmx\n"


@requirement("L1", "X9")
def test_usual_devices_without_a_dev_of_its_own(bundle: Bundle) -> None:
    """A /dev of the rootfs gets what it lacks; a file in a device's place does not stay seen."""
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["destination"] == "/proc"]
    os.makedirs(f"{bundle.rootfs}/dev", exist_ok=True)
    with open(f"{bundle.rootfs}/dev/null", "w", encoding="ascii") as file:
        file.write("a file")
    out = bundle.run("stat -c %t:%T /dev/null /dev/zero; readlink /dev/fd; echo x > /dev/null").check().out
    assert out == "1:3\n1:5\n/proc/self/fd\n"


@requirement("C34")
@pytest.mark.parametrize("annotations", [{"": "x"}, {"a": 1}, {"a": None}, ["a"]])
def test_annotations_that_are_none(bundle: Bundle, annotations: object) -> None:
    bundle.config["annotations"] = annotations
    assert "malformed" in bundle.refused()


@requirement("C35", "C36")
def test_what_is_not_known_is_ignored(bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.opencontainers.of.tomorrow": "", "x": "y"}
    bundle.config["tomorrow"] = bundle.linux["tomorrow"] = bundle.process["tomorrow"] = {"a": [1]}
    bundle.run().check()


def test_nothing_else_is_inherited(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_FOR_CONTAINERS", "1")
    out = bundle.run("printenv; ls /proc/self/fd").check().out
    assert "NOT_FOR_CONTAINERS" not in out
    assert out.splitlines()[-4:] == ["0", "1", "2", "3"]  # 3 is the directory that is read


def test_host_and_domain_names(bundle: Bundle) -> None:
    bundle.config["domainname"] = "example.test"
    out = bundle.run("cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname").check().out
    assert out == "judged\nexample.test\n"
