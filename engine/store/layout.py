"""Where everything of one root lies on disk.

    cowl.db                     records (SQLite)
    blobs/sha256/<hex>          blobs of others, as they came
    layers/<chain hex>/diff/    the tree of one layer, whiteouts in overlayfs form
    containers/<id>/            one container: see `ContainerPaths`
    staging/<random>/           work that is not published yet; its owner locks staging/<random>.lock
    trash/<random>/             what was taken out of the store and is being deleted
    partial/<hex>               blobs that are here in part: see `engine.store.partials`
    reserve/                    room for a full disk: see `engine.store.reserve`

Run-time files live outside, on a tmpfs: they mean nothing after a reboot.
"""

from __future__ import annotations

import os

from engine.record import Record

try:  # without OpenSSL, which hashlib takes 3 ms to load
    from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from hashlib import sha256

DATABASE = "cowl.db"
UNFINISHED = ".new"
"""Ends the name of a container's directory while it is being made."""
DEFAULT_ROOT = "/var/lib/cowl"
ORIGIN = "root"
"""The file in a run-time directory that says which root it is of."""


def digest_of(data: bytes) -> str:
    """The SHA-256 of *data*, in hex."""
    found: str = sha256(data).hexdigest()
    return found


def default_root() -> str:
    """The store that is meant when none is named: $COWL_ROOT, or the one of this user."""
    if root := os.environ.get("COWL_ROOT"):
        return root
    if os.geteuid() == 0:
        return DEFAULT_ROOT
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "cowl")


def runtime_base() -> str:
    """The directory that holds the run-time directories of all roots of this user."""
    if os.geteuid() == 0:
        return "/run/cowl"
    return os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/cowl-{os.geteuid()}", "cowl")


class ContainerPaths(Record):
    """The files of one container; `home` outlives a reboot, `run` does not."""

    home: str
    run: str

    @property
    def unfinished(self) -> str:
        """What becomes `home` when everything that belongs into it is there."""
        return f"{self.home}{UNFINISHED}"

    @property
    def config(self) -> str:
        """The OCI runtime-spec document, executed as written."""
        return f"{self.home}/config.json"

    @property
    def upper(self) -> str:
        """The read-write layer."""
        return f"{self.home}/upper"

    @property
    def work(self) -> str:
        """Overlayfs' work directory, on the same file system as `upper`."""
        return f"{self.home}/work"

    @property
    def init(self) -> str:
        """Mount points that the image lacks: the topmost read-only layer, never a change, never committed."""
        return f"{self.home}/init"

    @property
    def rootfs(self) -> str:
        """The empty directory over which the overlay is mounted, in the container's mount namespace only."""
        return f"{self.home}/rootfs"

    @property
    def log(self) -> str:
        """Both streams, one line of the CRI log format each: time, stream, P or F, text."""
        return f"{self.home}/log"

    @property
    def exit(self) -> str:
        """JSON that the monitor leaves when the container has ended."""
        return f"{self.home}/exit.json"

    @property
    def failures(self) -> str:
        """What went wrong in processes that nobody hears, see `engine.store.failures`."""
        return f"{self.home}/failures"

    @property
    def lock(self) -> str:
        """Held (flock) by whoever changes this container's state or commits its read-write layer."""
        return f"{self.home}/lock"

    @property
    def state(self) -> str:
        """JSON that the monitor leaves when the container has started: pids, start times, cgroup paths."""
        return f"{self.run}/state.json"

    @property
    def monitor_lock(self) -> str:
        """Held (flock) by the monitor for as long as it lives: the kernel lets go of it whatever kills it."""
        return f"{self.run}/monitor.lock"

    @property
    def called_off(self) -> str:
        """An empty file: whoever ended the container wants it to stay so, whatever its restart policy."""
        return f"{self.run}/called-off"

    @property
    def policy(self) -> str:
        """A restart policy that was given to the container since it was started."""
        return f"{self.run}/policy"

    @property
    def health(self) -> str:
        """JSON that health checks leave, see `engine.containers.health`."""
        return f"{self.run}/health.json"

    @property
    def filters(self) -> str:
        """How the files with compiled seccomp filters begin, those of all containers of the root."""
        return f"{os.path.dirname(self.run)}/filter-"

    @property
    def init_layers(self) -> str:
        """How the files with init layers begin that were made once, those of all containers of the root."""
        return f"{os.path.dirname(self.run)}/init-"

    @property
    def socket(self) -> str:
        """The monitor's socket for attach (SOCK_SEQPACKET)."""
        return f"{self.run}/attach.sock"


class Layout(Record):
    """The paths of one root."""

    root: str
    run: str
    """Run-time directory, /run/cowl/<hash of the root>."""

    @classmethod
    def of(cls, root: str) -> Layout:
        """The layout of *root*, made absolute with its symlinks resolved, so that one store has one name."""
        real = os.path.realpath(root)
        return cls(real, os.path.join(runtime_base(), digest_of(os.fsencode(real))[:16]))

    @property
    def database(self) -> str:
        """The SQLite file."""
        return f"{self.root}/{DATABASE}"

    @property
    def blobs(self) -> str:
        """Blobs by digest."""
        return f"{self.root}/blobs/sha256"

    @property
    def layers(self) -> str:
        """One directory per node."""
        return f"{self.root}/layers"

    @property
    def containers(self) -> str:
        """One directory per container."""
        return f"{self.root}/containers"

    @property
    def staging(self) -> str:
        """Unpublished work."""
        return f"{self.root}/staging"

    @property
    def trash(self) -> str:
        """Deletions under way."""
        return f"{self.root}/trash"

    @property
    def partials(self) -> str:
        """Downloads that did not come to their end, by digest."""
        return f"{self.root}/partial"

    @property
    def reserve(self) -> str:
        """Files that hold nothing but room."""
        return f"{self.root}/reserve"

    @property
    def volumes(self) -> str:
        """One directory per named volume, see `engine.containers.volumes`."""
        return f"{self.root}/volumes"

    @property
    def events(self) -> str:
        """What has happened, see `engine.store.events`."""
        return f"{self.root}/events"

    @property
    def revision(self) -> str:
        """An empty file whose mtime every monitor moves when its container's state changes."""
        return f"{self.run}/revision"

    @property
    def samples(self) -> str:
        """The last samples of containers, see `engine.containers.lastsamples`."""
        return f"{self.run}/samples"

    @property
    def origin(self) -> str:
        """A file that holds the root's path; made at the first opening since the machine has started."""
        return f"{self.run}/{ORIGIN}"

    @property
    def places(self) -> tuple[str, ...]:
        """The directories that a root always has; those of other uses are made when they are needed."""
        return self.blobs, self.layers, self.containers, self.staging, self.trash

    def blob(self, digest: str) -> str:
        """The file of the blob *digest*."""
        return f"{self.blobs}/{digest.removeprefix('sha256:')}"

    def partial(self, digest: str) -> str:
        """The file with what is here of the blob *digest* while it comes."""
        return f"{self.partials}/{digest.removeprefix('sha256:')}"

    def layer(self, chain_id: str) -> str:
        """The directory of a node: its tree is ``diff`` in it."""
        return f"{self.layers}/{chain_id.removeprefix('sha256:')}"

    def tree(self, chain_id: str) -> str:
        """The tree of a node's own layer, as overlayfs wants a lower directory."""
        return f"{self.layer(chain_id)}/diff"

    def container(self, container_id: str) -> ContainerPaths:
        """The files of one container."""
        return ContainerPaths(f"{self.containers}/{container_id}", f"{self.run}/{container_id}")
