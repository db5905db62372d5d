"""Real overlay mounts for tests: a child process in a mount namespace of its own, so the host's never
changes.

It is asked over a pipe, one request at a time: mount a stack, do operations in the merged tree, write down
what it looks like, unmount.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from tests.layers.trees import Seen, snapshot

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MNT_DETACH = 2

Operation = tuple[Any, ...]


class Overlay:
    """The parent's end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def change(
        self, lowers: Sequence[str], home: str, operations: Sequence[Operation] | str
    ) -> tuple[dict[bytes, Seen], dict[bytes, Seen]]:
        """Mount `home`/upper over *lowers*, do *operations* (or run a shell script in it, with this machine's
        commands); what the merged tree was before and after."""
        for name in ("upper", "work", "merged"):
            os.makedirs(f"{home}/{name}", exist_ok=True)
        shutil.copystat(lowers[0], f"{home}/upper")
        status = os.stat(lowers[0])
        os.chown(f"{home}/upper", status.st_uid, status.st_gid)
        return self._ask((list(lowers), home, operations))

    def look(self, lowers: Sequence[str], home: str) -> dict[bytes, Seen]:
        """What the merged tree of *lowers* looks like to the kernel."""
        os.makedirs(f"{home}/merged", exist_ok=True)
        return self._ask((list(lowers), home, None))[0]

    def _ask(self, request: object) -> Any:
        self._connection.send(request)
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextlib.contextmanager
def overlay() -> Iterator[Overlay]:
    """A child that mounts; it ends with the block."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs, ours), daemon=True)
    child.start()
    theirs.close()
    try:
        yield Overlay(ours)
    finally:
        ours.close()
        child.join(60)


def _serve(connection: Connection, other: Connection) -> None:
    other.close()
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS))
    _check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    with contextlib.suppress(EOFError):
        while True:
            lowers, home, operations = connection.recv()
            try:
                connection.send(_session(libc, lowers, home, operations))
            except Exception as error:  # noqa: BLE001 - goes to the parent, whatever it is
                connection.send(error)


def _session(libc: Any, lowers: list[str], home: str, operations: Sequence[Operation] | str | None) -> Any:
    merged = f"{home}/merged"
    options = "lowerdir=" + ":".join(lowers) + ",index=off,metacopy=off,redirect_dir=off"
    if operations is not None:
        options += f",upperdir={home}/upper,workdir={home}/work"
    elif len(lowers) == 1:
        return snapshot(lowers[0]), {}
    _check(libc.mount(b"overlay", merged.encode(), b"overlay", 0, options.encode()))
    try:
        before = snapshot(merged)
        if isinstance(operations, str):
            subprocess.run(["sh", "-ec", operations], cwd=merged, check=True)
        else:
            with _inside(merged):
                for operation in operations or ():
                    with contextlib.suppress(OSError):
                        perform(*operation)
        return before, snapshot(merged) if operations else before
    finally:
        _check(libc.umount2(merged.encode(), MNT_DETACH))


@contextlib.contextmanager
def _inside(directory: str) -> Iterator[None]:
    """With *directory* as root, so that no link in it leads to this machine's files."""
    outside = os.open("/", os.O_RDONLY)
    os.chroot(directory)
    os.chdir("/")
    try:
        yield
    finally:
        os.fchdir(outside)
        os.chroot(".")
        os.close(outside)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def perform(verb: str, path: str, *rest: Any) -> None:
    """One operation of a process in the container; OSError where it makes no sense there."""
    where = f"/{path}"
    if verb in ("write", "append", "open", "again") and os.path.exists(where) and not os.path.isfile(where):
        raise OSError(f"{where} is no file: a device has no end, a fifo no other side")
    VERBS[verb](where, *rest)


def _write(path: str, data: bytes, mode: str = "wb") -> None:
    with open(path, mode) as file:
        file.write(data)


def _again(path: str) -> None:
    with open(path, "rb") as file:
        content = file.read()
    os.unlink(path)
    _write(path, content)


def _remove(path: str) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _remake(path: str) -> None:
    shutil.rmtree(path)
    os.mkdir(path)


def _replace(path: str) -> None:
    shutil.rmtree(path)
    os.symlink("/a", path)


VERBS: dict[str, Callable[..., object]] = {
    "write": _write,
    "append": lambda path, data: _write(path, data, "ab"),
    "open": lambda path: os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW)),
    "again": _again,
    "chmod": os.chmod,
    "chown": lambda path, owner: os.chown(path, owner, owner, follow_symlinks=False),
    "xattr": lambda path, name, value: os.setxattr(path, name, value, follow_symlinks=False),
    "unxattr": lambda path, name: os.removexattr(path, name, follow_symlinks=False),
    "utime": lambda path, time: os.utime(path, ns=(time, time), follow_symlinks=False),
    "remove": _remove,
    "mkdir": os.makedirs,
    "remake": _remake,
    "replace": _replace,
    "symlink": lambda path, target: os.symlink(target, path),
    "fifo": os.mkfifo,
    "device": lambda path, minor: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, minor)),
    "link": lambda path, first: os.link(f"/{first}", path, follow_symlinks=False),
    "rename": lambda path, new: os.rename(path, f"/{new}"),
}
