"""What a runtime knows of its containers: a directory each, and a state that is derived, never guessed.

No process of ours watches a container. Its directory has state.json, its document as it was when it was made,
and, until it is started, the socket that its first process waits at.
"""

from __future__ import annotations

import errno
import os

from engine import plainjson
from engine.errors import ConflictError, LaunchError, NotFoundError, StoreError, UsageError
from engine.kernel import freezer, identity
from engine.record import Record
from engine.version import SPECIFICATION

DEFAULT_ROOT = "/run/cowl-runtime"
FILTERS = ".filters"
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")
_LONGEST = 1024
_PAUSE_SECONDS = 0.005

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from engine.kernel.cgroup import Cgroup
    from engine.model import JSON

    Status = Literal["creating", "created", "running", "paused", "stopped"]


class Container(Record):
    """One container, as its state.json has it."""

    id: str
    directory: str
    bundle: str
    rootfs: str
    annotations: dict[str, str]
    created: str
    pid: int = 0
    """0 while it is being made."""
    pid_start: int = 0
    cgroup: JSON | None = None
    no_devices: bool = False
    """Whether its cgroup could not be held to its devices: what joins must not make nodes either."""
    owner: str = ""

    @property
    def who(self) -> identity.Identity:
        """Its first process."""
        return identity.Identity(self.pid, self.pid_start)

    @property
    def group(self) -> Cgroup:
        """Its cgroup; LaunchError while it has none."""
        from engine.kernel.cgroup import Cgroup

        if self.cgroup is None:
            raise LaunchError(f"container {self.id} is being created", "it has no cgroup yet")
        return Cgroup.from_json(self.cgroup)

    @property
    def gate(self) -> str:
        """The socket that its first process waits at until it is started."""
        return f"{self.directory}/start"

    def status(self) -> Status:
        """What it is doing now."""
        if not self.pid:
            return "creating"
        if not identity.alive(self.who):
            return "stopped"
        if self.cgroup and freezer.is_frozen(self.cgroup["version"], self.cgroup["directories"]):
            return "paused"
        return "created" if os.path.exists(self.gate) else "running"

    def state(self, status: Status | None = None) -> JSON:
        """The state object of runtime.md, with what other runtimes add to it."""
        status = status or self.status()
        found = {
            "ociVersion": SPECIFICATION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
            "owner": self.owner,
        }
        if self.annotations:
            found["annotations"] = self.annotations
        return found

    def document(self) -> JSON:
        """Its config.json as it was when the container was made."""
        found: JSON | None = plainjson.read(f"{self.directory}/config.json")
        if found is None:
            raise StoreError(f"container {self.id} has lost its configuration", self.directory)
        return found

    def save(self) -> None:
        """Write state.json."""
        from engine.containers.state import write_document

        write_document(f"{self.directory}/state.json", self._asdict())


def unmount_rootfs(container: Container) -> None:
    """Take away what was mounted for a container without a mount namespace of its own."""
    import contextlib

    from engine.kernel import mount

    with contextlib.suppress(OSError):  # nothing is mounted there if it was not got to
        mount.unmount(container.rootfs, mount.MNT_DETACH)


def is_id(text: str) -> bool:
    """Whether *text* can be an ID: it is a file's name."""
    return 0 < len(text) <= _LONGEST and text[0] != "." and _LETTERS.issuperset(text)


def reserve(root: str, container: str) -> str:
    """Make the directory of a new *container*. Raises UsageError for no ID, ConflictError for a used one."""
    if not is_id(container):
        raise UsageError(f"invalid container ID {container!r}", "letters, digits, _ + - and . make one")
    os.makedirs(root, mode=0o711, exist_ok=True)
    directory = f"{root}/{container}"
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        raise ConflictError(f"container with id {container} already exists", f"see {root}") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UsageError(f"invalid container ID {container[:40]}…", "it is too long") from None
    return directory


BUSY = -1


def lock(directory: str, seconds: float = 0.0) -> int | None:
    """A descriptor that, until it is closed, keeps others from making or removing *directory*'s container.

    None where there is none, BUSY when somebody else has one for longer than *seconds*.
    """
    import fcntl
    import time

    end = time.monotonic() + seconds
    while True:
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed the directory.
            if os.path.exists(directory) and os.path.samestat(os.fstat(descriptor), os.stat(directory)):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            if time.monotonic() >= end:
                os.close(descriptor)
                return BUSY
            time.sleep(_PAUSE_SECONDS)
        os.close(descriptor)


def directory_of(root: str, container: str) -> str:
    """Where the container of that ID is, if there is one; NotFoundError for what is no ID."""
    if not is_id(container):
        raise unknown(f"{root}/{container}")
    return f"{root}/{container}"


def unknown(directory: str) -> NotFoundError:
    """The error for a container that is not there."""
    root, _, name = directory.rpartition("/")
    return NotFoundError(f"container {name} does not exist", f"{root} has none of that ID")


def find(root: str, container: str) -> Container:
    """The container of that ID; NotFoundError for none."""
    directory = directory_of(root, container)
    found = read(directory)
    if found is None:
        raise unknown(directory)
    return found


def read(directory: str) -> Container | None:
    """The container of *directory*; None while it has no state."""
    try:
        found = plainjson.read(f"{directory}/state.json")
        return None if found is None else Container(**found)
    except NotADirectoryError:
        return None
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the state of container {os.path.basename(directory)} is damaged", str(error)
        ) from error


def every(root: str) -> list[Container]:
    """All containers, by ID."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = (read(f"{root}/{name}") for name in names if is_id(name))
    return [container for container in found if container is not None]


def write_pid(path: str, pid: int) -> None:
    """Write *pid* to the file *path*, whole or not at all."""
    unfinished = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    with open(unfinished, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(unfinished, path)


def forget(container: Container) -> None:
    """Remove its directory."""
    clear(container.directory)


def clear(directory: str) -> None:
    """Remove a container's *directory*, which has files alone; its state last, by which it is found."""
    for name in sorted(os.listdir(directory), key="state.json".__eq__):
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:  # who starts it just now has taken the socket's name away
            continue
    os.rmdir(directory)


def read_config(bundle: str) -> JSON:
    """The config.json of *bundle*; LaunchError when there is none, or what is no document of this version."""
    try:
        with open(f"{bundle}/config.json", "rb") as file:
            data = file.read()
    except OSError as error:
        raise LaunchError(f"cannot read config.json of {bundle}", error.strerror or str(error)) from error
    try:
        found = plainjson.loads(data)
    except (ValueError, RecursionError) as error:
        raise LaunchError("config.json is malformed", str(error)) from error
    from engine.oci.shape import checked

    found = checked(found)
    version = found["ociVersion"]
    if not isinstance(version, str) or not _is_version(version):
        raise LaunchError("config.json is malformed", f"its ociVersion is {version!r}")
    if version.split(".")[0] != "1":
        raise LaunchError(
            f"cannot run a bundle of version {version}", f"this is a runtime of {SPECIFICATION}"
        )
    return found


def _is_version(text: str) -> bool:
    """Whether *text* is a version by SemVer 2.0.0: three numbers, and what may follow ``-`` or ``+``."""
    end = min((place for place in map(text.find, "-+") if place >= 0), default=len(text))
    numbers = text[:end].split(".")
    digits = all(number.isascii() and number.isdigit() for number in numbers)
    return len(numbers) == 3 and digits and _LETTERS.issuperset(text[end:])
