"""The mounts of a runtime-spec document, as what is to be done for each (config.md, Mounts).

Options are those of mount(8). What belongs to a mount itself, such as ``ro`` or ``nosuid``, can be set,
cleared and, with an ``r`` before it, given to everything below as well; what is not known here goes to the
file system.
"""

from __future__ import annotations

import posixpath

from engine.errors import LaunchError
from engine.kernel import mount
from engine.model import JSON
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SET = {
    "ro": mount.MS_RDONLY,
    "nosuid": mount.MS_NOSUID,
    "nodev": mount.MS_NODEV,
    "noexec": mount.MS_NOEXEC,
    "sync": mount.MS_SYNCHRONOUS,
    "dirsync": mount.MS_DIRSYNC,
    "mand": mount.MS_MANDLOCK,
    "silent": mount.MS_SILENT,
    "iversion": mount.MS_I_VERSION,
    "lazytime": mount.MS_LAZYTIME,
    "remount": mount.MS_REMOUNT,
    "noatime": mount.MS_NOATIME,
    "nodiratime": mount.MS_NODIRATIME,
    "relatime": mount.MS_RELATIME,
    "strictatime": mount.MS_STRICTATIME,
    "nosymfollow": mount.MS_NOSYMFOLLOW,
    "bind": mount.MS_BIND,
    "rbind": mount.MS_BIND | mount.MS_REC,
}
_CLEAR = {
    "rw": mount.MS_RDONLY,
    "suid": mount.MS_NOSUID,
    "dev": mount.MS_NODEV,
    "exec": mount.MS_NOEXEC,
    "async": mount.MS_SYNCHRONOUS,
    "nomand": mount.MS_MANDLOCK,
    "loud": mount.MS_SILENT,
    "noiversion": mount.MS_I_VERSION,
    "nolazytime": mount.MS_LAZYTIME,
    "atime": mount.MS_NOATIME,
    "diratime": mount.MS_NODIRATIME,
    "norelatime": mount.MS_RELATIME,
    "nostrictatime": mount.MS_STRICTATIME,
    "symfollow": mount.MS_NOSYMFOLLOW,
    "defaults": 0,
}
PROPAGATION = {
    "private": mount.MS_PRIVATE,
    "rprivate": mount.MS_PRIVATE | mount.MS_REC,
    "slave": mount.MS_SLAVE,
    "rslave": mount.MS_SLAVE | mount.MS_REC,
    "shared": mount.MS_SHARED,
    "rshared": mount.MS_SHARED | mount.MS_REC,
    "unbindable": mount.MS_UNBINDABLE,
    "runbindable": mount.MS_UNBINDABLE | mount.MS_REC,
}
_TIMES = mount.ATTR_TIMES
_ATTRIBUTES = {
    # Option: what is set, what is cleared. The times are one field: setting one of them clears the others.
    "ro": (mount.ATTR_RDONLY, 0),
    "rw": (0, mount.ATTR_RDONLY),
    "nosuid": (mount.ATTR_NOSUID, 0),
    "suid": (0, mount.ATTR_NOSUID),
    "nodev": (mount.ATTR_NODEV, 0),
    "dev": (0, mount.ATTR_NODEV),
    "noexec": (mount.ATTR_NOEXEC, 0),
    "exec": (0, mount.ATTR_NOEXEC),
    "noatime": (mount.ATTR_NOATIME, _TIMES),
    "atime": (0, _TIMES),
    "strictatime": (mount.ATTR_STRICTATIME, _TIMES),
    "nostrictatime": (0, _TIMES),
    "relatime": (0, _TIMES),
    "norelatime": (mount.ATTR_STRICTATIME, _TIMES),
    "nodiratime": (mount.ATTR_NODIRATIME, 0),
    "diratime": (0, mount.ATTR_NODIRATIME),
    "nosymfollow": (mount.ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, mount.ATTR_NOSYMFOLLOW),
}
OPTIONS = tuple(
    sorted(
        {*_SET, *_CLEAR, *PROPAGATION, *(f"r{name}" for name in _ATTRIBUTES)}
        | {"tmpcopyup", "idmap", "ridmap"}
    )
)
"""Every option that is understood here and not left to the file system."""
_KERNEL_FILES = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts")

Mapping = tuple[int, int, int]
"""First ID inside, first ID outside, and how many."""


class Mappings(Record):
    """The IDs of a user namespace, or of a mount that shows a file system under other ones."""

    uids: tuple[Mapping, ...] = ()
    gids: tuple[Mapping, ...] = ()


class Attributes(Record):
    """MOUNT_ATTR_… bits to set and to clear (mount_setattr(2))."""

    add: int = 0
    remove: int = 0

    def also(self, more: tuple[int, int]) -> Attributes:
        """These, then *more*."""
        add, remove = more
        return Attributes(self.add & ~remove & ~add | add, (self.remove | remove) & ~(add & ~_TIMES))


class Step(Record):
    """One mount."""

    destination: str
    """Absolute and normal."""
    kind: str
    """A file system's name, or ``bind``."""
    source: str
    flags: int
    """MS_… bits."""
    propagation: int
    data: str
    own: Attributes = Attributes()
    """What its options say about the mount itself: how a bind is changed, where `flags` makes a new one."""
    below: Attributes = Attributes()
    """What they say about it and everything below."""
    copy_up: bool = False
    """Whether a tmpfs begins with what the image has at that place."""
    mappings: Mappings | None = None
    """What a bind is shown through; empty: through the container's own mappings."""
    mapped_below: bool = False


def absolute(path: str) -> str:
    """*path* of a document, normal; ValueError when it is not absolute."""
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not absolute")
    return posixpath.normpath("/" + path.lstrip("/"))


def mappings_of(document: JSON) -> Mappings:
    """The two arrays of ID mappings that *document* has."""
    return Mappings(_mappings(document.get("uidMappings")), _mappings(document.get("gidMappings")))


def _mappings(entries: list[JSON] | None) -> tuple[Mapping, ...]:
    return tuple(
        (int(entry["containerID"]), int(entry["hostID"]), int(entry["size"])) for entry in entries or ()
    )


def step_of(entry: dict[str, Any], bundle: str = "", label: str = "") -> Step:
    """One entry of ``mounts``; *bundle* is where a relative source of a bind begins.

    *label* is the SELinux context that file systems made for this container get.
    """
    flags = propagation = 0
    own = below = Attributes()
    data: list[str] = []
    special: set[str] = set()
    for option in entry.get("options") or ():
        if option in _SET:
            flags |= _SET[option]
            own = own.also(_ATTRIBUTES.get(option, (0, 0)))
        elif option in _CLEAR:
            flags &= ~_CLEAR[option]
            own = own.also(_ATTRIBUTES.get(option, (0, 0)))
        elif option in PROPAGATION:
            propagation |= PROPAGATION[option]
        elif option[:1] == "r" and option[1:] in _ATTRIBUTES:
            below = below.also(_ATTRIBUTES[option[1:]])
        elif option in ("tmpcopyup", "idmap", "ridmap"):
            special.add(option)
        elif option != "newinstance":  # since Linux 4.7 every devpts mount is a new instance
            data.append(option)
    bound = bool(flags & mount.MS_BIND) or entry.get("type") == "bind"
    kind = "bind" if bound else entry["type"]
    if bound:
        flags |= mount.MS_BIND
    elif label and kind not in _KERNEL_FILES:
        data.append(f'context="{label}"')
    step = Step(
        destination=posixpath.normpath("/" + entry["destination"].lstrip("/")),
        kind=kind,
        source=_source(entry, bound, bundle),
        flags=flags,
        propagation=propagation,
        data=",".join(data),
        own=own,
        below=below,
        copy_up="tmpcopyup" in special,
    )
    return _with_mappings(step, entry, special)


def _source(entry: dict[str, Any], bound: bool, bundle: str) -> str:
    source = entry.get("source")
    if not bound:
        return source or str(entry["type"])
    if not source:
        raise ValueError(f"the bind at {entry['destination']} has no source")
    return source if source.startswith("/") else posixpath.join(bundle or "/", source)


def _with_mappings(step: Step, entry: dict[str, Any], special: set[str]) -> Step:
    given = mappings_of(entry)
    if bool(given.uids) != bool(given.gids):
        raise ValueError(f"the mount at {step.destination} has uidMappings or gidMappings without the other")
    if step.copy_up and step.kind != "tmpfs":
        raise ValueError(f"tmpcopyup at {step.destination}, which is no tmpfs")
    if not given.uids and not special & {"idmap", "ridmap"}:
        return step
    if step.kind != "bind":
        raise LaunchError(
            f"cannot map the IDs of {step.kind} at {step.destination}",
            "only binds can be shown through others",
        )
    return step._replace(mappings=given, mapped_below="ridmap" in special)
