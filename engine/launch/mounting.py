"""One mount of a container at a time: binds of what the host has, and file systems made for it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence

from engine.errors import LaunchError
from engine.kernel import mount, syscalls
from engine.launch import borrowing, mountpoints
from engine.launch.mountpoints import Ground
from engine.launch.steps import Attributes, Mappings, Step
from engine.record import Record

_FLAGS = {
    mount.ATTR_RDONLY: mount.MS_RDONLY,
    mount.ATTR_NOSUID: mount.MS_NOSUID,
    mount.ATTR_NODEV: mount.MS_NODEV,
    mount.ATTR_NOEXEC: mount.MS_NOEXEC,
    mount.ATTR_NOATIME: mount.MS_NOATIME,
    mount.ATTR_STRICTATIME: mount.MS_STRICTATIME,
    mount.ATTR_NODIRATIME: mount.MS_NODIRATIME,
    mount.ATTR_NOSYMFOLLOW: mount.MS_NOSYMFOLLOW,
}
"""The flags of mount(2) for what mount_setattr(2) sets."""
_KEPT = mount.MS_RDONLY | mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC


class CgroupView(Record):
    """What the container sees of its cgroups below /sys/fs/cgroup."""

    name: str
    """A controller's directory of version 1; empty for version 2, whose directory is all there is."""
    path: str
    """The container's own cgroup, on the host."""


class Tree(Record):
    """A copy of a mount of the host's, not attached anywhere yet."""

    descriptor: int
    late: Attributes
    """What could not be set before it is attached: by kernels before 5.12."""


def tree_of(step: Step, mappings: Mappings) -> Tree:
    """What the bind *step* shows, as it is to be; *mappings* are the container's own.

    Needs the privileges of the host: where the container has a user namespace, its parent calls this.
    """
    recursive = bool(step.flags & mount.MS_REC)
    try:
        if step.source.startswith("/proc/") and borrowing.is_anothers(step.source):
            tree = borrowing.tree_of_anothers(step.source, recursive)
        else:
            tree = mount.clone_tree(-100, step.source, recursive)
    except OSError as error:
        raise LaunchError(
            f"cannot bind {step.source}", syscalls.reason(error), "look whether it exists"
        ) from error
    with contextlib.ExitStack() as unless_changed:
        unless_changed.callback(os.close, tree)
        if step.mappings is not None:
            _map(tree, step, mappings)
        found = Tree(tree, _change(tree, step))
        unless_changed.pop_all()
    return found


def _map(tree: int, step: Step, mappings: Mappings) -> None:
    from engine.kernel import namespaces

    wanted = step.mappings if step.mappings and step.mappings.uids else mappings
    if not wanted.uids or not wanted.gids:
        raise LaunchError(
            f"cannot map the IDs of {step.source}", "neither the mount nor the container says to which"
        )
    try:
        user_namespace = namespaces.user_namespace(wanted.uids, wanted.gids)
        try:
            mount.set_attributes(tree, mount.ATTR_IDMAP, 0, step.mapped_below, user_namespace)
        finally:
            os.close(user_namespace)
    except OSError as error:
        raise LaunchError(f"cannot map the IDs of {step.source}", syscalls.reason(error)) from error


def _change(tree: int, step: Step) -> Attributes:
    """Set what the step's options say; what is left to be done once it is attached."""
    left = Attributes()
    try:
        if step.own != Attributes() and not _set(tree, step.own, recursive=False):
            left = step.own
        if (
            step.below != Attributes()
            and not _set(tree, step.below, recursive=True)
            and step.below != step.own
        ):
            raise LaunchError(
                f"cannot change all mounts below {step.source}", "that takes Linux 5.12", "leave the r away"
            )
    except OSError as error:
        raise LaunchError(f"cannot change the mount of {step.source}", syscalls.reason(error)) from error
    return left


def _set(tree: int, wanted: Attributes, *, recursive: bool) -> bool:
    """mount_setattr(2); False on kernels before 5.12 and under filters that do not know it."""
    try:
        mount.set_attributes(tree, wanted.add, wanted.remove, recursive)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        return False
    return True


def _remount(descriptor: int, wanted: Attributes) -> None:
    """The older way; what the mount had stays, as ST_… are the numbers of MS_… for these."""
    flags = os.fstatvfs(descriptor).f_flag & _KEPT
    for attribute, flag in _FLAGS.items():
        if wanted.remove & attribute:
            flags &= ~flag
        if wanted.add & attribute:
            flags |= flag
    mount.mount(None, mount.by_descriptor(descriptor), None, mount.MS_BIND | mount.MS_REMOUNT | flags)


def change(descriptor: int, add: int, *, recursive: bool = False) -> None:
    """Set ATTR_… bits *add* of the mount that *descriptor* is open on."""
    wanted = Attributes(add)
    if not _set(descriptor, wanted, recursive=recursive):
        _remount(descriptor, wanted)


def attach_changed(tree: int, target: int, add: int, *, recursive: bool) -> None:
    """Attach *tree* at *target* with ATTR_… bits *add*, from the first moment where the kernel can."""
    wanted = Attributes(add)
    late = not _set(tree, wanted, recursive=recursive)
    mount.move_mount(tree, target)
    if late:
        _remount(tree, wanted)


def bind(ground: Ground, step: Step, tree: Tree) -> None:
    """Attach *tree* where *step* wants it."""
    descriptor = tree.descriptor
    try:
        target = mountpoints.target(
            ground, step.destination, directory=stat.S_ISDIR(os.fstat(descriptor).st_mode)
        )
        try:
            mount.move_mount(descriptor, target)
        finally:
            os.close(target)
        if tree.late != Attributes():
            _remount(descriptor, tree.late)
        _share(descriptor, step)
    except FileNotFoundError:
        raise  # the rootfs lacks that place: whoever makes the rootfs makes it
    except OSError as error:
        raise LaunchError(
            f"cannot bind {step.source} at {step.destination}", syscalls.reason(error)
        ) from error
    finally:
        os.close(descriptor)


def _share(descriptor: int, step: Step) -> None:
    """Set the propagation that *step* asks for."""
    if step.propagation:
        mount.mount(None, mount.by_descriptor(descriptor), None, step.propagation)


def make(ground: Ground, step: Step) -> int:
    """Mount a file system that is made for this container; a descriptor of its root."""
    target = mountpoints.target(ground, step.destination, directory=True)
    try:
        data = step.data
        if step.kind == "tmpfs" and "mode=" not in data:
            mode = f"mode={stat.S_IMODE(os.fstat(target).st_mode):o}" if step.copy_up else "mode=1777"
            data = f"{data},{mode}" if data else mode
        mount.mount(step.source, mount.by_descriptor(target), step.kind, step.flags, data or None)
        made = mountpoints.inside(ground.root, step.destination)
        if step.below != Attributes():
            mount.set_attributes(made, step.below.add, step.below.remove, recursive=True)
        _share(made, step)
        if step.copy_up:
            _copy_up(target, made)
    except OSError as error:
        raise LaunchError(
            f"cannot mount {step.kind} at {step.destination}", syscalls.reason(error)
        ) from error
    finally:
        os.close(target)
    return made


def remount(ground: Ground, step: Step) -> None:
    """Change what is mounted at the step's destination already."""
    target = mountpoints.inside(ground.root, step.destination)
    try:
        kind = None if step.kind == "bind" else step.kind
        mount.mount(step.source, mount.by_descriptor(target), kind, step.flags, step.data or None)
        _share(target, step)
    except OSError as error:
        raise LaunchError(f"cannot remount {step.destination}", syscalls.reason(error)) from error
    finally:
        os.close(target)


def _copy_up(source: int, target: int) -> None:
    """Fill the new file system with what it hides; nobody else runs in it yet."""
    from engine.launch.copyup import copy_tree

    below = os.open(mount.by_descriptor(source), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    above = os.open(mount.by_descriptor(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        copy_tree(below, above)
    finally:
        os.close(below)
        os.close(above)


def cgroups(ground: Ground, step: Step, views: Sequence[CgroupView]) -> None:
    """The container's own cgroups, by bind: the same as a mount inside its cgroup namespace would show.

    A mount per controller would cost a superblock each, 0.1 ms of every launch.
    """
    plain = step._replace(flags=step.flags & ~mount.MS_RELATIME, data="", kind="bind")
    whole = next((view for view in views if not view.name or view.name == "unified"), None)
    if step.kind == "cgroup2" and whole is None:
        raise LaunchError(f"cannot mount cgroup2 at {step.destination}", "this machine has version 1 alone")
    if whole is not None and (len(views) == 1 or step.kind == "cgroup2"):
        _bind_view(ground, plain, whole.path)
        return
    new = step._replace(
        kind="tmpfs",
        source="tmpfs",
        flags=plain.flags & ~mount.MS_RDONLY,
        data="mode=755",
        below=Attributes(),
        propagation=0,
    )
    directory = make(ground, new)
    try:
        _show_views(directory, step, views)
        _share(directory, step)
    except OSError as error:
        raise LaunchError(f"cannot show cgroups at {step.destination}", syscalls.reason(error)) from error
    finally:
        os.close(directory)


def _show_views(directory: int, step: Step, views: Sequence[CgroupView]) -> None:
    """Attach *views* in *directory*, a tmpfs of ours, and have all of it as *step* says."""
    with contextlib.ExitStack() as stack:
        trees = []
        for view in views:
            trees.append(mount.clone_tree(-100, view.path))
            stack.callback(os.close, trees[-1])
            make_view(directory, view)
            mount.move_mount(trees[-1], directory, view.name)
        if step.own != Attributes() and not _set(directory, step.own, recursive=True):
            for tree in (*trees, directory):
                _remount(tree, step.own)
        if step.below != Attributes():
            mount.set_attributes(directory, step.below.add, step.below.remove, recursive=True)


def make_view(directory: int, view: CgroupView) -> None:
    """Make the place for *view* in *directory*, and the names of those that are mounted together."""
    os.mkdir(view.name, 0o755, dir_fd=directory)
    if "," in view.name:
        for alias in view.name.split(","):
            os.symlink(view.name, alias, dir_fd=directory)


def _bind_view(ground: Ground, step: Step, path: str) -> None:
    shown = step._replace(source=path, flags=step.flags | mount.MS_BIND)
    bind(ground, shown, tree_of(shown, Mappings()))
