"""Runs of plain files in a tar: headers that differ from one before in name, size and time alone.

Most headers of a layer are such. Read as a difference, one takes a third of the time that reading all fields
takes; whatever is in the least unusual is left to the reader of all fields.
"""

from __future__ import annotations

from struct import Struct
from zlib import adler32

from engine.layers.tarmember import Member

_FIELDS = Struct("100s24s12s12s8s356s")
"""Name; mode, user and group; size; time; checksum; and all that follows it."""
_OCTAL = b"01234567"
_MOST_NUMBERS = 8192
_MOST_RUNS = 64


class FileRuns:
    """The runs that a tar has shown so far, by mode and owner."""

    def __init__(self) -> None:
        self._runs: dict[bytes, _Run] = {}
        self._numbers: dict[bytes, int] = {}

    def next(self, header: bytes) -> Member | None:
        """The regular file that *header* describes, if it goes on with a run and is not damaged."""
        name, owner, size, mtime, checksum, rest = _FIELDS.unpack(header)
        run = self._runs.get(owner)
        if run is None or rest != run.rest:
            return None
        numbers = self._numbers
        if (size not in numbers or mtime not in numbers or checksum not in numbers) and not (
            self._learn(size, mtime, checksum)
        ):
            return None
        if ((adler32(header[:148], run.adler) & 0xFFFF) + 255 - numbers[checksum]) % 65521:
            return None  # see TarReader: the sum is in Adler-32's low half, whatever the order of the bytes
        path = run.prefix + name.partition(b"\0")[0]
        return run.make((path, *run.before, numbers[size], numbers[mtime] * 1_000_000_000, *run.after))

    def begin(self, header: bytes, member: Member) -> None:
        """Take *member* for the first of a run: a regular file that its own *header* tells all about."""
        if len(self._runs) >= _MOST_RUNS:
            self._runs.clear()
        self._runs[header[100:124]] = _Run(header, member)

    def end(self) -> None:
        """Forget all runs: from here on, the same header may mean something else."""
        self._runs.clear()

    def _learn(self, *fields: bytes) -> bool:
        """Remember what *fields* say: they repeat. False if one is not plain octal."""
        if len(self._numbers) > _MOST_NUMBERS:
            self._numbers.clear()
        for field in fields:
            digits = field.rstrip(b"\0 ")
            if not digits or digits.strip(_OCTAL):
                return False
            self._numbers[field] = int(digits, 8)
        return True


class _Run:
    """What the members of a run share."""

    def __init__(self, header: bytes, member: Member) -> None:
        name, _, _, _, _, self.rest = _FIELDS.unpack(header)
        self.prefix = member.name[: len(member.name) - len(name.partition(b"\0")[0])]
        self.adler = adler32(self.rest)
        self.make = type(member)._make
        self.before, self.after = member[1:5], member[7:]
