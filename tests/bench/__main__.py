"""``python -m tests.bench [run] [load] [registry] [changes] …``: how cowl compares; all if none is named.

It never fails for being slow: the figures are for people. It runs in a mount namespace of its own, so that
what peers mount goes with it.
"""

from __future__ import annotations

import compileall
import importlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.measure import report
from tests.bench.place import place

AREAS = {
    "run": "launch",
    "network": "networks",
    "oci": "oci",
    "crowd": "crowd",
    "load": "load",
    "registry": "registry",
    "changes": "changes",
    "listing": "listing",
    "memory": "memory",
    "upkeep": "upkeep",
    "app": "app",
}
HOUSE = Path(__file__).resolve().parents[2]
INSIDE = "COWL_BENCH_INSIDE"


def machine() -> str:
    """One line about what the figures were taken on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    versions = [_version(name) for name in ("podman", "runc", "crun", "bwrap") if shutil.which(name)]
    cores = os.cpu_count()
    load = os.getloadavg()[0]
    return f"{cores} x {model}, Linux {platform.release()}, load {load:.1f}; {', '.join(versions)}"


def _version(name: str) -> str:
    done = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
    return f"{name} {(done.stdout.splitlines() or ['?'])[0].split()[-1]}"


def _as_installed() -> None:
    """Let commands start as they do for users: compiled once, with none of a developer's settings."""
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ["COWL_NETWORK"] = "none"
    for room in ("engine", "tui"):
        compileall.compile_dir(HOUSE / room, quiet=1)


def main() -> int:
    """Run the areas that were named."""
    chosen = sys.argv[1:] or list(AREAS)
    if unknown := sorted(set(chosen) - set(AREAS)):
        print(f"bench: no such area: {', '.join(unknown)}; there are {', '.join(AREAS)}", file=sys.stderr)
        return 2
    if INSIDE not in os.environ:
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.bench"]
        return subprocess.run([*command, *chosen], env={**os.environ, INSIDE: "1"}, check=False).returncode
    _as_installed()
    print(machine())
    print("medians, then fastest..slowest; all cases of a block in turn, on memory", flush=True)
    for name in chosen:
        area = importlib.import_module(f"tests.bench.{AREAS[name]}")
        with place() as where:
            for result in area.results(where):
                print(f"\n{report(result)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
