"""A read-write layer's changes as a tree of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.model import Change
from tui import format as fmt
from tui.outline import Entry
from tui.staging import Staged
from tui.theme import Line, Role, Span

WHOLE, PART, NOTHING = "✓ ", "◐ ", "  "
"""What stands before a line once something is staged."""
LETTERS = {"added": "A", "modified": "M", "deleted": "D"}
SPECIAL = {"symlink": "link", "fifo": "fifo", "char": "device", "block": "device", "socket": "socket"}
FOLD_ABOVE = 40
"""A directory that was added with more entries than this is shown folded at first."""


class ChangeRow(NamedTuple):
    """One line of the changes pane: a changed path, or a directory in which paths changed."""

    path: str
    label: str
    """What the line shows: the last component, or several joined where a directory has a single child."""
    change: Change | None
    """None for a directory that did not change itself."""
    directory: bool
    paths: int
    """Changed paths at and below this line."""
    delta: int
    """Bytes that they add (negative: take away)."""


class Summary(NamedTuple):
    """What changed, in numbers."""

    added: int
    modified: int
    deleted: int
    delta: int


class _Draft(NamedTuple):
    """A line before single children are joined to their directories."""

    path: str
    name: str
    parent: int
    change: Change | None


def change_entries(changes: Sequence[Change]) -> list[Entry[ChangeRow]]:
    """The changed paths as a tree in preorder; directories that did not change and hold one child join it."""
    drafts = _drafts(changes)
    counts = [0 if draft.change is None else 1 for draft in drafts]
    deltas = [0 if draft.change is None else draft.change.size - draft.change.old_size for draft in drafts]
    children = [0] * len(drafts)
    for index in range(len(drafts) - 1, -1, -1):
        parent = drafts[index].parent
        if parent >= 0:
            counts[parent] += counts[index]
            deltas[parent] += deltas[index]
            children[parent] += 1
    entries: list[Entry[ChangeRow]] = []
    depths = [0] * len(drafts)
    labels = [fmt.safe(draft.name) for draft in drafts]
    for index, draft in enumerate(drafts):
        if draft.parent >= 0:
            joined = drafts[draft.parent].change is None and children[draft.parent] == 1
            depths[index] = depths[draft.parent] + (0 if joined else 1)
            if joined:
                labels[index] = f"{labels[draft.parent]}/{labels[index]}"
        if draft.change is None and children[index] == 1:
            continue
        directory = draft.change is None or draft.change.type == "directory"
        row = ChangeRow(draft.path, labels[index], draft.change, directory, counts[index], deltas[index])
        entries.append(Entry(draft.path, depths[index], draft.path, row))
    return entries


def folded_at_first(entries: Sequence[Entry[ChangeRow]]) -> set[str]:
    """The keys of big added directories: a thousand cache files are one line until asked for."""
    return {entry.key for entry in entries if entry.item.change is not None and entry.item.paths > FOLD_ABOVE}


def change_role(row: ChangeRow) -> Role:
    """The colour of a line; its letter says the same."""
    return "text" if row.change is None else row.change.kind


def change_line(row: ChangeRow) -> tuple[Line, Line]:
    """Left and right part of a line of the changes pane."""
    role = change_role(row)
    slash = "/" if row.directory and row.change is not None else ""
    left = [Span(f"{row.label}{slash}", role)]
    if row.change is not None:
        if note := _aspects(row.change):
            left.append(Span(f"  {note}", "muted"))
        if row.directory and row.paths > 1:
            left.append(Span(f"  {row.paths - 1:,} inside", "muted"))
    return tuple(left), _amount(row)


def summary(changes: Sequence[Change]) -> Summary:
    """Count what changed."""
    kinds = [change.kind for change in changes]
    delta = sum(change.size - change.old_size for change in changes)
    return Summary(kinds.count("added"), kinds.count("modified"), kinds.count("deleted"), delta)


def summary_text(counts: Summary) -> str:
    """`12 A · 3 M · 1 D · +3.2M`; empty where nothing changed."""
    parts = [f"{number:,} {letter}" for number, letter in zip(counts[:3], "AMD", strict=True) if number]
    return " · ".join((*parts, fmt.signed(counts.delta))) if parts else ""


def staged_mark(row: ChangeRow, staged: int) -> str:
    """Whether all, some or none of the changes at and below a line are among the *staged* ones there."""
    return NOTHING if not staged else WHOLE if staged == row.paths else PART


def staged_text(staged: Staged, changes: Sequence[Change]) -> str:
    """`3 of 12 staged · +3.2M`; empty where nothing is."""
    if not staged.only:
        return ""
    chosen = staged.chosen(changes)
    return f"{len(chosen):,} of {len(changes):,} staged · {fmt.signed(summary(chosen).delta)}"


def _drafts(changes: Sequence[Change]) -> list[_Draft]:
    """Every changed path and every directory on the way to one, in preorder by component."""
    drafts: list[_Draft] = []
    stack: list[tuple[str, int]] = []
    paths = sorted((change.path.strip("/").split("/"), number) for number, change in enumerate(changes))
    for parts, number in paths:
        shared = 0
        while shared < min(len(stack), len(parts) - 1) and stack[shared][0] == parts[shared]:
            shared += 1
        del stack[shared:]
        for depth in range(shared, len(parts)):
            parent = stack[-1][1] if stack else -1
            stack.append((parts[depth], len(drafts)))
            change = changes[number] if depth == len(parts) - 1 else None
            drafts.append(_Draft("/" + "/".join(parts[: depth + 1]), parts[depth], parent, change))
    return drafts


def _aspects(change: Change) -> str:
    kind = SPECIAL.get(change.type, "")
    what = [aspect for aspect in change.what if aspect != "content"]
    return ", ".join(filter(None, (kind, *what)))


def _amount(row: ChangeRow) -> Line:
    if row.change is None or row.directory:
        amount = fmt.size(row.delta) if row.delta >= 0 else fmt.signed(row.delta)
        return (Span(amount, "muted"),) if row.delta else ()
    if row.change.kind == "added":
        return (Span(fmt.size(row.change.size), "muted"),) if row.change.type == "file" else ()
    return (Span(fmt.signed(row.delta), "muted"),) if row.delta else ()
