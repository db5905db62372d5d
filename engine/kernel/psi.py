"""Pressure stall information: how long work waits for CPU, memory, IO (Documentation/accounting/psi.rst)."""

from __future__ import annotations

import errno
import os

from engine.model import Pressure

HOST = "/proc/pressure"
_AVG10 = b"some avg10="
_ENOUGH = 256
_NONE = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)
"""What a kernel without PSI says, and a cgroup that has gone."""


def some_avg10(text: bytes) -> float:
    """Percent of the last ten seconds in which something waited, from the text of a pressure file."""
    if not text.startswith(_AVG10):
        return 0.0
    return float(text[len(_AVG10) : text.index(b" ", len(_AVG10))])


class Gauge:
    """The three pressure files of a cgroup or of the machine, kept open."""

    def __init__(self, files: tuple[str, str, str]) -> None:
        """Open *files*: cpu, memory, io. Where the kernel has no PSI, or it is off, nothing is read."""
        self._descriptors: list[int] = []
        self._first: Pressure | None = None
        """What was there when it was opened, until that has been asked for."""
        try:
            for file in files:
                self._descriptors.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))
            self._first = self._now()
        except OSError as error:
            self.close()
            if error.errno not in _NONE:
                raise

    @classmethod
    def of_cgroup(cls, directory: str) -> Gauge:
        """That of a version 2 cgroup."""
        return cls((f"{directory}/cpu.pressure", f"{directory}/memory.pressure", f"{directory}/io.pressure"))

    @classmethod
    def of_host(cls) -> Gauge:
        """That of the machine."""
        return cls((f"{HOST}/cpu", f"{HOST}/memory", f"{HOST}/io"))

    def read(self) -> Pressure | None:
        """The pressure now; None where there is no PSI. Raises OSError (ENODEV) once the cgroup has gone."""
        if not self._descriptors:
            return None
        first, self._first = self._first, None
        return first or self._now()

    def _now(self) -> Pressure:
        cpu, memory, io = [some_avg10(os.pread(each, _ENOUGH, 0)) for each in self._descriptors]
        return Pressure(cpu, memory, io)

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
