"""Which cowl this is."""

from __future__ import annotations

import os
import sys

VERSION = "0.1.0"
"""As the distribution has it."""
SPECIFICATION = "1.2.0"
"""The runtime-spec that its documents and its runtime are of."""


def version_line() -> str:
    """cowl, Python and the kernel, for people."""
    return f"cowl {VERSION} (Python {sys.version.split()[0]}, Linux {os.uname().release})"
