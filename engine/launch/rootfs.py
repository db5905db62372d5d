"""The container's file system, made by its own first process, in its own mount namespace, before it pivots.

Whatever is in the rootfs is the image's and may be hostile. No path in it is ever walked by the host's
rules: each is opened inside the root (openat2's RESOLVE_IN_ROOT), looked at, and mounted on as that
descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence

from engine.errors import LaunchError
from engine.kernel import mount, namespaces, syscalls
from engine.launch import initlayer, mounting, mountpoints, nodes, restrictions
from engine.launch.mounting import CgroupView, Tree
from engine.launch.mountpoints import Ground
from engine.launch.plan import Plan
from engine.record import Record


class Stack(Record):
    """The directories of the overlay."""

    lowers: tuple[str, ...]
    upper: str
    work: str
    init: str
    target: str
    layers: str = ""
    """How the files begin in which init layers are kept for the next time; empty to keep none."""


class Directory(Record):
    """A rootfs that somebody else has made: a directory to be used as it is."""

    path: str
    tree: int | None = None
    """A copy of its mount; needed where the container itself may not get at the path."""


class Made(Record):
    """Descriptors of what has been made."""

    root: int
    null: int | None
    """The container's /dev/null; None when its /dev is not ours."""
    pts: int | None
    """Its devpts."""


def build(
    plan: Plan,
    source: Stack | Directory,
    cgroups: Sequence[CgroupView],
    trees: Mapping[int, Tree] | None = None,
) -> Made:
    """Mount everything of *plan*; the caller calls `close_off` and then enters it.

    *trees* are binds that have been prepared, by the number of their step. Raises OSError or LaunchError
    with a sentence for the first thing that cannot be done.
    """
    shared = bool(plan.propagation & mount.MS_SHARED)
    trees = dict(trees or {})
    if plan.namespaces & namespaces.CLONE_NEWNS:
        if shared and isinstance(source, Stack):
            # The overlay lies on a path of the host, and must not appear there: what is shared comes first.
            trees |= _shared_trees(plan, trees)
            mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
        elif shared:  # what is below stays so, but our own root must not appear on the host
            mount.mount(None, "/", None, mount.MS_PRIVATE)
        else:
            mount.mount(None, "/", None, mount.MS_REC | _before(plan))
    if isinstance(source, Directory):
        ground = Ground(_directory(plan, source), ours=True)
    else:
        ground = Ground(_overlay(plan, source), ours=False)
    return _furnish(ground, plan, cgroups, trees)


def _shared_trees(plan: Plan, trees: Mapping[int, Tree]) -> dict[int, Tree]:
    """Those of the binds that are to hang together with the host's, by the number of their step."""
    hangs = mount.MS_SHARED | mount.MS_SLAVE
    return {
        number: mounting.tree_of(step, plan.mappings)
        for number, step in enumerate(plan.steps)
        if step.kind == "bind" and step.propagation & hangs and number not in trees
    }


def _before(plan: Plan) -> int:
    """How mounts are shared while the root is being made."""
    return mount.MS_SLAVE if plan.propagation & (mount.MS_SLAVE | mount.MS_SHARED) else mount.MS_PRIVATE


def close_off(plan: Plan, made: Made) -> None:
    """Take away what the container may not see or change; nothing is mounted after this."""
    restrictions.restrict(made.root, plan, made.null)
    attributes = mount.ATTR_RDONLY if plan.read_only else 0
    attributes |= mount.ATTR_NODEV if plan.no_devices else 0
    if attributes:
        mounting.change(made.root, attributes)


def enter(plan: Plan, made: Made) -> None:
    """Make it the root of this process."""
    if not plan.namespaces & namespaces.CLONE_NEWNS or not plan.pivots:
        namespaces.change_root(made.root)  # whoever else is in that namespace keeps theirs
    else:
        namespaces.pivot_root(made.root, shared=bool(plan.propagation & mount.MS_SHARED))
        if plan.propagation & (mount.MS_SHARED | mount.MS_UNBINDABLE):
            mount.mount(None, "/", None, plan.propagation & ~mount.MS_REC)


def _directory(plan: Plan, source: Directory) -> int:
    """Attach the rootfs on our root, to be pivoted to: no path need lead there."""
    try:
        tree = mount.clone_tree(-100, source.path, recursive=True) if source.tree is None else source.tree
    except OSError as error:
        raise LaunchError(f"cannot use the rootfs {source.path}", syscalls.reason(error)) from error
    over = "/" if plan.namespaces & namespaces.CLONE_NEWNS else source.path
    place = os.open(over, os.O_PATH | os.O_CLOEXEC)
    try:
        mount.move_mount(tree, place)
    finally:
        os.close(place)
    mount.mount(None, mount.by_descriptor(tree), None, mount.MS_REC | _before(plan))
    return tree


def _overlay(plan: Plan, stack: Stack) -> int:
    """Mount the overlay, with every mount point that the image lacks; a descriptor of its root.

    They are looked for before anything is mounted on it: finding out halfway costs all of that twice.
    """
    lowers = (stack.init, *stack.lowers)
    places = mountpoints.wanted(plan)
    with_init = bool(os.listdir(stack.init))
    untouched = not with_init and _is_untouched(stack)
    kept = initlayer.path_of(stack.layers, stack.lowers, places) if untouched and stack.layers else ""
    if kept and (entries := initlayer.read(kept)) is not None:
        initlayer.lay(entries, stack.init)
        return _mount_overlay(stack, lowers if entries else stack.lowers)
    if untouched and _can_cover(plan) and (image := _show_image(stack)) is not None:
        absent = mountpoints.missing(image, places)
        if absent:
            mountpoints.make(image, absent, stack.init)
        os.close(image)
        _keep(kept, stack)
        return _mount_overlay(stack, lowers if absent else stack.lowers)
    root = _mount_overlay(stack, lowers if with_init else stack.lowers)
    if not mountpoints.missing(root, places):
        _keep(kept, stack)
        return root
    if with_init:  # made only in part: a lower of an overlay that is mounted must not change
        os.close(root)
        mount.unmount(stack.target)
        root = _mount_overlay(stack, stack.lowers)
    mountpoints.make(root, mountpoints.missing(root, places), stack.init)
    os.close(root)
    mount.unmount(stack.target)
    _keep(kept, stack)
    return _mount_overlay(stack, lowers)


def _keep(kept: str, stack: Stack) -> None:
    """Keep the init layer at *kept*, unless it is to be kept nowhere."""
    if kept:
        initlayer.keep(kept, stack.init)


def _is_untouched(stack: Stack) -> bool:
    """Whether nothing has been changed yet."""
    try:
        return not os.listdir(stack.upper)
    except OSError:
        return False  # mounting it says what is wrong


def _can_cover(plan: Plan) -> bool:
    """Whether a mount that stays below the overlay goes with the old root.

    Unmounting it would wait until all processors have seen that, which takes as long as five mounts.
    """
    alone = plan.namespaces & namespaces.CLONE_NEWNS and not plan.propagation & mount.MS_SHARED
    return bool(alone) and plan.pivots


def _show_image(stack: Stack) -> int | None:
    """The image alone, mounted where the overlay will be; None on kernels that cannot be asked so."""
    try:
        # It takes two directories at least: the empty one that is mounted on adds nothing.
        tree = mount.overlay_tree((*stack.lowers, stack.target))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise
        return None
    with contextlib.ExitStack() as unless_moved:
        unless_moved.callback(os.close, tree)
        target = _open_directory(stack.target)
        try:
            mount.move_mount(tree, target)
        finally:
            os.close(target)
        unless_moved.pop_all()
    return tree


def _mount_overlay(stack: Stack, lowers: Sequence[str]) -> int:
    mount.mount_overlay(lowers, stack.upper, stack.work, stack.target)
    return _open_directory(stack.target)


def _furnish(ground: Ground, plan: Plan, cgroups: Sequence[CgroupView], trees: Mapping[int, Tree]) -> Made:
    null = pts = None
    own_devices = True
    for number, step in enumerate(plan.steps):
        if step.flags & mount.MS_REMOUNT:
            mounting.remount(ground, step)
        elif step.kind == "bind":
            own_devices = own_devices and step.destination != "/dev"
            mounting.bind(ground, step, trees.get(number) or mounting.tree_of(step, plan.mappings))
        elif step.kind in ("cgroup", "cgroup2"):
            mounting.cgroups(ground, step, cgroups)
        else:
            made = mounting.make(ground, step)
            if step.kind == "devpts" and step.destination == "/dev/pts":
                pts = made
                continue
            if step.kind == "tmpfs" and step.destination == "/dev" and not step.copy_up:
                null = nodes.fill(made)
            os.close(made)
    if null is None and own_devices and ground.ours:
        null = nodes.complete(ground)
    for device in plan.devices:
        nodes.add(ground, device)
    return Made(ground.root, null, pts)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
