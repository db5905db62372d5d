"""The words that every room of cowl shares, as frozen records.

They are named tuples: as frozen and typed as any struct, and importing them costs the launch path nothing
(`msgspec`, which validates the documents of others, costs 30 ms). Sizes are bytes, times on the wire are RFC
3339 UTC with nanoseconds, durations say their unit, digests are ``sha256:<hex>``.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.record import Record

TYPE_CHECKING = False  # the one of `typing`, which takes 9 ms to import
if TYPE_CHECKING:
    from typing import Any, Literal, TypeAlias

    JSON: TypeAlias = dict[str, Any]
    State = Literal["created", "running", "paused", "restarting", "exited", "dead"]
    HealthStatus = Literal["starting", "healthy", "unhealthy"]
    ChangeKind = Literal["added", "modified", "deleted"]
    FileType = Literal["file", "directory", "symlink", "fifo", "char", "block", "socket"]
    Aspect = Literal["content", "mode", "owner", "xattr", "type", "mtime"]
else:
    JSON = dict
    State = HealthStatus = ChangeKind = FileType = Aspect = str


class Node(Record):
    """An image: a read-only layer with its parents. Its ID is its chain ID (OCI image-spec, config.md)."""

    chain_id: str
    parent: str | None
    diff_id: str
    size: int
    """Bytes of the regular files of this layer alone, hard links counted once."""
    file_count: int
    """Entries of this layer alone, whiteouts included, the root directory not."""
    created: str
    created_by: str
    comment: str
    tags: tuple[str, ...]
    containers: tuple[str, ...]
    """Names of the containers whose read-write layer lies on this node."""


class Image(Record):
    """What a tag names: a node and the OCI configuration and manifest that it is used with."""

    name: str
    manifest_digest: str
    chain_id: str
    config: JSON
    """The OCI image configuration document."""


class Limits(Record):
    """What a container may use; None is no limit of its own."""

    cpus: float | None = None
    """CPUs, as quota per period: 0.5 is half of one."""
    cpu_shares: int | None = None
    """docker's relative weight, 2..262144, default 1024."""
    cpuset_cpus: str | None = None
    memory: int | None = None
    """Bytes."""
    memory_swap: int | None = None
    """Bytes of memory plus swap together; -1 is unlimited swap."""
    pids: int | None = None
    memory_reservation: int | None = None
    """Bytes that it is left with, if that can be, when the machine's memory is scarce."""
    cpu_period: int | None = None
    """Microseconds that *cpus* is a part of; None is 100,000."""
    cpuset_mems: str | None = None
    """Memory nodes."""
    cpu_rt_period: int | None = None
    cpu_rt_runtime: int | None = None
    """Microseconds of each real-time period in which its real-time tasks may run."""
    blkio_weight: int | None = None
    """docker's relative weight of IO, 10..1000."""
    memory_swappiness: int | None = None
    """0..100: how much it is swapped out rather than its page cache let go of."""
    oom_kill_disable: bool | None = None
    """Whether its processes wait for memory beyond the limit, rather than one of them being ended."""


class Volume(Record):
    """A directory or file of the host, or a named volume of the store, shown in the container."""

    source: str
    """Empty for a volume of the store, until the container is made."""
    destination: str
    read_only: bool = False
    name: str = ""
    """Of a volume of the store; empty there too for one to be made for this container alone."""
    anonymous: bool = False
    """Whether it goes with its container."""
    copy: bool = True
    """Whether an empty volume is given what the image has in its place."""
    propagation: str = ""
    """Whether mounts below it come from the host (``rslave``), go there too (``rshared``), or only those that
    are no further down (``slave``, ``shared``); empty: neither."""
    recursion: str = ""
    """Of what is mounted below it: ``disabled`` leaves that out, ``writable`` does not make it read-only;
    empty: it is shown, as it is itself."""
    make: bool = True
    """Whether a directory of the host that is not there is made."""


class VolumeInfo(Record):
    """A named volume of the store."""

    name: str
    path: str
    """Its directory on the host."""
    created: str
    anonymous: bool
    """Whether it was made for one container, which takes it along when it is removed."""
    labels: tuple[str, ...]
    containers: tuple[str, ...]
    """Names of the containers that show it."""


EVERY_ADDRESS = ("", "0.0.0.0", "::")
"""`PublishedPort.host_ip` for all addresses: of both versions of IP, of 4, of 6."""


class PublishedPort(Record):
    """A port of a container that is reached at one of this machine's."""

    host_ip: str
    """The address of this machine; empty for all."""
    host_port: int
    """0 for any that is free."""
    container_port: int
    protocol: str = "tcp"
    host_last: int = 0
    """The last of a range that begins with *host_port*, of which it gets the first that is free; else 0."""


class Health(Record):
    """How it is found out whether a container does its work."""

    argv: tuple[str, ...]
    """What to run in it: 0 is healthy."""
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    """How many failures in a row make it unhealthy."""
    start_period_s: float = 0.0
    """Seconds from its start in which failures do not count, until the first success."""
    start_interval_s: float = 5.0
    """Seconds between two checks in that time."""


class LaunchOptions(Record):
    """Everything that `create` and `run` take; the image's configuration fills what is None or empty."""

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    name: str | None = None
    env: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    hostname: str | None = None
    domainname: str | None = None
    interactive: bool = False
    tty: bool = False
    auto_remove: bool = False
    network: str = ""
    """none, host, bridge, or container:NAME; empty for what is usual in this root."""
    publish: tuple[PublishedPort, ...] = ()
    publish_all: bool = False
    """Whether every port that the image or *expose* names is published at one that is free."""
    expose: tuple[str, ...] = ()
    """``80/tcp``, ``8000-8010``: ports that it listens on."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    """``NAME:ADDRESS``; host-gateway is the address of the bridge."""
    mac_address: str | None = None
    ip: str | None = None
    network_aliases: tuple[str, ...] = ()
    read_only: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    volumes_from: tuple[str, ...] = ()
    """Containers whose volumes are shown too, ``NAME[:ro]``; when it is made they become *volumes*."""
    tmpfs: tuple[str, ...] = ()
    security_opts: tuple[str, ...] = ()
    """What `--security-opt` takes, see `engine.oci.security`."""
    devices: tuple[str, ...] = ()
    """``SOURCE[:DESTINATION[:ACCESS]]``."""
    device_cgroup_rules: tuple[str, ...] = ()
    """``TYPE MAJOR:MINOR ACCESS``."""
    block_limits: tuple[str, ...] = ()
    """``KIND=PATH:NUMBER``: weights and rates of block devices, see `engine.containers.confining`."""
    group_add: tuple[str, ...] = ()
    """Further groups: numbers, or names of the image's /etc/group."""
    ipc: str = "private"
    """private, none (no /dev/shm either), shareable, container:NAME (of one that is) or host."""
    pid: str = "private"
    """private, host or container:NAME."""
    uts: Literal["private", "host"] = "private"
    cgroupns: Literal["private", "host"] = "private"
    shm_size: int | None = None
    """Bytes of /dev/shm; None is docker's 64 MiB."""
    oom_score_adj: int | None = None
    """-1000 to 1000: how soon its processes are ended when memory runs out."""
    ulimits: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    """``NAME=VALUE``, besides those of the image."""
    annotations: tuple[str, ...] = ()
    """``NAME=VALUE``: for its config.json."""
    cgroup_parent: str | None = None
    """The cgroup in which it gets its own; None is the engine's."""
    stop_signal: str | None = None
    stop_timeout: float = 10.0
    """Seconds between the stop signal and SIGKILL."""
    init: bool = False
    """Whether an init program runs first and reaps."""
    health: Health | None = None
    """None: as the image says; so is what is empty or 0 in it."""
    no_health: bool = False
    """Whether nothing is checked, whatever the image says."""
    restart: str = "no"
    """docker's policy: no, always, unless-stopped, on-failure[:times]."""
    log_max_size: int | None = 20 << 20
    """Bytes of one file of its log; None is no end, 0 keeps nothing."""
    log_max_files: int = 5
    """How many files of its log are kept, the one that grows included."""
    limits: Limits = Limits()


class Container(Record):
    """A node, a read-write layer and (while it runs) a process tree, as `ps` sees it now."""

    id: str
    name: str
    image: str
    """The reference that it was created from, as it was given."""
    chain_id: str
    command: tuple[str, ...]
    state: State
    created: str
    started: str | None
    finished: str | None
    exit_code: int | None
    oom_killed: bool
    error: str
    """Why it did not start, has no monitor, or its end is unknown; what its log lacks; else empty."""
    pid: int | None
    """Its first process, in the caller's PID namespace; None unless running or paused."""
    monitored: bool
    """False for a running container whose monitor was killed."""
    limits: Limits
    tty: bool
    interactive: bool
    auto_remove: bool
    labels: dict[str, str]
    options: LaunchOptions
    restarts: int = 0
    """How often its restart policy has started it again since it was last started."""
    health: HealthStatus | None = None
    """None where nothing is checked, or it does not run."""
    ports: tuple[PublishedPort, ...] = ()
    """Those of this machine that lead to it now."""


class Event(Record):
    """Something that was done to a container, an image, a volume or the store itself."""

    time: str
    type: str
    """``container``, ``image``, ``volume`` or ``store``."""
    action: str
    """docker's word: create, start, die, destroy, pull, tag, …; ``repair`` for what a check mended."""
    id: str
    """The container's ID, or the image's chain ID; empty where there is none any more."""
    name: str
    attributes: dict[str, str]
    """What else there is to say: the exit code of a ``die``, the signal of a ``kill``."""


class Change(Record):
    """One path in which a read-write layer differs from the node below it, or one tree from another."""

    path: str
    """Absolute in the container; bytes that are not UTF-8 as surrogate escapes."""
    kind: ChangeKind
    type: FileType
    size: int
    """Bytes now; 0 for what is not a regular file or is deleted."""
    old_size: int
    """Bytes in the node below; 0 where there was none."""
    what: tuple[Aspect, ...]
    """For `modified`: in which way."""


class FileDiff(Record):
    """One changed path, ready to be looked at."""

    path: str
    kind: ChangeKind
    binary: bool
    text: str
    """A unified diff for text; a hex dump of the first bytes for binary; one plain sentence otherwise."""
    added: int
    """Lines."""
    removed: int
    truncated: bool


class Pressure(Record):
    """PSI `some avg10`, in percent of the last ten seconds (Documentation/accounting/psi.rst)."""

    cpu: float
    memory: float
    io: float


class Sample(Record):
    """What one container uses, at one moment. Counters count from the container's start."""

    container: str
    name: str
    time: str
    monotonic_ns: int
    cpu_percent: float
    """Of one core, over the time since the previous sample."""
    cpu_usage_ns: int
    throttled_periods: int
    throttled_ns: int
    periods: int
    memory_bytes: int
    """Usage less the inactive page cache, as docker shows it."""
    memory_limit_bytes: int | None
    memory_peak_bytes: int
    oom_kills: int
    swap_bytes: int
    io_read_bytes: int
    io_write_bytes: int
    net_rx_bytes: int
    net_tx_bytes: int
    pids: int
    pids_limit: int | None
    cpu_limit: float | None
    """CPUs."""
    pressure: Pressure | None


class LogLine(Record):
    """One line of a container's output, without its newline."""

    time: str
    """When it began."""
    stream: Literal["stdout", "stderr"]
    text: str
    ended: bool = True
    """Whether its newline has come. If not, what is still to come of it is another one with the same time."""


class RemovalItem(Record):
    """One thing that goes, and what comes free by that alone."""

    kind: Literal["tag", "image", "manifest", "blob", "download", "container"]
    name: str
    size: int
    """Bytes; 0 for what is in the records only."""
    note: str = ""


class Removal(Record):
    """What removing something would take away: shown before it is done."""

    what: tuple[str, ...]
    """A sentence fragment for each thing that goes: a tag, a node, a container with its changes."""
    nodes: tuple[str, ...]
    containers: tuple[str, ...]
    size: int
    """Bytes that come free."""
    blocked_by: tuple[str, ...]
    """Why it cannot be done; empty when it can."""
    items: tuple[RemovalItem, ...] = ()
    """All that goes, one by one; their sizes add up to `size`."""


class Progress(Record):
    """How far a long operation is."""

    step: str
    done: int
    """Bytes."""
    total: int | None


ProgressCallback: TypeAlias = Callable[[Progress], None]


class HostFigures(Record):
    """The machine and cowl itself, for the header line."""

    cpu_percent: float
    """Of the whole machine, 0..100."""
    memory_used: int
    memory_total: int
    own_cpu_percent: float
    """Of one core: this process and its launcher."""
    own_memory: int
    pressure: Pressure | None
