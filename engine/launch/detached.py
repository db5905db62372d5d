"""A container's mounts made beside the tree: each detached, for a first process that only attaches them.

The parent of that process can look into them before they are anywhere: it finds mount points, users and the
null device by the same rules as `rootfs`, over no link. Not everything can be had so; what is refused here
(`Unsuited`) is done by `rootfs`, in the first process itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack

from engine.kernel import mount, syscalls, terminal
from engine.launch import initlayer, mounting, mountpoints, nodes, restrictions
from engine.launch.mounting import CgroupView
from engine.launch.plan import Plan
from engine.launch.rootfs import Stack
from engine.launch.steps import Attributes, Mappings, Step
from engine.record import Record

CGROUPS = "/sys/fs/cgroup"
_NO_LINKS = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_MADE = ("proc", "sysfs", "mqueue", "devpts", "tmpfs")
_PRIVATE = (0, mount.MS_PRIVATE | mount.MS_REC)


class Unsuited(Exception):  # noqa: N818  # nobody has made a mistake
    """What is wanted takes an interpreter in the first process."""


class Attached(Record):
    """A detached mount, and where it goes: a descriptor, or a path in the root that is not there yet."""

    tree: int
    target: int | str


class Mounted(Record):
    """A file system that only the first process can make: it belongs to its namespaces."""

    step: Step
    data: str
    target: int | str


class Shown(Record):
    """The container's cgroups: an own file system, what is attached in it by name, and how all of it is."""

    directory: int
    views: tuple[tuple[int, str], ...]
    attributes: Attributes


class Furniture(Record):
    """Everything that is mounted in a container, in the order in which that is done."""

    root: int
    """Of the overlay, which is attached at `target`."""
    target: str
    parts: tuple[Attached | Mounted | Shown, ...]
    null: int
    """Its null device (O_PATH)."""
    empty: int
    """An empty directory to hide others behind."""
    screen: Screen | None


class Screen(Record):
    """A container's terminal."""

    master: int
    slave: int
    console: int
    """The file in its /dev that the slave is shown at."""


class Stock(Record):
    """What nearly every container has, made before it is known for which one."""

    devices: Step
    directory: int
    """A /dev, with its nodes."""
    null: int
    terminals: Step
    pts: int
    empty: int

    def close(self) -> None:
        """Let go of it; a container that has got it keeps it."""
        for descriptor in (self.directory, self.null, self.pts, self.empty):
            os.close(descriptor)


def stock_up(plan: Plan) -> Stock:
    """The stock for containers like that of *plan*. Raises OSError or ValueError where there is none."""
    steps = {step.destination: step for step in plan.steps}
    devices, terminals = steps["/dev"], steps["/dev/pts"]
    with ExitStack() as unless_made:

        def keep(descriptor: int) -> int:
            unless_made.callback(os.close, descriptor)
            return descriptor

        directory = keep(mount.new_tree("tmpfs", devices.data, devices.own.add))
        null = keep(nodes.fill(directory))
        pts = keep(mount.new_tree("devpts", terminals.data, terminals.own.add))
        empty = keep(mount.new_tree("tmpfs", attributes=restrictions.EMPTY))
        unless_made.pop_all()
    return Stock(devices, directory, null, terminals, pts, empty)


def furnish(
    plan: Plan,
    source: Stack,
    views: Sequence[CgroupView],
    size: terminal.Size,
    opened: ExitStack,
    stock: Stock | None = None,
) -> Furniture:
    """Make all of it; *opened* closes it. Raises Unsuited or OSError for what is not to be had so.

    What is in *stock* and fits is taken.
    """
    root = _overlay(plan, source, opened)
    return place_in(root, source.target, plan, views, size, opened, stock)


def place_in(
    root: int,
    target: str,
    plan: Plan,
    views: Sequence[CgroupView],
    size: terminal.Size,
    opened: ExitStack,
    stock: Stock | None = None,
) -> Furniture:
    """`furnish`, for a *root* that is there already."""
    places = [step.destination for step in plan.steps]
    if len(set(places)) < len(places):
        raise Unsuited("two mounts at one place")
    workshop = _Workshop(plan, root, opened, stock)
    parts = tuple(part for step in plan.steps for part in workshop.make(step, views))
    if workshop.devices is None or workshop.null is None:
        raise Unsuited("a /dev of its own")
    screen = workshop.screen(size) if plan.program.terminal else None
    return Furniture(root, target, parts, workshop.null, workshop.empty(), screen)


def _overlay(plan: Plan, stack: Stack, opened: ExitStack) -> int:
    """The overlay, with every mount point in its init layer."""
    places = mountpoints.wanted(plan)
    has_init = bool(os.listdir(stack.init))
    untouched = not has_init and not os.listdir(stack.upper)
    if untouched:
        has_init = _make_init(stack, places)
    lowers = (stack.init, *stack.lowers) if has_init else stack.lowers
    root = mount.overlay_tree(lowers, stack.upper, stack.work)
    opened.callback(os.close, root)
    if not untouched and mountpoints.missing(root, places):
        raise Unsuited("an init layer that lacks something")
    return root


def _make_init(stack: Stack, places: Sequence[tuple[str, bool]]) -> bool:
    """Make the init layer of a container that has changed nothing; whether there is anything in it."""
    kept = initlayer.path_of(stack.layers, stack.lowers, places) if stack.layers else ""
    if kept and (entries := initlayer.read(kept)) is not None:
        initlayer.lay(entries, stack.init)
        return bool(entries)
    # An overlay takes two directories at least: the empty one adds nothing.
    image = mount.overlay_tree((*stack.lowers, stack.target))
    try:
        absent = mountpoints.missing(image, places)
        if absent:
            mountpoints.make(image, absent, stack.init)
    finally:
        os.close(image)
    if kept:
        initlayer.keep(kept, stack.init)
    return bool(absent)


class _Workshop:
    """Makes parts one after the other, and knows which of them later ones lie in."""

    def __init__(self, plan: Plan, root: int, opened: ExitStack, stock: Stock | None) -> None:
        self._stock = stock
        self._plan = plan
        self._root = root
        self._opened = opened
        self._before: list[str] = []
        self.devices: int | None = None
        self.null: int | None = None
        self._terminals: int | None = None

    def make(self, step: Step, views: Sequence[CgroupView]) -> list[Attached | Mounted | Shown]:
        """The parts that *step* comes to."""
        if step.flags & mount.MS_REMOUNT or step.copy_up or step.mappings is not None:
            raise Unsuited(f"the mount at {step.destination}")
        target = self._target(step)
        self._before.append(step.destination)
        if step.kind == "bind":
            return [Attached(self._bind(step), target)]
        if step.propagation or step.below != Attributes():
            raise Unsuited(f"the options of {step.destination}")
        if step.kind == "cgroup":
            return self._cgroups(step, views, target)
        if step.kind not in _MADE:
            raise Unsuited(f"a file system of the kind {step.kind}")
        if step.destination == "/dev" and step.kind == "tmpfs":
            return [Attached(self._devices(step), target)]
        if step.destination == "/dev/pts" and step.kind == "devpts":
            if self._stock is not None and step == self._stock.terminals:
                self._terminals = self._stock.pts
            else:
                self._terminals = self._keep(mount.new_tree("devpts", step.data, step.own.add))
            return [Attached(self._terminals, target)]
        data = step.data
        if step.kind == "tmpfs" and "mode=" not in data:
            data = f"{data},mode=1777" if data else "mode=1777"
        return [Mounted(step, data, target)]

    def empty(self) -> int:
        """An empty directory."""
        if self._stock is not None:
            return self._stock.empty
        return self._keep(mount.new_tree("tmpfs", attributes=restrictions.EMPTY))

    def screen(self, size: terminal.Size) -> Screen:
        """A terminal of the container's own devpts."""
        if self._terminals is None or self.devices is None:
            raise Unsuited("a terminal of another devpts")
        master, slave = map(self._keep, terminal.open_pair(self._terminals))
        terminal.set_size(slave, size)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL
        return Screen(master, slave, self._keep(os.open("console", flags, 0o600, dir_fd=self.devices)))

    def _keep(self, descriptor: int) -> int:
        self._opened.callback(os.close, descriptor)
        return descriptor

    def _target(self, step: Step) -> int | str:
        """Where it goes: in the overlay, in the /dev made before, or in a /sys that is not there yet."""
        path = step.destination
        around = [other for other in self._before if path.startswith(f"{other}/")]
        if not around:
            return self._find(self._root, path)
        if around == ["/dev"] and self.devices is not None:
            return self._find(self.devices, path.removeprefix("/dev"))
        if around == ["/sys"] and path == CGROUPS:
            return path
        raise Unsuited(f"a mount in another at {path}")

    def _find(self, directory: int, path: str) -> int:
        if path == "/":
            raise Unsuited("a mount over the root")
        return self._keep(syscalls.openat2(directory, path.lstrip("/"), os.O_PATH, _NO_LINKS))

    def _bind(self, step: Step) -> int:
        if step.propagation not in _PRIVATE:
            raise Unsuited(f"the propagation of {step.destination}")
        tree = mounting.tree_of(step, Mappings())
        self._keep(tree.descriptor)
        if tree.late != Attributes():
            raise Unsuited(f"the options of {step.destination}")
        # A copy made in the host's namespace is a peer of the host's: what is mounted in one appears in both.
        propagation = mount.MS_PRIVATE if step.propagation else inherited(self._plan)
        mount.set_attributes(tree.descriptor, 0, 0, recursive=True, propagation=propagation)
        return tree.descriptor

    def _devices(self, step: Step) -> int:
        if self._stock is not None and step == self._stock.devices:
            self.devices, self.null = self._stock.directory, self._stock.null
        else:
            self.devices = self._keep(mount.new_tree("tmpfs", step.data, step.own.add))
            self.null = self._keep(nodes.fill(self.devices))
        return self.devices

    def _cgroups(
        self, step: Step, views: Sequence[CgroupView], target: int | str
    ) -> list[Attached | Mounted | Shown]:
        plain = step._replace(flags=step.flags & ~mount.MS_RELATIME, data="", kind="bind")
        if len(views) == 1 and views[0].name in ("", "unified"):
            shown = plain._replace(source=views[0].path, flags=plain.flags | mount.MS_BIND)
            return [Attached(self._bind(shown), target)]
        attributes = step.own.add & ~mount.ATTR_RDONLY
        directory = self._keep(mount.new_tree("tmpfs", "mode=755", attributes))
        found = []
        for view in views:
            found.append((self._keep(mount.clone_tree(-100, view.path)), view.name))
            mounting.make_view(directory, view)
        return [Attached(directory, target), Shown(directory, tuple(found), step.own)]


def inherited(plan: Plan) -> int:
    """How mounts of the host's are shared in the container, where no option says so (MS_…)."""
    return mount.MS_SLAVE if plan.propagation & mount.MS_SLAVE else mount.MS_PRIVATE


def is_directory(path: str) -> bool | None:
    """Whether *path* of the host's /proc or /sys is a directory, None if it is not there: as in any other."""
    try:
        return stat.S_ISDIR(os.stat(path, follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
