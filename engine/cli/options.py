"""The options of `create`, `run`, `exec` and of `cowl` itself, declared once.

Two parsers read these tables: `engine.cli.parser`, which costs a launch nothing, and click, which has the
help, the messages and the completion (`engine.cli.group`). Both give the same values, text as it was typed;
`engine.cli.values` gives it meaning.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from engine.record import Record

Values: TypeAlias = Mapping[str, Any]
"""By `Option.dest`: bool for a flag, tuple[str, ...] for one that repeats, else str or None."""


class Option(Record):
    """One option of the command line."""

    flags: tuple[str, ...]
    """Its spellings, short ones first."""
    dest: str
    help: str
    metavar: str = ""
    """What its value is called; empty for a flag, which has none."""
    multiple: bool = False
    hidden: bool = False
    default: bool = False
    """What a flag is that is not given."""


class Command(Record):
    """A command whose options are a table."""

    name: str
    arguments: str
    """As the usage line shows them."""
    help: str
    options: tuple[Option, ...]
    at_least: int
    """How many arguments it needs."""
    at_most: int | None = None
    interspersed: bool = False
    """Whether options may follow arguments; else those begin at the first word that is no option."""
    module: str = "launch"
    """Which of `engine.cli` has it among its ACTIONS."""


GLOBALS = (
    Option(("--root",), "root", "The store: images, containers and their changes.", "DIR"),
    Option(("--cgroup-parent",), "cgroup_parent", "Put containers into this cgroup.", "NAME", hidden=True),
    Option(("--version",), "version", "Show the version and end."),
)

JSON = Option(("--json",), "as_json", "Print JSON, sizes in bytes and times in UTC.")
QUIET = Option(("-q", "--quiet"), "quiet", "Print IDs or names only, one a line.")

_DETACH_KEYS = Option(
    ("--detach-keys",), "detach_keys", "What leaves it running; otherwise ctrl-p,ctrl-q.", "KEYS"
)
_PROCESS = (
    Option(("-e", "--env"), "env", "Set a variable; NAME alone takes it from here.", "NAME=VALUE", True),
    Option(("--env-file",), "env_file", "Read variables from a file, one a line.", "FILE", True),
    Option(("-i", "--interactive"), "interactive", "Keep standard input open."),
    Option(("-t", "--tty"), "tty", "Give it a terminal."),
    Option(("-u", "--user"), "user", "Run as this user of the image, or of these numbers.", "NAME[:GROUP]"),
    Option(("-w", "--workdir"), "workdir", "Begin in this directory.", "DIR"),
    _DETACH_KEYS,
)

_CONTAINER = (
    Option(("--name",), "name", "Call it this; otherwise a name is made.", "NAME"),
    Option(("--cidfile",), "cidfile", "Write its ID into this file, which must not be there.", "FILE"),
    Option(("--platform",), "platform", "The image for this machine: linux/arm64.", "OS/ARCH[/VARIANT]"),
    Option(("-q", "--quiet"), "quiet", "Show no progress of a pull."),
    Option(("--pull",), "pull", "Pull the image if it is missing (the default), always, or never.", "WHEN"),
    Option(("--rm",), "rm", "Remove it, with its changes, when it ends."),
    Option(
        ("--disable-content-trust",), "plain", "Nothing: digests are compared.", hidden=True, default=True
    ),
    *_PROCESS,
    Option(("-v", "--volume"), "volume", "Show a path of the host, or a named volume.", "SRC:DST[:ro]", True),
    Option(("--volumes-from",), "volumes_from", "Show the volumes of another.", "CONTAINER[:ro]", True),
    Option(("--volume-driver",), "volume_driver", "local, which is what there is.", "NAME", hidden=True),
    Option(
        ("--mount",),
        "mount",
        "As -v and --tmpfs, word by word: type=bind,src=/here,dst=/there,ro.",
        "WORDS",
        True,
    ),
    Option(("--tmpfs",), "tmpfs", "Mount memory there.", "DIR[:OPTIONS]", True),
    Option(("--read-only",), "read_only", "Mount its root read-only."),
    Option(("-h", "--hostname"), "hostname", "Its host name; otherwise the first of its ID.", "NAME"),
    Option(("--domainname",), "domainname", "Its NIS domain name.", "NAME"),
    Option(("--entrypoint",), "entrypoint", "Run this instead of the image's entrypoint.", "COMMAND"),
    Option(
        ("--network", "--net"),
        "network",
        "bridge (the default), none, host or container:NAME.",
        "NETWORK",
        True,
    ),
    Option(("--network-alias", "--net-alias"), "network_alias", "One more name on its bridge.", "NAME", True),
    Option(
        ("-p", "--publish"), "publish", "Reach its port at one of this machine: 8080:80.", "PORT:PORT", True
    ),
    Option(("-P", "--publish-all"), "publish_all", "Publish what the image exposes, at free ports."),
    Option(("--expose",), "expose", "A port that -P publishes besides.", "PORT[/PROTOCOL]", True),
    Option(("--ip",), "ip", "Its address on the bridge; otherwise a free one.", "ADDRESS"),
    Option(("--mac-address",), "mac_address", "Its hardware address.", "ADDRESS"),
    Option(("--add-host",), "add_host", "A line for its hosts file; or host-gateway.", "NAME:IP", True),
    Option(("--dns",), "dns", "Whom it asks for names; otherwise the host's servers.", "ADDRESS", True),
    Option(("--dns-search",), "dns_search", "A domain to look for short names in.", "DOMAIN", True),
    Option(("--dns-option", "--dns-opt"), "dns_option", "An option of resolv.conf.", "OPTION", True),
    Option(("--cpus",), "cpus", "At most so many CPUs: 0.5 is half of one.", "NUMBER"),
    Option(("--cpu-period",), "cpu_period", "With --cpu-quota: microseconds of a period; 100000.", "NUMBER"),
    Option(("--cpu-quota",), "cpu_quota", "At most so many microseconds of CPU a period.", "NUMBER"),
    Option(("--cpu-shares", "-c"), "cpu_shares", "Its weight beside others; 1024 is usual.", "NUMBER"),
    Option(("--cpuset-cpus",), "cpuset_cpus", "Run on these CPUs only.", "0-2,4"),
    Option(("--cpuset-mems",), "cpuset_mems", "Use these memory nodes only.", "0-3,5"),
    Option(("--cpu-rt-period",), "cpu_rt_period", "Microseconds of a real-time period.", "NUMBER"),
    Option(("--cpu-rt-runtime",), "cpu_rt_runtime", "Its real-time tasks' share of that.", "NUMBER"),
    Option(("-m", "--memory"), "memory", "At most so much memory: 64m, 1g.", "SIZE"),
    Option(("--memory-reservation",), "memory_reservation", "What it keeps when memory is scarce.", "SIZE"),
    Option(("--memory-swap",), "memory_swap", "Memory and swap together; -1: any.", "SIZE"),
    Option(
        ("--memory-swappiness",), "memory_swappiness", "How readily it is swapped out; -1: usual.", "0..100"
    ),
    Option(("--kernel-memory",), "kernel_memory", "Left out: kernels have it no more.", "SIZE", hidden=True),
    Option(("--oom-kill-disable",), "oom_kill_disable", "At its limit it waits for memory, not ended."),
    Option(("--blkio-weight",), "blkio_weight", "Its weight in IO beside others.", "10..1000"),
    Option(
        ("--blkio-weight-device",), "blkio_weight_device", "The same for a device.", "DEVICE:WEIGHT", True
    ),
    Option(("--device-read-bps",), "device_read_bps", "At most so many bytes a second.", "DEVICE:SIZE", True),
    Option(("--device-write-bps",), "device_write_bps", "The same for writing.", "DEVICE:SIZE", True),
    Option(("--device-read-iops",), "device_read_iops", "At most so often a second.", "DEVICE:NUMBER", True),
    Option(("--device-write-iops",), "device_write_iops", "The same for writing.", "DEVICE:NUMBER", True),
    Option(("--pids-limit",), "pids_limit", "At most so many processes; -1: any.", "NUMBER"),
    Option(("--cap-add",), "cap_add", "Add a capability, or ALL.", "NAME", True),
    Option(("--cap-drop",), "cap_drop", "Take a capability away, or ALL.", "NAME", True),
    Option(("--privileged",), "privileged", "Every capability and device: no protection at all."),
    Option(
        ("--security-opt",),
        "security_opt",
        "seccomp=PROFILE, no-new-privileges=false, mask=PATH, unmask=PATH or ALL, apparmor=, label=.",
        "OPTION",
        True,
    ),
    Option(("--device",), "device", "Give it a device of the host.", "SRC[:DST][:rwm]", True),
    Option(("--device-cgroup-rule",), "device_cgroup_rule", "Allow devices: 'c 42:* rwm'.", "RULE", True),
    Option(("--group-add",), "group_add", "Run with this group too.", "GROUP", True),
    Option(
        ("--ipc",),
        "ipc",
        "private (the default), none, shareable, container:NAME (of one that is), host.",
        "MODE",
    ),
    Option(("--pid",), "pid", "private (the default), host (it sees all), or container:NAME.", "MODE"),
    Option(("--userns",), "userns", "host, which is what there is.", "MODE", hidden=True),
    Option(("--uts",), "uts", "private (the default), or host: its host name is the host's.", "MODE"),
    Option(("--cgroupns",), "cgroupns", "private (the default), or host.", "MODE"),
    Option(("--cgroup-parent",), "cgroup_parent", "Put its cgroup into this one.", "NAME"),
    Option(("--isolation",), "isolation", "default, which is what there is.", "NAME", hidden=True),
    Option(("--shm-size",), "shm_size", "How large /dev/shm is; otherwise 64m.", "SIZE"),
    Option(
        ("--oom-score-adj",), "oom_score_adj", "How soon it is ended when memory runs out.", "-1000..1000"
    ),
    Option(
        ("--ulimit",), "ulimit", "Set a limit of its processes: nofile=1024:2048.", "NAME=SOFT[:HARD]", True
    ),
    Option(("--sysctl",), "sysctl", "Set a sysctl of its namespaces.", "NAME=VALUE", True),
    Option(("-l", "--label"), "label", "Attach a label.", "NAME=VALUE", True),
    Option(("--label-file",), "label_file", "Read labels from a file, one a line.", "FILE", True),
    Option(("--annotation",), "annotation", "An annotation of its config.json.", "NAME=VALUE", True),
    Option(("--stop-signal",), "stop_signal", "What asks it to end; otherwise SIGTERM.", "SIGNAL"),
    Option(("--init",), "init", "Run an init program first, which forwards signals and reaps."),
    Option(("--health-cmd",), "health_cmd", "Run this in it now and then: 0 is healthy.", "COMMAND"),
    Option(("--health-interval",), "health_interval", "Between two checks; otherwise 30s.", "TIME"),
    Option(("--health-timeout",), "health_timeout", "A check may take so long; otherwise 30s.", "TIME"),
    Option(("--health-retries",), "health_retries", "So many failures make it unhealthy; 3.", "NUMBER"),
    Option(("--health-start-period",), "health_start_period", "Failures do not count for so long.", "TIME"),
    Option(("--health-start-interval",), "health_start_interval", "Between checks in that time; 5s.", "TIME"),
    Option(("--no-healthcheck",), "no_healthcheck", "Check nothing, whatever the image says."),
    Option(
        ("--restart",),
        "restart",
        "Start it again when it ends: no (the default), always, unless-stopped, on-failure[:times].",
        "POLICY",
    ),
    Option(("--stop-timeout",), "stop_timeout", "Seconds from that to SIGKILL; otherwise 10.", "SECONDS"),
    Option(
        ("--log-driver",),
        "log_driver",
        "json-file (the default), local: its log is kept; none: it is not.",
        "NAME",
    ),
    Option(
        ("--log-opt",),
        "log_opt",
        "max-size=20m (-1: no end) and max-file=5: how much of its log is kept.",
        "NAME=VALUE",
        True,
    ),
)

CREATE = Command(
    "create",
    "IMAGE [COMMAND [ARGUMENT]...]",
    "Make a container without starting it.",
    (
        Option(
            ("-a", "--attach"), "attach", "Nothing: start -a shows them all.", "STREAM", True, hidden=True
        ),
        *_CONTAINER,
    ),
    1,
)
RUN = Command(
    "run",
    "IMAGE [COMMAND [ARGUMENT]...]",
    "Make a container from any node and start it.",
    (
        Option(("-d", "--detach"), "detach", "Let it run on its own and print its ID."),
        Option(("-a", "--attach"), "attach", "Only this stream: stdin, stdout or stderr.", "STREAM", True),
        Option(("--sig-proxy",), "sig_proxy", "Pass signals on (=false: do not).", default=True),
        *_CONTAINER,
    ),
    1,
)
EXEC = Command(
    "exec",
    "CONTAINER COMMAND [ARGUMENT]...",
    "Run a further command in a running container.",
    (
        Option(("-d", "--detach"), "detach", "Let it run on its own."),
        *_PROCESS,
        Option(("--privileged",), "privileged", "Give it every capability."),
    ),
    2,
)
PS = Command(
    "ps",
    "",
    "List containers, newest first.",
    (
        Option(("-a", "--all"), "everything", "Also those that do not run."),
        Option(("-f", "--filter"), "filters", "Only these: name=, status=, label=…", "NAME=VALUE", True),
        Option(("--format",), "template", "json, or like 'table {{.ID}}\\t{{.Names}}'.", "TEMPLATE"),
        Option(("--no-trunc",), "no_trunc", "Whole IDs and commands."),
        Option(("-n", "--last"), "last", "Only the newest N.", "N"),
        Option(("-l", "--latest"), "latest", "Only the newest, whatever its state."),
        Option(("-s", "--size"), "sizes", "Also what its changes take."),
        QUIET,
        JSON,
    ),
    0,
    0,
    module="listing",
)
STATS = Command(
    "stats",
    "[CONTAINER...]",
    "Show what containers use: CPU, memory, IO, processes.",
    (
        Option(("-a", "--all"), "everything", "Also those that do not run."),
        Option(("--format",), "template", "json, or like 'table {{.Name}}\\t{{.CPUPerc}}'.", "TEMPLATE"),
        Option(("--no-stream",), "no_stream", "One sample, then end."),
        Option(("--no-trunc",), "no_trunc", "Also whole IDs."),
        JSON,
    ),
    0,
    interspersed=True,
    module="sampling",
)
COMMANDS: Mapping[str, Command] = MappingProxyType(
    {command.name: command for command in (CREATE, RUN, EXEC, PS, STATS)}
)
