"""The forest of images as a tree of lines: every node under its parent, containers as leaves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from engine.cli.output import Piece, age_text, short, size_text
from engine.model import Container, Node

TAG = "bold white on red"
STATES: Mapping[str, tuple[str, str]] = {
    "running": ("●", "green"),
    "paused": ("◐", "yellow"),
    "restarting": ("◌", "yellow"),
    "created": ("○", "dim"),
    "exited": ("○", "dim"),
    "dead": ("✗", "red"),
}
"""Each state's mark and style; the word stands beside it."""
HEALTH_WORDS = {"starting": "health: starting", "healthy": "healthy", "unhealthy": "unhealthy"}
MAX_GUIDE = 60
"""Columns that guides may take: what lies deeper says its depth instead."""
MAX_CREATED_BY = 60


def draw(nodes: Sequence[Node], containers: Sequence[Container]) -> list[list[Piece]]:
    """A line for each of *nodes* and *containers*, in preorder. A chain may be any length: no recursion."""
    known = {node.chain_id for node in nodes}
    children: defaultdict[str | None, list[Node]] = defaultdict(list)
    for node in nodes:
        children[node.parent if node.parent in known else None].append(node)
    leaves: defaultdict[str, list[Container]] = defaultdict(list)
    for container in containers:
        leaves[container.chain_id].append(container)
    lines = []
    stack: list[tuple[Node | Container, str, str, int]] = [
        (node, "", "", 0) for node in reversed(children[None])
    ]
    while stack:
        item, branch, guide, depth = stack.pop()
        lines.append([Piece(_shortened(branch, depth), "dim"), *_pieces(item)])
        if isinstance(item, Container):
            continue
        below: list[Node | Container] = [*leaves.get(item.chain_id, ()), *children.get(item.chain_id, ())]
        for position, each in reversed(list(enumerate(below))):
            last = position == len(below) - 1
            stack.append(
                (each, guide + ("└─ " if last else "├─ "), guide + ("   " if last else "│  "), depth + 1)
            )
    return lines


def _shortened(branch: str, depth: int) -> str:
    return branch if len(branch) <= MAX_GUIDE else f"{branch[: MAX_GUIDE - 9]}⋯ {depth} "


def _pieces(item: Node | Container) -> list[Piece]:
    return _container(item) if isinstance(item, Container) else _node(item)


def _node(node: Node) -> list[Piece]:
    pieces = []
    for tag in node.tags:
        pieces += [Piece(tag, TAG), Piece(" ")]
    pieces += [Piece(short(node.chain_id), "cyan"), Piece(f" {size_text(node.size)}", "dim")]
    if not node.tags and node.created_by:
        words = node.created_by
        pieces.append(
            Piece(f" {words if len(words) <= MAX_CREATED_BY else words[: MAX_CREATED_BY - 1] + '…'}", "dim")
        )
    return pieces


def _container(container: Container) -> list[Piece]:
    mark, style = STATES[container.state]
    return [Piece(f"{mark} {container.name}", style), Piece(f" {state_text(container)}", "dim")]


def state_text(container: Container) -> str:
    """What a container does or how it ended, in docker's words."""
    if container.state in ("running", "paused"):
        paused = " (Paused)" if container.state == "paused" else ""
        trouble = f" ({container.error})" if container.error else ""
        health = "" if container.health is None else f" ({HEALTH_WORDS[container.health]})"
        return f"Up {age_text(container.started)}{health}{paused}{trouble}"
    if container.state == "created":
        return "Created"
    if container.state == "restarting":
        return f"Restarting ({container.exit_code}) {age_text(container.finished or container.created)} ago"
    code = "?" if container.exit_code is None else str(container.exit_code)
    memory = " out of memory," if container.oom_killed else ""
    return f"Exited ({code}){memory} {age_text(container.finished or container.created)} ago"
