"""podman with ``cowl-runtime`` as its runtime: what others do with it, on both kernels."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.kernel import terminal
from tests.conformance.bundles import Bundle, eventually
from tests.support import peers, traces
from tests.support.roots import Run
from tests.support.traces import Root

pytestmark = pytest.mark.kernel
requirement = pytest.mark.requirement

LAUNCHER = """\
#!{python} -IS
import sys
sys.path.insert(0, {checkout!r})
from engine.runtime.main import main
main()
"""
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def write_launcher(place: str) -> str:
    """Write the command ``cowl-runtime`` into the directory *place*; its path."""
    path = f"{place}/cowl-runtime"
    with open(path, "w", encoding="utf-8") as file:
        file.write(LAUNCHER.format(python=sys.executable, checkout=CHECKOUT))
    os.chmod(path, stat.S_IRWXU)
    return path


class Podman:
    """podman on a store of its own, with our runtime."""

    def __init__(self, root: Root, rootfs: str) -> None:
        place = f"{root.path}/podman"
        os.makedirs(place)
        runtime = write_launcher(place)
        self.place = place
        self.rootfs = rootfs
        self.prefix = [
            *("podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--tmpdir", f"{place}/tmp"),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
            *("--runtime", runtime),
        ]
        self.options = [
            *("--network", "none", "--cgroup-parent", f"/{root.cgroup_parent}", "--no-hosts"),
            *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
        ]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
            env={"PATH": PATH, "HOME": os.path.dirname(self.rootfs)},
        )

    def made(self, verb: str, *arguments: str) -> list[str]:
        """``run`` or ``create`` of a container with the bundle's rootfs."""
        return [verb, *self.options, *arguments]

    def do(self, *arguments: str) -> str:
        """What it prints; AssertionError when it fails."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def podman(root: Root, bundle: Bundle) -> Iterator[Podman]:
    if reason := peers.missing(("podman", "conmon")):
        pytest.skip(reason)
    made = Podman(root, bundle.rootfs)
    yield made
    made("rm", "-f", "-a", "-t", "0")
    eventually(lambda: not cgroups_left(root))


def cgroups_left(root: Root) -> list[str]:
    """The cgroups of *root* that cannot be removed yet: conmon's, which ends a moment later, is one."""
    for directory in sorted(traces.cgroups(root), key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return list(traces.cgroups(root))


@requirement("R1")
def test_podman_runs_and_tells_the_code(podman: Podman) -> None:
    done = podman(*podman.made("run", "--rm", "--rootfs", podman.rootfs, "sh", "-c", "id -u; exit 7"))
    assert (done.returncode, done.stdout) == (7, "0\n"), done.stderr
    assert podman.do("ps", "-a", "-q") == ""


@requirement("R1", "R12", "R14", "R33")
def test_podman_leads_a_container_through_its_life(podman: Podman) -> None:
    podman.do(*podman.made("run", "-d", "--name", "a", "--rootfs", podman.rootfs, "sleep", "100"))
    done = podman("exec", "-e", "A=b", "a", "sh", "-c", "echo $A; exit 5")
    assert (done.returncode, done.stdout) == (5, "b\n"), done.stderr
    assert "sleep 100" in podman.do("top", "a", "args")
    podman.do("pause", "a")
    assert "paused" in podman.do("ps", "-a", "--format", "{{.Status}}").lower()
    podman.do("unpause", "a")
    podman.do("kill", "-s", "TERM", "a")  # the first process of a PID namespace may ignore it
    podman.do("stop", "-t", "0", "a")
    assert podman.do("inspect", "-f", "{{.State.ExitCode}}", "a") == "137\n"
    podman.do("start", "a")
    assert podman.do("inspect", "-f", "{{.State.Status}}", "a") == "running\n"
    podman.do("rm", "-f", "-t", "0", "a")
    assert podman.do("ps", "-a", "-q") == ""


@requirement("R26")
@pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/etc", 126)])
def test_podman_understands_what_is_missing(podman: Podman, command: str, code: int) -> None:
    done = podman(*podman.made("run", "--rm", "--rootfs", podman.rootfs, command))
    assert done.returncode == code, done.stderr
    assert command in done.stderr


@requirement("C12", "C3", "X25")
def test_what_podman_takes_comes_to_the_container(podman: Podman) -> None:
    with open(f"{podman.place}/seccomp.json", "w", encoding="utf-8") as file:
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, file)
    options = [
        *(
            "--rm",
            "--read-only",
            "--tmpfs",
            "/mine:size=1m",
            "-v",
            f"{podman.place}:/v:ro",
            "--user",
            "12:34",
        ),
        *("--cap-drop", "ALL", "--security-opt", f"seccomp={podman.place}/seccomp.json", "--init"),
        *("-m", "64m", "--pids-limit", "20", "--cpus", "0.5", "--umask", "0027", "--hostname", "here"),
    ]
    script = """
    id -u; id -g; umask; cat /proc/sys/kernel/hostname /proc/1/comm
    while read name value; do case $name in CapBnd:|Seccomp:) echo $value;; esac; done < /proc/self/status
    for file in /x /v/x /mine/x; do touch $file 2>/dev/null && echo $file; done
    mkdir /mine/d || echo refused
    """
    done = podman(*podman.made("run", *options, "--rootfs", podman.rootfs, "sh", "-c", script))
    assert done.stdout.splitlines() == [
        *("12", "34", "0027", "here", "podman-init", "0000000000000000", "2", "refused")
    ], done.stderr
    assert "Function not implemented" in done.stderr


@requirement("R1")
def test_podman_changes_limits_copies_and_checks(podman: Podman, root: Root) -> None:
    check = ("--health-cmd", "test -e /ok", "--health-retries", "1")
    podman.do(*podman.made("run", "-d", "--name", "a", *check, "--rootfs", podman.rootfs, "sleep", "100"))
    assert podman("healthcheck", "run", "a").returncode == 1
    podman.do("exec", "a", "touch", "/ok")
    assert podman("healthcheck", "run", "a").returncode == 0
    podman.do("cp", f"{podman.place}/cowl-runtime", "a:/copied")
    assert (
        podman.do("exec", "--user", "3:4", "-w", "/tmp", "a", "sh", "-c", "pwd; ls /copied")
        == "/tmp\n/copied\n"
    )
    assert "a" in podman.do("stats", "--no-stream", "--format", "{{.Name}}", "a")
    podman.do("kill", "-s", "KILL", "a")
    assert podman.do("wait", "a") == "137\n"


def test_podman_hears_that_systemd_is_not_asked(podman: Podman) -> None:
    words = ["--cgroup-manager", "systemd", "run", "--rm", "--network", "none", "--no-hosts"]
    done = podman(*words, *podman.options[-4:], "--rootfs", podman.rootfs, "true")
    assert done.returncode
    assert "use cgroupfs as cgroup manager" in done.stderr


@requirement("X10")
def test_podman_gives_a_terminal(podman: Podman) -> None:
    command = podman.made("run", "--rm", "-it", "--rootfs", podman.rootfs, "sh", "-c", "tty")
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(podman.prefix[0], [*podman.prefix, *command], {"PATH": PATH, "TERM": "xterm"})
    terminal.set_size(master, terminal.Size(33, 111))
    text = b""
    with contextlib.suppress(OSError):  # EIO: nobody has it open any more
        while piece := os.read(master, 1000):
            text += piece
    os.close(master)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert b"/dev/pts/0" in text


@requirement("C14")
@pytest.mark.peers("buildah")
def test_buildah_runs_in_what_it_builds(starter_images: Root, cowl: Run) -> None:
    """It asks for ambient capabilities that cannot be, as runc lets it."""
    place = f"{starter_images.path}/buildah"
    os.makedirs(place)
    cowl("save", "-o", f"{place}/image.tar", "starter:base", check=True)
    runtime = write_launcher(place)
    prefix = ["buildah", "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs"]

    def buildah(*words: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": PATH,
            "HOME": place,
            "TMPDIR": place,
            "COWL_CGROUP_PARENT": starter_images.cgroup_parent,
        }
        command = [*prefix, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)

    made = buildah("from", f"oci-archive:{place}/image.tar")
    assert made.returncode == 0, made.stderr
    run = ["run", "--runtime", runtime, "--isolation", "oci", "--network", "none"]
    done = buildah(*run, made.stdout.strip(), "--", "sh", "-c", "echo built > /b; cat /b; exit 6")
    assert (done.returncode, done.stdout) == (6, "built\n"), done.stderr
    buildah("rm", "--all")
