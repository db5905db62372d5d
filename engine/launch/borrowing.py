"""What is mounted in another container, for one that shares it: a bind from ``/proc/<pid>/root/…``.

Binds do not leave their mount namespace (mount_namespaces(7)): whoever wants one enters that of the other,
copies the mount there, and comes back with the copy, which is attached nowhere yet.
"""

from __future__ import annotations

import os

from engine.kernel import mount, namespaces, syscalls

_OWN = "/proc/self/ns/mnt"
_INSIDE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS


def is_anothers(source: str) -> bool:
    """Whether the source of a bind lies in the root of a process with a mount namespace of its own."""
    parts = source.split("/", 4)
    if len(parts) < 5 or parts[:2] != ["", "proc"] or parts[3] != "root" or not parts[2].isdecimal():
        return False
    try:
        return os.stat(f"/proc/{parts[2]}/ns/mnt").st_ino != os.stat(_OWN).st_ino
    except FileNotFoundError:
        return False


def tree_of_anothers(source: str, recursive: bool) -> int:
    """A copy of the mount *source*, of which `is_anothers` is true. Raises OSError.

    This process has to have one thread. Links on the way, which the other may have made, are not followed.
    """
    _, _, pid, _, path = source.split("/", 4)
    before = [os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for place in ("/", ".")]
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.enter(f"/proc/{pid}/ns/mnt", namespaces.CLONE_NEWNS)
        try:
            return _copy(path, recursive)
        finally:
            namespaces.setns(own, namespaces.CLONE_NEWNS)
            namespaces.change_root(before[0])
            os.fchdir(before[1])
    finally:
        for descriptor in (own, *before):
            os.close(descriptor)


def _copy(path: str, recursive: bool) -> int:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = syscalls.openat2(root, path, os.O_PATH, _INSIDE)
        try:
            return mount.clone_tree(found, recursive=recursive)
        finally:
            os.close(found)
    finally:
        os.close(root)
