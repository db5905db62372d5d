"""Nodes and containers in words, for the preview, the palette and questions."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model import Container, Limits, Node, Volume
from tui import format as fmt
from tui.forest_rows import ForestItem, node_name, state_text
from tui.theme import Line, Span


def name_of(item: ForestItem) -> str:
    """What people call it."""
    return node_name(item) if isinstance(item, Node) else item.name


def reference(node: Node) -> str:
    """What the command line takes for it: a tag, else twelve figures of the chain ID."""
    return node.tags[0] if node.tags else node.chain_id.removeprefix("sha256:")[:12]


def facts(item: ForestItem) -> Sequence[Line]:
    """What is known of it, a line each."""
    pairs = _node(item) if isinstance(item, Node) else _container(item)
    return [(Span(f"{name:<10} ", "muted"), Span(fmt.safe(value))) for name, value in pairs if value]


def limits_text(limits: Limits) -> str:
    """`1.5 CPUs · 512M · 50 processes`, or that there are none."""
    parts = []
    if limits.cpus is not None:
        parts.append(f"{fmt.cpus(limits.cpus)} CPUs")
    if limits.cpuset_cpus:
        parts.append(f"on CPU {limits.cpuset_cpus}")
    if limits.memory is not None:
        parts.append(fmt.size(limits.memory))
    if limits.pids is not None:
        parts.append(f"{limits.pids} processes")
    return " · ".join(parts) or "none"


def _node(node: Node) -> list[tuple[str, str]]:
    return [
        ("image", ", ".join(node.tags) or "no tag"),
        ("chain ID", node.chain_id.removeprefix("sha256:")),
        ("diff ID", node.diff_id.removeprefix("sha256:")),
        ("parent", (node.parent or "none: a base layer").removeprefix("sha256:")),
        ("layer", f"{fmt.size(node.size)} in {fmt.count(node.file_count)} entries"),
        ("created", _moment(node.created)),
        ("by", node.created_by),
        ("comment", node.comment),
        ("used by", ", ".join(node.containers)),
    ]


def _container(container: Container) -> list[tuple[str, str]]:
    return [
        ("container", container.name),
        ("ID", container.id[:12]),
        ("image", container.image),
        ("command", fmt.command_line(container.command)),
        ("state", container.state if container.state != "exited" else state_text(container, 0.0)),
        ("since", _moment(container.finished or container.started or "")),
        ("trouble", container.error),
        ("health", container.health or ""),
        ("restart", _restart(container)),
        ("PID", str(container.pid or "")),
        ("limits", limits_text(container.limits)),
        ("network", container.options.network),
        ("volumes", ", ".join(map(_volume, container.options.volumes))),
        ("created", _moment(container.created)),
    ]


def _restart(container: Container) -> str:
    """Its policy, and how often that was needed."""
    if container.options.restart == "no":
        return ""
    times = "once" if container.restarts == 1 else f"{container.restarts} times"
    return container.options.restart + (f" (so far {times})" if container.restarts else "")


def _volume(volume: Volume) -> str:
    return f"{volume.name or volume.source} on {volume.destination}"


def _moment(stamp: str) -> str:
    """`2026-01-31 13:44:04` in UTC, as it was recorded."""
    return stamp[:19].replace("T", " ")
