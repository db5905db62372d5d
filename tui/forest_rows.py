"""The image forest as lines: nodes, and the containers that hang from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from engine.model import Container, Node
from tui import format as fmt
from tui.outline import Entry
from tui.theme import Line, Role, Span

ForestItem: TypeAlias = Node | Container

GLYPHS: Mapping[str, str] = {
    "running": "●",
    "paused": "◐",
    "restarting": "◌",
    "created": "○",
    "exited": "○",
    "dead": "○",
}
"""Each state's mark; the text beside it says the same."""
RANKS: Mapping[str, int] = {"running": 0, "paused": 1}


class Total(NamedTuple):
    """What stands in the forest pane's lower border."""

    nodes: int
    size: int
    shared: int
    """Bytes of the layers that more than one tagged image stands on: stored once."""


def node_key(chain_id: str) -> str:
    """The key of a node's entry."""
    return f"n:{chain_id}"


def container_key(container_id: str) -> str:
    """The key of a container's entry."""
    return f"c:{container_id}"


def forest_entries(nodes: Sequence[Node], containers: Sequence[Container]) -> list[Entry[ForestItem]]:
    """Nodes in preorder, each followed by its containers and then by its children, in the order given.

    A node whose parent is not among *nodes* stands as a root.
    """
    known = {node.chain_id for node in nodes}
    children: defaultdict[str | None, list[Node]] = defaultdict(list)
    for node in nodes:
        children[node.parent if node.parent in known else None].append(node)
    leaves: defaultdict[str, list[Container]] = defaultdict(list)
    for container in containers:
        leaves[container.chain_id].append(container)
    entries: list[Entry[ForestItem]] = []
    stack = [(node, 0) for node in reversed(children[None])]
    while stack:
        node, depth = stack.pop()
        entries.append(Entry(node_key(node.chain_id), depth, _node_text(node), node))
        for leaf in leaves.get(node.chain_id, ()):
            entries.append(Entry(container_key(leaf.id), depth + 1, leaf.name, leaf))
        stack.extend((child, depth + 1) for child in reversed(children.get(node.chain_id, ())))
    return entries


def forest_line(item: ForestItem, sizes: Mapping[str, int], now: float) -> tuple[Line, Line]:
    """Left and right part of a forest line; *sizes*: bytes of the read-write layers, by container ID."""
    if isinstance(item, Node):
        return _node_line(item)
    role = state_role(item)
    left = (
        Span(f"{GLYPHS[item.state]} {fmt.safe(item.name)}", role),
        Span(f" {state_text(item, now)}", "muted"),
    )
    size = sizes.get(item.id)
    return left, (Span(fmt.signed(size), "muted"),) if size else ()


def total(nodes: Sequence[Node]) -> Total:
    """Count the forest and what its images share."""
    parents = {node.chain_id: node.parent for node in nodes}
    users: defaultdict[str, int] = defaultdict(int)
    for node in nodes:
        if not node.tags:
            continue
        step: str | None = node.chain_id
        while step is not None and users[step] < 2:
            users[step] += 1
            step = parents.get(step)
    shared = sum(node.size for node in nodes if users[node.chain_id] > 1)
    return Total(len(nodes), sum(node.size for node in nodes), shared)


def total_text(forest: Total) -> str:
    """`15 nodes · 1.1G, 312M shared`."""
    if not forest.nodes:
        return ""
    nodes = "1 node" if forest.nodes == 1 else f"{forest.nodes:,} nodes"
    shared = f", {fmt.size(forest.shared)} shared" if forest.shared else ""
    return f"{nodes} · {fmt.size(forest.size)}{shared}"


def state_role(container: Container) -> Role:
    """The colour of a container's state."""
    if container.state == "running":
        return "running" if container.monitored and container.health != "unhealthy" else "warning"
    if container.state == "restarting":
        return "warning"
    if container.state == "paused":
        return "paused"
    return "failed" if container.exit_code or container.error else "exited"


def state_text(container: Container, now: float) -> str:
    """`2h`, `paused`, `exit 0`: a state in a few cells."""
    if container.state == "running":
        age = fmt.age(container.started or container.created, now)
        if container.health in ("starting", "unhealthy"):
            age = f"{age}, {container.health}"
        return age if container.monitored else f"{age}, no monitor"
    if container.state == "exited":
        if container.oom_killed:
            return "out of memory"
        return "exit ?" if container.exit_code is None else f"exit {container.exit_code}"
    return container.state


def node_name(node: Node) -> str:
    """What a node is called: its first tag, else its short chain ID."""
    return node.tags[0] if node.tags else fmt.short_id(node.chain_id)


def in_order(containers: Iterable[Container]) -> list[Container]:
    """Running ones first, then paused ones, then the rest; the newest of each first."""
    newest = sorted(containers, key=lambda each: each.created, reverse=True)
    return sorted(newest, key=lambda each: RANKS.get(each.state, 2))


def _node_text(node: Node) -> str:
    return " ".join((*node.tags, fmt.short_id(node.chain_id), node.comment or node.created_by))


def _node_line(node: Node) -> tuple[Line, Line]:
    left: list[Span] = []
    for tag in node.tags:
        left += [Span(f" {fmt.safe(tag)} ", "tag"), Span(" ")]
    if not left:
        said = fmt.safe(node.comment or node.created_by)
        left = [Span(f"{fmt.short_id(node.chain_id)} ", "id"), Span(said, "faint")]
    return tuple(left), (Span(fmt.size(node.size), "muted"),)
