"""Two command lines side by side: what each does with the same words."""

from __future__ import annotations

import subprocess
from typing import NamedTuple


class Did(NamedTuple):
    """What a whole process did."""

    code: int
    out: str
    complained: bool
    """Whether it said anything on standard error."""


class Side:
    """One of the two command lines, on a store of its own that has the starter image."""

    def __init__(self, words: list[str], options: list[str], env: dict[str, str]) -> None:
        self._words = words
        self._options = options
        self._env = env

    def __call__(self, *arguments: str, stdin: str = "") -> Did:
        done = subprocess.run(
            [*self._words, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=self._env,
        )
        return Did(done.returncode, done.stdout, bool(done.stderr.strip()))

    def run(self, *arguments: str, stdin: str = "") -> Did:
        """`run` with what keeps containers of both apart from the machine's."""
        return self("run", *self._options, *arguments, stdin=stdin)
