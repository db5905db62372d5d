"""A small root file system put together from files of this host.

A path is taken with all that leads to it: directories, and symlinks as they are on the host (``/bin`` to
``usr/bin``, ``awk`` over ``/etc/alternatives``), so that it works on merged and unmerged systems alike. A
program comes with its interpreter and libraries, or not at all.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from engine.images.elf import Needs, find_library, library_directories, read_needs

PROGRAM_DIRECTORIES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
_MAX_LINKS = 40
_CAPABILITY = "security.capability"


class Entry(NamedTuple):
    """One path of the file system to be made."""

    mode: int
    """Type and permissions, as st_mode."""
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    """0: the time of the newest file."""
    source: str = ""
    """The host's file with the content; empty if `data` is the content or there is none."""
    data: bytes = b""
    """The content of a file, the target of a symlink."""
    size: int = 0
    inode: tuple[int, int] = (0, 0)
    """Of the host's file."""


class Written(NamedTuple):
    """What a written tree comes to."""

    size: int
    file_count: int


class HostTree:
    """Entries by absolute path; what is in *below*, the layer underneath, is not taken again."""

    def __init__(self, below: HostTree | None = None) -> None:
        self._below = below
        self._directories = library_directories()
        self._built_in = tuple(self._directories[:6])
        self.entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.entries or (self._below is not None and path in self._below)

    def directory(self, path: str, mode: int = 0o755) -> None:
        """An empty directory that is not the host's."""
        self._parents(path)
        self._put(path, Entry(stat.S_IFDIR | mode))

    def file(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file that is not the host's."""
        self._parents(path)
        data = text.encode()
        self._put(path, Entry(stat.S_IFREG | mode, data=data, size=len(data)))

    def program(self, name: str) -> bool:
        """The program *name* of this host, with what it needs; False if a part of that is not here."""
        for directory in PROGRAM_DIRECTORIES:
            path = f"{directory}/{name}"
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return self.add_executable(path)
        return False

    def add_executable(self, path: str) -> bool:
        """The host's file *path* with its libraries, or the interpreter that its first line names."""
        found = self._closure(os.path.realpath(path))
        if found is None:
            return False
        for each in (path, *found):
            self.add(each)
            if not os.path.dirname(each).startswith(self._built_in) and ".so" in each:
                self.add("/etc/ld.so.cache")
        return True

    def _closure(self, program: str) -> list[str] | None:
        """Everything that *program* needs, itself not; None if a part is missing."""
        needs = read_needs(program)
        if needs is None:
            return self._script(program)
        found: dict[str, None] = {}
        if needs.interpreter:
            if not os.path.exists(needs.interpreter):
                return None
            found[needs.interpreter] = None
        pending: list[Needs] = [needs]
        while pending:
            needs = pending.pop()
            for name in needs.libraries:
                path = find_library(name, needs, self._directories)
                if path is None:
                    return None
                if path not in found:
                    found[path] = None
                    if more := read_needs(path):
                        pending.append(more)
        return list(found)

    def _script(self, program: str) -> list[str] | None:
        with open(program, "rb") as file:
            words = file.readline(256)[2:].split() if file.read(2) == b"#!" and not file.seek(0) else []
        if not words:
            return None
        interpreter = os.fsdecode(words[0])
        return [interpreter] if interpreter in self or self.add_executable(interpreter) else None

    def tree(self, path: str, exclude: Iterable[str] = ()) -> None:
        """The host's directory *path* and all below it, but for directories named in *exclude*."""
        excluded = set(exclude)
        for directory, inner, files in os.walk(path):
            inner[:] = sorted(name for name in inner if name not in excluded)
            self.add(directory)
            for name in sorted(files):
                self.add(f"{directory}/{name}")

    def add(self, path: str) -> None:
        """The host's *path* with what leads to it and what it links to; nothing if it is not there."""
        pending = [part for part in path.split("/") if part][::-1]
        here = ""
        links = 0
        while pending:
            part = pending.pop()
            if part in (".", ".."):
                here = os.path.dirname(here) if part == ".." else here
                continue
            here = f"{here if here != '/' else ''}/{part}"
            entry = self._read(here)
            if entry is None:
                return
            self._put(here, entry)
            if stat.S_ISLNK(entry.mode):
                links += 1
                if links > _MAX_LINKS:
                    return
                target = os.fsdecode(entry.data)
                here = "" if target.startswith("/") else os.path.dirname(here)
                pending += [piece for piece in target.split("/") if piece][::-1]

    def _parents(self, path: str) -> None:
        parent = os.path.dirname(path)
        if parent != "/" and parent not in self:
            self._parents(parent)
            self._put(parent, self._read(parent) or Entry(stat.S_IFDIR | 0o755))

    def _read(self, path: str) -> Entry | None:
        """What the host has at *path*; None for what a file system of our own should not have."""
        try:
            status = os.lstat(path)
        except OSError:
            return None
        mode, uid, gid = status.st_mode, status.st_uid, status.st_gid
        if stat.S_ISLNK(mode):
            return Entry(mode, uid, gid, status.st_mtime_ns, data=os.fsencode(os.readlink(path)))
        if stat.S_ISREG(mode):
            inode = (status.st_dev, status.st_ino)
            return Entry(mode, uid, gid, status.st_mtime_ns, path, b"", status.st_size, inode)
        return Entry(mode, uid, gid) if stat.S_ISDIR(mode) else None

    def _put(self, path: str, entry: Entry) -> None:
        if path not in self:
            self.entries[path] = entry

    def fingerprint(self) -> str:
        """A digest of what would be written, contents by their time and size."""
        hashed = sha256()
        for path, entry in sorted(self.entries.items()):
            hashed.update(repr((path, entry[:4], entry.data, entry.size)).encode("utf-8", "surrogateescape"))
        return hashed.hexdigest()

    def write(self, root: str) -> Written:
        """Make the tree in the empty directory *root*, the same each time. Raises OSError."""
        newest = max((entry.mtime_ns for entry in self.entries.values()), default=0)
        entries = self._with_parents()
        first: dict[tuple[int, int], str] = {}
        size = 0
        for path, entry in sorted(entries.items()):
            where = root + path
            earlier = first.setdefault(entry.inode, where) if entry.source else where
            if earlier != where:
                os.link(earlier, where)
                continue
            _write_entry(where, entry, entry.mtime_ns or newest)
            size += entry.size
        for path, entry in sorted(entries.items(), reverse=True):
            if stat.S_ISDIR(entry.mode):
                os.utime(root + path, ns=(newest, newest))
        os.chown(root, 0, 0)
        os.chmod(root, 0o755)
        os.utime(root, ns=(newest, newest))
        return Written(size, len(entries))

    def _with_parents(self) -> dict[str, Entry]:
        """The entries, and those directories of the layers below that they lie in."""
        entries = dict(self.entries)
        for path in self.entries:
            parent = os.path.dirname(path)
            while parent != "/" and parent not in entries:
                entries[parent] = self._inherited(parent)
                parent = os.path.dirname(parent)
        return entries

    def _inherited(self, path: str) -> Entry:
        tree: HostTree | None = self._below
        while tree is not None and path not in tree.entries:
            tree = tree._below
        return tree.entries[path] if tree else Entry(stat.S_IFDIR | 0o755)


def _write_entry(where: str, entry: Entry, mtime_ns: int) -> None:
    if stat.S_ISDIR(entry.mode):
        os.mkdir(where, 0o700)
    elif stat.S_ISLNK(entry.mode):
        os.symlink(os.fsdecode(entry.data), where)
    elif entry.source:
        shutil.copyfile(entry.source, where)
    else:
        with open(where, "xb") as file:
            file.write(entry.data)
    os.chown(where, entry.uid, entry.gid, follow_symlinks=False)
    if not stat.S_ISLNK(entry.mode):
        os.chmod(where, stat.S_IMODE(entry.mode))
    if entry.source and _CAPABILITY in os.listxattr(entry.source):
        os.setxattr(where, _CAPABILITY, os.getxattr(entry.source, _CAPABILITY))
    os.utime(where, ns=(mtime_ns, mtime_ns), follow_symlinks=False)
