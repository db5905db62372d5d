"""containerd with ``cowl-runtime``: its shim makes every call that Kubernetes and docker make.

It runs in the foreground, in PID, mount and network namespaces of its own: nothing outlives the test.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
from collections.abc import Iterator

import pytest

from engine.kernel import terminal
from tests.conformance.bundles import eventually
from tests.conformance.test_peers import PATH, cgroups_left, write_launcher
from tests.support.roots import Run
from tests.support.traces import Root

pytestmark = [pytest.mark.kernel, pytest.mark.peers("containerd", "ctr")]
requirement = pytest.mark.requirement

IMAGE = "docker.io/library/starter:base"
CONFIG = """\
version = 2
root = "{place}/root"
state = "{place}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{place}/s"
[ttrpc]
  address = "{place}/t"
"""
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Containerd:
    """containerd's client, whose containers our runtime makes."""

    def __init__(self, root: Root, place: str) -> None:
        self.group = f"/{root.cgroup_parent}"
        self._place = place
        self._ctr = ["ctr", "--address", f"{place}/s", "--namespace", root.cgroup_parent]
        self._runtime = write_launcher(place)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._ctr, *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
            env={"PATH": PATH},
        )

    def run(self, name: str, *options: str) -> list[str]:
        """The words of ``ctr run`` for a container of that name, up to its image."""
        runtime = ["--runc-binary", self._runtime, "--runc-root", f"{self._place}/runc"]
        fifos = ["--fifo-dir", f"{self._place}/fifos"]
        return ["run", *runtime, *fifos, "--cgroup", f"{self.group}/{name}", *options, IMAGE, name]

    def do(self, *arguments: str) -> str:
        """What it prints; AssertionError when it fails."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def exec(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run *words* in a container that runs."""
        fifos = ["--fifo-dir", f"{self._place}/fifos"]
        return self("task", "exec", *fifos, "--exec-id", f"x{os.urandom(4).hex()}", name, *words)

    def status(self, name: str) -> str:
        """RUNNING, PAUSED or STOPPED."""
        found = re.search(rf"^{name}\s+\d+\s+(\w+)", self.do("task", "ls"), re.MULTILINE)
        return found[1] if found else ""

    def terminal(self, *words: str) -> tuple[int, str]:
        """Run ctr at a terminal: its exit code, and what that shows."""
        pid, master = pty.fork()
        if pid == 0:
            os.execvpe("ctr", [*self._ctr, *words], {"PATH": PATH, "TERM": "xterm"})
        terminal.set_size(master, terminal.Size(33, 111))
        text = b""
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while piece := os.read(master, 1000):
                text += piece
        os.close(master)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), text.decode()


@pytest.fixture
def containerd(starter_images: Root, cowl: Run) -> Iterator[Containerd]:
    """containerd with an image that `cowl save` wrote."""
    place = f"{starter_images.path}/containerd"
    os.makedirs(place)
    with open(f"{place}/config.toml", "w", encoding="utf-8") as file:
        file.write(CONFIG.format(place=place))
    cowl("save", "-o", f"{place}/image.tar", "starter:base", check=True)
    command = [*NAMESPACES, "containerd", "--config", f"{place}/config.toml", "--log-level", "error"]
    daemon = subprocess.Popen(command, env={"PATH": PATH}, stdin=subprocess.DEVNULL)
    try:
        made = Containerd(starter_images, place)
        eventually(lambda: made("version").returncode == 0)
        made.do("image", "import", f"{place}/image.tar")
        yield made
        assert [line for line in made.do("task", "ls", "-q").splitlines() if line] == []
    finally:
        daemon.kill()  # what has its PID namespace goes with it
        daemon.wait()
        eventually(lambda: not cgroups_left(starter_images))
        for directory in ("/run/containerd/s", "/run/containerd"):
            with contextlib.suppress(OSError):  # unless there is a containerd of the machine's own
                os.rmdir(directory)


@requirement("R1", "R12", "R14", "R33")
def test_ctr_leads_containers_through_their_lives(containerd: Containerd) -> None:
    done = containerd(*containerd.run("a", "--rm"), "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err" in done.stderr

    limits = ("--memory-limit", str(64 << 20), "--cpus", "0.5")
    loop = 'trap "exit 9" TERM; while :; do sleep 0.05; done'
    containerd.do(*containerd.run("b", "-d", *limits), "sh", "-c", loop)
    assert containerd.status("b") == "RUNNING"
    done = containerd.exec("b", "sh", "-c", "echo inside; exit 5")
    assert (done.returncode, done.stdout) == (5, "inside\n"), done.stderr
    assert len(containerd.do("task", "ps", "b").splitlines()) >= 2
    assert str(64 << 20) in containerd.do("task", "metrics", "b")
    containerd.do("task", "pause", "b")
    assert containerd.status("b") == "PAUSED"
    containerd.do("task", "resume", "b")
    assert containerd.status("b") == "RUNNING"
    refused = containerd("task", "checkpoint", "b")
    assert "cowl-runtime makes no checkpoints" in refused.stderr
    containerd.do("task", "kill", "-s", "TERM", "b")
    eventually(lambda: containerd.status("b") == "STOPPED")
    assert "exit code 9" in containerd("task", "rm", "b").stderr
    containerd.do("container", "rm", "b")

    containerd.do(*containerd.run("c", "-d"), "sleep", "100")
    containerd.do("task", "rm", "--force", "c")
    containerd.do("container", "rm", "c")


@requirement("R26")
def test_ctr_is_told_what_is_missing(containerd: Containerd) -> None:
    for command, why in (("nosuch", "executable file not found in $PATH"), ("/etc", "permission denied")):
        done = containerd(*containerd.run("a", "--rm"), command)
        assert done.returncode != 0
        assert why in done.stderr
        assert containerd.do("container", "ls", "-q") == ""


@requirement("X10")
def test_ctr_gives_a_terminal(containerd: Containerd) -> None:
    code, shown = containerd.terminal(*containerd.run("a", "--rm", "-t"), "sh", "-c", "tty; exit 3")
    assert (code, shown.split()) == (3, ["/dev/pts/0"])
