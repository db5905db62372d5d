"""Records for tests of the app: deterministic, of nothing real."""

from __future__ import annotations

from hashlib import sha256

from engine.model import Change, ChangeKind, Container, FileType, LaunchOptions, Limits, Node, Sample, State

EARLY = "2026-01-01T10:00:00.000000000Z"
LATER = "2026-01-01T12:00:00.000000000Z"


def digest(name: str) -> str:
    return f"sha256:{sha256(name.encode()).hexdigest()}"


def node(
    name: str,
    parent: str | None = None,
    tags: tuple[str, ...] = (),
    size: int = 1 << 20,
    by: str = "",
    containers: tuple[str, ...] = (),
) -> Node:
    above = digest(parent) if parent else None
    return Node(digest(name), above, digest(f"diff {name}"), size, 12, EARLY, by, "", tags, containers)


def container(
    name: str,
    on: str,
    state: State = "running",
    image: str = "ubuntu:14.04",
    exit_code: int | None = None,
    limits: Limits | None = None,
) -> Container:
    alive = state in ("running", "paused")
    limits = limits or Limits()
    return Container(
        id=sha256(f"container {name}".encode()).hexdigest(),
        name=name,
        image=image,
        chain_id=digest(on),
        command=("sh",),
        state=state,
        created=EARLY,
        started=None if state == "created" else EARLY,
        finished=LATER if state == "exited" else None,
        exit_code=exit_code,
        oom_killed=False,
        error="",
        pid=4242 if alive else None,
        monitored=alive,
        limits=limits,
        tty=True,
        interactive=True,
        auto_remove=False,
        labels={},
        options=LaunchOptions(image, ("sh",), name=name, limits=limits),
    )


def figure() -> tuple[list[Node], list[Container]]:
    """The source document's forest: two trees of 5 and 6 nodes, containers on top."""
    nodes = [
        node("0", size=78_400_000, by="ADD rootfs.tar"),
        node("1", "0", size=2_200_000, by="RUN apt-get update"),
        node("2", "1", ("ubuntu:12.04",), 627_000),
        node("3", "2", ("ubuntu:14.04",), 19_300_000, containers=("api", "worker")),
        node("4", "3", ("api:v3",), 3_300_000),
        node("5", size=7_900_000, by="ADD alpine.tar"),
        node("6", "5", ("alpine:3.20",), 1_150_000),
        node("7", "6", ("redis:7",), 11_500_000),
        node("8", "6", size=40_000_000, by="RUN apk add python3"),
        node("9", "8", ("py:3.11", "py:latest"), 2_000_000),
        node("10", "8", ("build:old",), 9_700_000),
    ]
    containers = [
        container("api", "3", limits=Limits(cpus=1.5, memory=512 << 20, pids=100)),
        container("worker", "3", "paused"),
        container("notebook", "9", image="py:3.11"),
        container("cache", "7", "exited", "redis:7", exit_code=0),
    ]
    return nodes, containers


def change(
    path: str,
    kind: ChangeKind = "added",
    size: int = 0,
    old_size: int = 0,
    type: FileType = "file",  # noqa: A002
) -> Change:
    return Change(path, kind, type, size, old_size, ("content",) if kind == "modified" else ())


def changes() -> list[Change]:
    return [
        Change("/etc/passwd", "modified", "file", 840, 840, ("mode",)),
        change("/etc/nginx", type="directory"),
        change("/etc/nginx/api.conf", size=12_400),
        change("/etc/nginx/nginx.conf", size=1_200),
        change("/srv/app/settings.py", "modified", 512, 511),
        change("/srv/app/cache", type="directory"),
        *(change(f"/srv/app/cache/{number:04}.bin", size=2_400) for number in range(120)),
        Change("/srv/app/run.sh", "modified", "file", 80, 80, ("mode", "owner")),
        change("/var/log/api.log", size=316_000),
        change("/var/log/old.log", "deleted", old_size=2_097_152),
    ]


def sample(of: Container, cpu: float = 82.4, tick: int = 1) -> Sample:
    return Sample(
        container=of.id,
        name=of.name,
        time=LATER,
        monotonic_ns=tick * 1_000_000_000,
        cpu_percent=cpu,
        cpu_usage_ns=tick * 800_000_000,
        throttled_periods=tick * 3,
        throttled_ns=tick * 30_000_000,
        periods=tick * 10,
        memory_bytes=412 << 20,
        memory_limit_bytes=of.limits.memory,
        memory_peak_bytes=440 << 20,
        oom_kills=0,
        swap_bytes=0,
        io_read_bytes=tick * 1_200_000,
        io_write_bytes=tick * 9_000,
        net_rx_bytes=0,
        net_tx_bytes=0,
        pids=14,
        pids_limit=of.limits.pids,
        cpu_limit=of.limits.cpus,
        pressure=None,
    )
