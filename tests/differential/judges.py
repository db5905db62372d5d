"""The trees that other engines make of an image, and images that they make: each in mounts of its own."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tests.differential import inside
from tests.differential.inside import Operation, Row
from tests.layers.trees import Seen

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18

Tree = dict[bytes, Seen]


def tree(rows: Sequence[Row]) -> Tree:
    """What `inside.walk` wrote down, as the records that the tests of layers compare."""
    return {
        path.encode("latin-1"): Seen(
            kind,
            mode,
            (owner[0], owner[1]),
            mtime,
            content,
            size,
            tuple((name, bytes.fromhex(value)) for name, value in xattrs),
            tuple(name.encode("latin-1") for name in names),
        )
        for path, kind, mode, owner, mtime, content, size, xattrs, names in rows
    }


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call *function* in a forked process with a mount namespace of its own: no mount can outlive it."""
    context = get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs, function, arguments), daemon=True)
    child.start()
    theirs.close()
    try:
        result, failure = ours.recv()
    finally:
        ours.close()
        child.join()
    if failure:
        raise AssertionError(failure)
    return result


def _serve(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        connection.send((None, os.strerror(ctypes.get_errno())))
        return
    try:
        connection.send((function(*arguments), ""))
    except Exception:  # noqa: BLE001 - goes to the parent, whatever it is
        connection.send((None, traceback.format_exc()))


def run(*command: str) -> str:
    """What *command* prints; an error with what it complained of if it fails."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout.strip()


def work(rootfs: str, operations: Sequence[Operation]) -> Tree:
    """Do *operations* in the tree *rootfs*, from outside; the tree afterwards."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", inside.__file__, rootfs],
        input=json.dumps(operations),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return tree(json.loads(done.stdout)["after"])


class Storage(NamedTuple):
    """A store of podman and buildah below one directory."""

    home: str
    driver: str

    def command(self, program: str, *words: str) -> str:
        """Run *program* on it."""
        where = ["--root", f"{self.home}/root", "--runroot", f"{self.home}/runroot"]
        more = ["--cgroup-manager", "cgroupfs"] if program == "podman" else []
        return run(program, *where, "--storage-driver", self.driver, *more, *words)


@contextmanager
def storage(home: str, driver: str) -> Iterator[Storage]:
    """An empty store that is gone afterwards."""
    os.makedirs(home)
    try:
        yield Storage(home, driver)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def umoci_tree(image: str, scratch: str) -> Tree:
    """What umoci unpacks of *image*, ``layout:tag``."""
    bundle = f"{scratch}/unpacked"
    run("umoci", "unpack", "--image", image, bundle)
    try:
        return tree(inside.walk(f"{bundle}/rootfs"))
    finally:
        shutil.rmtree(bundle)


def podman_tree(store: Storage, image: str) -> Tree:
    """What podman mounts of *image*, ``layout:tag``, in a mount namespace of its own."""
    return tree(apart(_podman_rows, store, image))


def _podman_rows(store: Storage, image: str) -> list[Row]:
    identity = store.command("podman", "pull", "-q", f"oci:{image}")
    rows = inside.walk(store.command("podman", "image", "mount", identity))
    store.command("podman", "image", "unmount", identity)
    store.command("podman", "image", "rm", "-f", identity)
    return rows


def umoci_image(image: str, steps: Sequence[Sequence[Operation]], scratch: str) -> Tree:
    """Put *steps* on the image ``layout:tag`` as layers by umoci; the tree that it had at last."""
    bundle = f"{scratch}/bundle"
    run("umoci", "unpack", "--image", image, bundle)
    try:
        for operations in steps:
            shown = work(f"{bundle}/rootfs", operations)
            run("umoci", "repack", "--refresh-bundle", "--image", image, bundle)
        return shown
    finally:
        shutil.rmtree(bundle)


def buildah_image(store: Storage, image: str, steps: Sequence[Sequence[Operation]]) -> Tree:
    """The same by buildah; the result takes the place of *image*."""
    found: Tree = apart(_buildah_image, store, image, steps)
    return found


def _buildah_image(store: Storage, image: str, steps: Sequence[Sequence[Operation]]) -> Tree:
    name = f"oci:{image}"
    for number, operations in enumerate(steps):
        container = store.command("buildah", "from", name)
        shown = work(store.command("buildah", "mount", container), operations)
        name = f"localhost/step:{number}"
        store.command("buildah", "commit", "-q", "--format", "oci", container, name)
        store.command("buildah", "rm", container)
    store.command("buildah", "push", "-q", name, f"oci:{image}")
    store.command("buildah", "rmi", "-a", "-f")
    return shown


def podman_image(store: Storage, image: str, steps: Sequence[Sequence[Operation]]) -> Tree:
    """The same by `podman commit` of containers that never run."""
    found: Tree = apart(_podman_image, store, image, steps)
    return found


def _podman_image(store: Storage, image: str, steps: Sequence[Sequence[Operation]]) -> Tree:
    name = store.command("podman", "pull", "-q", f"oci:{image}")
    for number, operations in enumerate(steps):
        container = store.command("podman", "create", "--network", "none", name, "true")
        shown = work(store.command("podman", "mount", container), operations)
        store.command("podman", "unmount", container)
        name = f"localhost/step:{number}"
        store.command("podman", "commit", "-q", "--format", "oci", container, name)
        store.command("podman", "rm", "-f", container)
    store.command("podman", "push", "-q", name, f"oci:{image}")
    store.command("podman", "rmi", "-a", "-f")
    return shown
