"""Bundles to judge a runtime by: a small rootfs on an overlay of its own, and calls of ``cowl-runtime``."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from engine.engine import Engine
from engine.kernel import mount, process
from engine.runtime import main
from tests.support.traces import Root

JSON = dict[str, Any]
CAPABILITIES = ("CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID")


class Done(NamedTuple):
    """What became of a call."""

    code: int
    out: str
    err: str

    def check(self) -> Done:
        """Itself; AssertionError if it failed."""
        assert self.code == 0, self.err
        return self


class Bundles:
    """Makes bundles of one rootfs."""

    def __init__(self, starter: Root) -> None:
        with Engine(starter.path, cgroup_parent=starter.cgroup_parent) as engine:
            chain = next(node.chain_id for node in engine.images.forest() if "starter:base" in node.tags)
        self._lower = starter.layout.tree(chain)

    def bundle(self, root: Root) -> Bundle:
        """A new one, in the directory of *root*."""
        return Bundle(root, self._lower)


class Bundle:
    """One bundle, the runtime's root beside it, and its calls."""

    def __init__(self, root: Root, lower: str) -> None:
        self.cgroup_parent = root.cgroup_parent
        self.path = f"{root.path}/bundle"
        self.rootfs = f"{self.path}/rootfs"
        self.run_root = f"{root.path}/run"
        for name in ("bundle/rootfs", "upper", "work", "run"):
            os.makedirs(f"{root.path}/{name}")
        mount.mount_overlay([lower], f"{root.path}/upper", f"{root.path}/work", self.rootfs)
        self.config = plain(f"{root.cgroup_parent}/c")
        self.undo = contextlib.ExitStack()
        """What a test has made besides, to be taken away when its containers have gone."""

    @property
    def linux(self) -> JSON:
        """The linux object of config.json."""
        found: JSON = self.config["linux"]
        return found

    @property
    def process(self) -> JSON:
        """The process object of config.json."""
        found: JSON = self.config["process"]
        return found

    def script(self, text: str) -> None:
        """Have the container run a shell script."""
        self.process["args"] = ["/bin/sh", "-c", text]

    def write(self) -> None:
        """Write config.json."""
        with open(f"{self.path}/config.json", "w", encoding="utf-8") as file:
            json.dump(self.config, file)

    def call(self, *arguments: str, stdin: str = "", prepare: Callable[[], object] | None = None) -> Done:
        """``cowl-runtime ARGUMENTS…``, in a fork of this process: what a whole one does without its start."""
        return self.begin(*arguments, stdin=stdin, prepare=prepare)()

    def begin(
        self, *arguments: str, stdin: str = "", prepare: Callable[[], object] | None = None
    ) -> Callable[[], Done]:
        """`call` that does not wait: what it gives does. *prepare* is called in the fork first."""
        files = [os.memfd_create(name) for name in ("in", "out", "err")]
        os.write(files[0], stdin.encode())
        os.lseek(files[0], 0, os.SEEK_SET)
        pid = os.fork()
        if pid == 0:
            self._become(files, arguments, prepare)

        def end() -> Done:
            _, status = os.waitpid(pid, 0)
            out, err = (os.pread(file, 1 << 20, 0).decode("utf-8", "replace") for file in files[1:])
            for file in files:
                os.close(file)
            return Done(process.exit_code(status), out, err)

        return end

    def _become(
        self, files: Sequence[int], arguments: Sequence[str], prepare: Callable[[], object] | None
    ) -> NoReturn:
        code = 99
        gc.disable()  # what the tests have left open must not be closed here, by numbers used anew
        try:
            for number, file in enumerate(files):
                os.dup2(file, number)
            os.closerange(3, 256)
            os.environ["COWL_CGROUP_PARENT"] = self.cgroup_parent
            sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
            if prepare is not None:
                prepare()
            code = main.command(["--root", self.run_root, *arguments])
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def create(self, name: str = "c", *arguments: str) -> Done:
        """Write config.json and create its container."""
        self.write()
        return self.call("create", "--bundle", self.path, *arguments, name)

    def run(self, text: str = "", name: str = "c") -> Done:
        """Run the container to its end; with *text*, that shell script in it."""
        if text:
            self.script(text)
        self.write()
        return self.call("run", "--bundle", self.path, name)

    def state(self, name: str = "c") -> JSON:
        """What ``state`` says."""
        found: JSON = json.loads(self.call("state", name).check().out)
        return found

    def refused(self, name: str = "c") -> str:
        """Create it, which must fail and leave nothing; why it failed."""
        done = self.create(name)
        assert done.code != 0, "it was created"
        self.nothing_left(name)
        return done.err

    def nothing_left(self, name: str = "c") -> None:
        """Fail if there is anything of a container of that name."""
        assert self.call("state", name).code != 0
        assert not os.path.exists(f"{self.run_root}/{name}")
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            assert len([line for line in file if self.rootfs in line]) == 1

    def wait(self, status: str, name: str = "c") -> None:
        """Wait until it has *status*."""
        eventually(lambda: self.state(name)["status"] == status)

    def file(self, path: str) -> str:
        """A file of the rootfs, as the host sees it."""
        with open(f"{self.rootfs}/{path}", encoding="utf-8") as file:
            return file.read()

    def remove(self) -> None:
        """End and remove every container, then the rootfs."""
        for name in os.listdir(self.run_root):
            if not name.startswith("."):
                self.call("delete", "--force", name)
        self.undo.close()
        with contextlib.suppress(OSError):
            while True:
                mount.unmount(self.rootfs, mount.MNT_DETACH)


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until *holds*, or fail."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def plain(cgroup: str) -> JSON:
    """A document of a container with namespaces of its own, a shell and few rights."""
    given = list(CAPABILITIES)
    return {
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), given),
        },
        "root": {"path": "rootfs"},
        "hostname": "judged",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "cgroupsPath": cgroup,
            "resources": {},
        },
        "annotations": {},
    }


def peer(name: str) -> str | None:
    """Where the program *name* is."""
    return shutil.which(name)


def whole(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """``cowl-runtime ARGUMENTS…`` as a process of its own."""
    code = "import sys; from engine.runtime.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, **options
    )
