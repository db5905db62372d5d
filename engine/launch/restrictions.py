"""What a container may not see or change of what has been mounted: sysctls, read-only and masked paths.

/proc and /sys have been mounted by the kernel's own rules, but over directories of an image, which may be
hostile: only what is known to be the kernel's own file system is trusted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from engine.errors import LaunchError
from engine.kernel import mount, syscalls
from engine.launch import mounting, mountpoints, nodes
from engine.launch.plan import Plan

EMPTY = mount.ATTR_RDONLY | mount.ATTR_NOSUID | mount.ATTR_NODEV | mount.ATTR_NOEXEC
"""What the tmpfs is mounted with that covers directories."""
_KERNEL = {"proc": mount.PROC_SUPER_MAGIC, "sys": mount.SYSFS_MAGIC}


def restrict(root: int, plan: Plan, null: int | None) -> None:
    """Sysctls, then what is read-only or masked in /proc and /sys."""
    paths = (*plan.read_only_paths, *plan.masked, *(("/proc/sys",) if plan.sysctls else ()))
    tops = {name: _kernel_top(root, name) for name in _KERNEL if _below(f"/{name}/", paths)}
    try:
        _sysctls(tops, plan.sysctls)
        for path in plan.read_only_paths:
            _protect(root, tops, path)
        _mask(root, tops, plan.masked, null)
    finally:
        for top in tops.values():
            os.close(top)


def _below(top: str, paths: Sequence[str]) -> bool:
    return any(path.startswith(top) for path in paths)


def _kernel_top(root: int, name: str) -> int:
    """The container's /proc or /sys; only the kernel's own is trusted (CVE-2019-19921, CVE-2025-52881)."""
    rules = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
    try:
        top = syscalls.openat2(root, name, os.O_PATH | os.O_DIRECTORY, rules)
    except OSError as error:
        raise LaunchError(f"cannot protect /{name}", syscalls.reason(error)) from error
    if mount.file_system(top) != _KERNEL[name]:
        raise LaunchError(f"cannot trust /{name}", "it is not the kernel's own")
    return top


def _kernel_file(tops: Mapping[str, int], path: str, flags: int) -> int:
    """Open *path* of /proc or /sys in that mount alone, over no link."""
    _, top, rest = path.split("/", 2)
    rules = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_XDEV
    return syscalls.openat2(tops[top], rest, flags, rules)


def _open_protected(root: int, tops: Mapping[str, int], path: str) -> int | None:
    """What is to be masked or made read-only; None when it is not there."""
    try:
        if path.startswith(("/proc/", "/sys/")):
            return _kernel_file(tops, path, os.O_PATH)
        return mountpoints.inside(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sysctls(tops: Mapping[str, int], values: Sequence[tuple[str, str]]) -> None:
    for name, value in values:
        path = f"/proc/sys/{name.replace('.', '/')}"
        try:
            descriptor = _kernel_file(tops, path, os.O_WRONLY)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise LaunchError(f"cannot set the sysctl {name}={value}", syscalls.reason(error)) from error


def _protect(root: int, tops: Mapping[str, int], path: str) -> None:
    """Make *path* read-only, with whatever is mounted below it."""
    target = _open_protected(root, tops, path)
    if target is None:
        return
    tree = mount.clone_tree(target, recursive=True)
    try:
        mounting.attach_changed(tree, target, mount.ATTR_RDONLY, recursive=True)
    finally:
        os.close(tree)
        os.close(target)


def _mask(root: int, tops: Mapping[str, int], paths: Sequence[str], null: int | None) -> None:
    """Hide *paths*: a file behind the null device, a directory behind an empty read-only one."""
    if paths and null is None:
        null = nodes.null_of(root)
    empty: int | None = None
    for path in paths:
        target = _open_protected(root, tops, path)
        if target is None:
            continue
        try:
            if stat.S_ISDIR(os.fstat(target).st_mode):
                empty = _mask_directory(target, empty)
            elif null is not None:
                _mask_file(target, null)
        finally:
            os.close(target)
    if empty is not None:
        os.close(empty)


def _mask_file(target: int, null: int) -> None:
    nodes.check_null(null)
    tree = mount.clone_tree(null)
    try:
        mount.move_mount(tree, target)
    finally:
        os.close(tree)


def _mask_directory(target: int, empty: int | None) -> int:
    """Cover *target*; all covers are one empty tmpfs, which is returned."""
    if empty is None:
        empty = mount.new_tree("tmpfs", attributes=EMPTY)
        mount.move_mount(empty, target)
        return empty
    tree = mount.clone_tree(empty)
    try:
        mount.move_mount(tree, target)
    finally:
        os.close(tree)
    return empty
