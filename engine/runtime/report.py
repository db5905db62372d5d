"""What a runtime says to whoever calls it: on standard error, and line by line in a file that they read."""

from __future__ import annotations

import os
import sys
import time

from engine import plainjson
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Level = Literal["debug", "warning", "error"]


class Report(Record):
    """Where to say things."""

    path: str
    """A file, or empty for standard error alone."""
    style: str
    """``text`` or ``json``."""
    debug: bool
    warnings: list[str]
    """Said once the operation has succeeded: whoever reads an error takes the file for one object."""

    def warn(self, text: str) -> None:
        """Something is not as asked for, and the operation goes on."""
        self.warnings.append(text)

    def note(self, text: str) -> None:
        """Something that is only of interest in a search for a fault."""
        if self.debug:
            self._write("debug", text)

    def finish(self) -> None:
        """The operation has succeeded: what was to be said meanwhile."""
        for text in self.warnings:
            self._write("warning", text)

    def fail(self, text: str) -> None:
        """The operation has failed."""
        text = text.replace("\n", " ")
        self._write("error", text)
        if self.path:
            sys.stderr.write(f"cowl-runtime: {text}\n")

    def _write(self, level: Level, text: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.style == "json":
            line = plainjson.dumps({"level": level, "msg": text, "time": now})
        elif self.path:
            line = f"time={plainjson.dumps(now)} level={level} msg={plainjson.dumps(text)}"
        else:
            line = f"cowl-runtime: {text}" if level == "error" else f"cowl-runtime: {level}: {text}"
        if not self.path:
            sys.stderr.write(f"{line}\n")
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)
