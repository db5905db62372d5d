"""What a program of this host needs to start elsewhere: interpreter and libraries, read from its ELF file.

ELF-64 and ELF-32, either byte order (elf(5), System V ABI "Dynamic Section"). Libraries are searched as
ld.so(8) does for a program that sets no environment: RPATH or RUNPATH, the directories of ld.so.conf, the
built-in ones.
"""

from __future__ import annotations

import glob
import os
import struct
from typing import NamedTuple

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRTAB, _RPATH, _RUNPATH = 1, 5, 15, 29
_MAX_HEADERS = 512
_MAX_TABLE = 1 << 24


class Needs(NamedTuple):
    """What one ELF file asks for."""

    interpreter: str | None
    libraries: tuple[str, ...]
    run_path: tuple[str, ...]
    machine: tuple[int, int]
    """Class (32 or 64 bits) and machine: a library of another kind is no library for it."""


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def read_needs(path: str) -> Needs | None:
    """What the file *path* needs; None if it is no ELF file, or a damaged one."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF" or len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
            return None
        try:
            return _Reader(file.fileno(), head).needs(os.path.dirname(path))
        except (struct.error, ValueError):
            return None


class _Reader:
    """Reads the tables of one ELF file by position."""

    def __init__(self, descriptor: int, head: bytes) -> None:
        self._descriptor = descriptor
        self._order = "<" if head[5] == 1 else ">"
        self._wide = head[4] == 2
        self._head = head

    def needs(self, origin: str) -> Needs:
        machine = self._unpack("H", self._head[18:20])[0]
        segments = self._segments()
        interpreter = None
        libraries: list[str] = []
        run_path: list[str] = []
        for segment in segments:
            if segment.kind == _INTERPRETER:
                interpreter = os.fsdecode(self._read(segment.offset, segment.size).rstrip(b"\0"))
            elif segment.kind == _DYNAMIC:
                table = self._dynamic(segment)
                strings = self._offset_of(segments, next((at for tag, at in table if tag == _STRTAB), 0))
                libraries = [self._string(strings + at) for tag, at in table if tag == _NEEDED]
                found = [self._string(strings + at) for tag, at in table if tag in (_RPATH, _RUNPATH)]
                run_path = [part for text in found for part in text.split(":") if part]
        expanded = (part.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", origin) for part in run_path)
        return Needs(interpreter, tuple(libraries), tuple(expanded), (self._head[4], machine))

    def _segments(self) -> list[_Segment]:
        if self._wide:
            start = self._unpack("Q", self._head[32:40])[0]
            size, count = self._unpack("HH", self._head[54:58])
        else:
            start = self._unpack("I", self._head[28:32])[0]
            size, count = self._unpack("HH", self._head[42:46])
        if count > _MAX_HEADERS:
            raise ValueError(count)
        found = []
        for number in range(count):
            entry = self._read(start + number * size, size)
            if self._wide:
                kind, _, offset, address, _, length = self._unpack("IIQQQQ", entry[:40])
            else:
                kind, offset, address, _, length = self._unpack("IIIII", entry[:20])
            found.append(_Segment(kind, offset, address, length))
        return found

    def _dynamic(self, segment: _Segment) -> list[tuple[int, int]]:
        word = "QQ" if self._wide else "II"
        step = struct.calcsize(self._order + word)
        data = self._read(segment.offset, segment.size - segment.size % step)
        return [(tag, value) for tag, value in struct.iter_unpack(self._order + word, data)]

    def _offset_of(self, segments: list[_Segment], address: int) -> int:
        """Where in the file the *address* of the loaded program comes from."""
        for segment in segments:
            if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
                return segment.offset + address - segment.address
        raise ValueError(address)

    def _string(self, offset: int) -> str:
        return os.fsdecode(os.pread(self._descriptor, 4096, offset).split(b"\0", 1)[0])

    def _read(self, offset: int, size: int) -> bytes:
        if size > _MAX_TABLE:
            raise ValueError(size)
        return os.pread(self._descriptor, size, offset)

    def _unpack(self, form: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self._order + form, data)


def library_directories() -> list[str]:
    """Where ld.so looks on this host: what it knows by itself, then what /etc/ld.so.conf adds."""
    machine = os.uname().machine
    found = []
    for base in ("/lib", "/usr/lib"):
        found += [f"{base}/{machine}-linux-gnu", f"{base}64", base]
    found += _configured("/etc/ld.so.conf", 0)
    found += ["/usr/local/lib"]  # musl's own
    return [path for path in dict.fromkeys(found) if os.path.isdir(path)]


def _configured(path: str, depth: int) -> list[str]:
    found: list[str] = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split("#", 1)[0].strip() for line in file]
    except OSError:
        return []
    for line in lines:
        if line.startswith("include ") and depth < 4:
            pattern = os.path.join(os.path.dirname(path), line.removeprefix("include ").strip())
            for included in sorted(glob.glob(pattern)):
                found += _configured(included, depth + 1)
        elif line.startswith("/"):
            found.append(line)
    return found


def find_library(name: str, needs: Needs, directories: list[str]) -> str | None:
    """Where the library *name* that a file of such *needs* asks for is; None if it is not on this host."""
    if "/" in name:
        return name if os.path.exists(name) else None
    for directory in (*needs.run_path, *directories):
        path = f"{directory}/{name}"
        if os.path.isfile(path):
            found = read_needs(path)
            if found and found.machine == needs.machine:
                return path
    return None
