"""Commands without room: refused clearly, nothing half done; `python -m tests.faults.full 1024` at length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.peers("docker-registry", "skopeo")]

HERE = Path(__file__).parents[2]


def test_commands_on_a_full_file_system() -> None:
    words = ["unshare", "-m", "--propagation", "private", sys.executable, "-m", "tests.faults.full"]
    done = subprocess.run(
        [*words, "4096", "import", "rmi"], cwd=HERE, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 failures\n")
