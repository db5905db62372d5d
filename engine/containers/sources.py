"""Whether what a process has loaded is still what is on disk."""

from __future__ import annotations

import os
import sys


class Sources:
    """The files of cowl's own modules that are loaded when this is made."""

    def __init__(self) -> None:
        modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "engine"]
        paths = [path for module in modules if (path := getattr(module, "__file__", None))]
        self.times = {path: os.stat(path).st_mtime_ns for path in paths}
        """When each was written, in nanoseconds."""

    def changed(self) -> bool:
        """Whether any has been written or removed since."""
        try:
            return any(os.stat(path).st_mtime_ns != then for path, then in self.times.items())
        except FileNotFoundError:
            return True
