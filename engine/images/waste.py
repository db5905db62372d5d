"""What layering costs an image: bytes that ship although a higher layer hides them, and files to worry about.

The layers are walked once, bottom first, beside the tree that they have made so far. A file is *hidden* by
the first higher layer that replaces or deletes its last name: its bytes count once, for the layer that ships
them, and the copy that stays visible is no waste. Hard links are one file.

efficiency = bytes of the files that are visible in the end / bytes of the files in all layers; 1.0 is best,
and what an image without bytes has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple, Union

from engine.images import configsecrets, secrets
from engine.images.configsecrets import ConfigSecret
from engine.layers.failures import reporting
from engine.layers.overlayfs import is_opaque, is_whiteout
from engine.model import JSON


class LayerWaste(NamedTuple):
    """One layer of the image."""

    chain_id: str
    size: int
    """Bytes of its regular files."""
    hidden: int
    """Bytes of these that a higher layer hides."""
    hides: int
    """Bytes of lower layers that this one hides."""


class HiddenPath(NamedTuple):
    """A path that higher layers deleted or replaced, with all that they hid by that."""

    path: str
    size: int
    """Bytes, of all layers that ship it."""
    files: int
    layers: tuple[str, ...]
    """Chain IDs of the layers that ship it, bottom first."""
    hidden_by: tuple[str, ...]
    deleted: bool
    """Whether nothing is at the path in the end."""


class Secret(NamedTuple):
    """A file that looks like a secret; what it holds is never told."""

    path: str
    kind: str
    layer: str
    size: int
    hidden_by: str | None
    """The layer that hides it; None: it is visible. Hidden or not, whoever has the image has it."""
    deleted: bool
    """Whether nothing is at the path in the end: somebody believes that it is gone."""


class Exposure(NamedTuple):
    """A set-uid or set-gid program, or what everybody may write to (but sticky directories)."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    layer: str
    hidden_by: str | None


class Waste(NamedTuple):
    """All of it."""

    chain_id: str
    size: int
    """Bytes of the files in all layers."""
    visible: int
    hidden: int
    efficiency: float
    layers: tuple[LayerWaste, ...]
    """Bottom first."""
    paths: tuple[HiddenPath, ...]
    """Largest first."""
    secrets: tuple[Secret, ...]
    """Deleted ones first, then replaced, then visible ones."""
    exposures: tuple[Exposure, ...]
    settings: tuple[ConfigSecret, ...]
    """Secrets in the configuration."""


class _File:
    """One inode of one layer, or the metadata of one directory."""

    __slots__ = ("at", "hidden_by", "kinds", "layer", "names", "path", "secret", "size", "status")

    def __init__(self, path: bytes, layer: int, size: int, status: os.stat_result) -> None:
        self.path = path
        self.layer = layer
        self.size = size
        self.status = status
        self.names = 1
        self.hidden_by: int | None = None
        self.at = b""
        self.kinds: tuple[str, ...] = ()
        self.secret = ""


_Node = Union[_File, "_Directory", None]  # None: something that has no bytes and no interest


class _Directory(dict[bytes, _Node]):
    """A merged directory under way."""

    __slots__ = ("own",)

    def __init__(self) -> None:
        super().__init__()
        self.own: _File | None = None


class _Seen(NamedTuple):
    """One entry of one layer."""

    layer: int
    path: bytes
    entry: os.DirEntry[bytes]
    status: os.stat_result


def waste(layers: Sequence[tuple[str, str]], config: JSON | None = None) -> Waste:
    """The waste of *layers*: chain ID and tree of each, bottom first; of an image with the configuration
    *config*. Raises StoreError.
    """
    with reporting("cannot read the layers"):
        walk = _Walk()
        for index, (_, tree) in enumerate(layers):
            walk.layer(index, os.fsencode(tree))
    report = _Report(walk, [chain_id for chain_id, _ in layers])
    return report.make(configsecrets.find(config or {}))


class _Walk:
    """Puts layer on layer and keeps account of what is hidden by that."""

    def __init__(self) -> None:
        self.root = _Directory()
        self.files: list[_File] = []
        self.noted: list[_File] = []
        self._inodes: dict[int, _File] = {}

    def layer(self, index: int, tree: bytes) -> None:
        """The next layer up, whose root is *tree*."""
        self._inodes = {}
        if is_opaque(tree):
            self._hide_children(self.root, index, b"")
        pending = [(tree, b"", self.root)]
        while pending:
            directory, path, merged = pending.pop()
            with os.scandir(directory) as entries:
                for entry in entries:
                    seen = _Seen(index, path + b"/" + entry.name, entry, entry.stat(follow_symlinks=False))
                    if stat.S_ISDIR(seen.status.st_mode):
                        pending.append((entry.path, seen.path, self._enter(merged, seen)))
                    else:
                        self._put(merged, seen)

    def _enter(self, merged: _Directory, seen: _Seen) -> _Directory:
        index, path, entry, status = seen
        below = merged.get(entry.name)
        if isinstance(below, _Directory):
            if is_opaque(entry.path):
                self._hide_children(below, index, path)
            if below.own is not None:
                self._hide_file(below.own, index, path)
            inner = below
        else:
            self._hide(below, index, path)
            inner = merged[entry.name] = _Directory()
        inner.own = None
        if status.st_mode & 0o1002 == 0o0002:
            inner.own = _File(path, index, 0, status)
            inner.own.kinds = ("world-writable",)
            self.noted.append(inner.own)
        return inner

    def _put(self, merged: _Directory, seen: _Seen) -> None:
        name = seen.entry.name
        if name in merged:
            self._hide(merged.pop(name), seen.layer, seen.path)
        if not is_whiteout(seen.status):
            merged[name] = self._file(seen) if stat.S_ISREG(seen.status.st_mode) else None

    def _file(self, seen: _Seen) -> _File:
        index, path, entry, status = seen
        known = self._inodes.get(status.st_ino) if status.st_nlink > 1 else None
        file = known or _File(path, index, status.st_size, status)
        if known is not None:
            known.names += 1
            known.path = min(known.path, path)  # the same whatever the order of the directory
        else:
            if status.st_nlink > 1:
                self._inodes[status.st_ino] = file
            self.files.append(file)
            file.kinds = _kinds(status.st_mode)
        was_noted = known is not None and bool(file.kinds or file.secret)
        if not file.secret:
            file.secret = secrets.looks_like(path, entry.path, status.st_size)
        if not was_noted and (file.kinds or file.secret):
            self.noted.append(file)
        return file

    def _hide(self, node: _Node, by: int, at: bytes) -> None:
        """Nothing of *node* shows any more: the layer *by* put something else, or a whiteout, at *at*."""
        if isinstance(node, _Directory):
            self._hide_children(node, by, at)
            if node.own is not None:
                self._hide_file(node.own, by, at)
        elif node is not None:
            self._hide_file(node, by, at)

    def _hide_children(self, directory: _Directory, by: int, at: bytes) -> None:
        pending = [directory]
        while pending:
            here = pending.pop()
            for node in here.values():
                if isinstance(node, _Directory):
                    pending.append(node)
                    if node.own is not None:
                        self._hide_file(node.own, by, at)
                elif node is not None:
                    self._hide_file(node, by, at)
            here.clear()

    @staticmethod
    def _hide_file(file: _File, by: int, at: bytes) -> None:
        file.names -= 1
        if not file.names:
            file.hidden_by, file.at = by, at


def _kinds(mode: int) -> tuple[str, ...]:
    """What is exposed by the *mode* of a regular file."""
    found = []
    if mode & stat.S_ISUID:
        found.append("set-uid")
    if mode & stat.S_ISGID and mode & stat.S_IXGRP:  # without it, it once meant mandatory locking
        found.append("set-gid")
    if mode & stat.S_IWOTH:
        found.append("world-writable")
    return tuple(found)


class _Report:
    """What a walk found, in records."""

    def __init__(self, walk: _Walk, chain: Sequence[str]) -> None:
        self._walk = walk
        self._chain = chain

    def make(self, settings: tuple[ConfigSecret, ...]) -> Waste:
        """All of it."""
        size = sum(file.size for file in self._walk.files)
        hidden = sum(file.size for file in self._walk.files if file.hidden_by is not None)
        return Waste(
            self._chain[-1] if self._chain else "",
            size,
            size - hidden,
            hidden,
            (size - hidden) / size if size else 1.0,
            tuple(self._layers()),
            tuple(self._paths()),
            tuple(self._secrets()),
            tuple(self._exposures()),
            settings,
        )

    def _layers(self) -> list[LayerWaste]:
        count = len(self._chain)
        sizes, hidden, hides = [0] * count, [0] * count, [0] * count
        for file in self._walk.files:
            sizes[file.layer] += file.size
            if file.hidden_by is not None:
                hidden[file.layer] += file.size
                hides[file.hidden_by] += file.size
        return [LayerWaste(*row) for row in zip(self._chain, sizes, hidden, hides, strict=True)]

    def _paths(self) -> list[HiddenPath]:
        groups: dict[bytes, list[_File]] = {}
        for file in self._walk.files:
            if file.hidden_by is not None:
                groups.setdefault(file.at, []).append(file)
        found = [
            HiddenPath(
                os.fsdecode(path) or "/",
                sum(file.size for file in files),
                len(files),
                self._names({file.layer for file in files}),
                self._names({file.hidden_by for file in files if file.hidden_by is not None}),
                not self._is_there(path),
            )
            for path, files in groups.items()
        ]
        return sorted(found, key=lambda each: (-each.size, each.path))

    def _names(self, layers: set[int]) -> tuple[str, ...]:
        return tuple(self._chain[index] for index in sorted(layers))

    def _secrets(self) -> list[Secret]:
        found = [
            Secret(
                os.fsdecode(file.path),
                file.secret,
                self._chain[file.layer],
                file.size,
                self._hider(file),
                not self._is_there(file.path),
            )
            for file in self._walk.noted
            if file.secret
        ]
        return sorted(found, key=lambda each: (not each.deleted, each.hidden_by is None, each.path))

    def _exposures(self) -> list[Exposure]:
        found = [
            Exposure(
                os.fsdecode(file.path),
                kind,
                stat.S_IMODE(file.status.st_mode),
                file.status.st_uid,
                file.status.st_gid,
                self._chain[file.layer],
                self._hider(file),
            )
            for file in self._walk.noted
            for kind in file.kinds
        ]
        return sorted(found, key=lambda each: (each.hidden_by is not None, each.kind, each.path))

    def _hider(self, file: _File) -> str | None:
        return None if file.hidden_by is None else self._chain[file.hidden_by]

    def _is_there(self, path: bytes) -> bool:
        """Whether the final tree has anything at *path*."""
        node: _Node = self._walk.root
        for name in path.split(b"/")[1:]:
            if not isinstance(node, _Directory) or name not in node:
                return False
            node = node[name]
        return True
