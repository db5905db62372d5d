"""Coverage-guided fuzzing: `python -m tests.fuzz [TARGET…] --seconds N`, N for each target.

A target runs in a process of its own, because atheris ends it. What makes one fail is printed and kept in the
directory named by --findings: shrunk by hand, it belongs into `regressions`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time

_INPUT_BYTES = 8192
_MEMORY_MB = 1024


def main() -> int:
    """Fuzz what the command line names; 1 if anything was found."""
    arguments = _arguments()
    if importlib.util.find_spec("atheris") is None:
        print("cowl: atheris is not here; make fuzz installs it", file=sys.stderr)
        return 2
    if arguments.inside:
        _fuzz(arguments.targets[0], arguments.inside, arguments.seconds, arguments.findings)
        return 0
    from tests.fuzz.targets import TARGETS

    found = []
    os.makedirs(arguments.findings, exist_ok=True)
    for name in arguments.targets or TARGETS:
        started = time.monotonic()
        print(f"== {name}, {arguments.seconds} s", flush=True)
        with tempfile.TemporaryDirectory(prefix="cowl-fuzz-") as corpus:
            command = [sys.executable, "-m", "tests.fuzz", name, "--inside", corpus]
            options = ["--seconds", str(arguments.seconds), "--findings", arguments.findings]
            if subprocess.run([*command, *options], check=False).returncode:
                found.append(name)
        print(f"== {name}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"found something in {', '.join(found)}" if found else "nothing was found")
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Coverage-guided fuzzing.")
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--findings", default="/tmp/cowl-findings", help="where failing inputs are kept")
    parser.add_argument("--inside", metavar="CORPUS", help=argparse.SUPPRESS)
    return parser.parse_args()


def _fuzz(name: str, corpus: str, seconds: int, findings: str) -> None:
    """Run one target under atheris, which ends this process."""
    import atheris

    with atheris.instrument_imports(include=["engine.layers", "engine.oci", "engine.images"]):
        from tests.fuzz import targets
    for number, seed in enumerate(targets.seeds(name)):
        with open(f"{corpus}/seed-{number}", "wb") as file:
            file.write(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_INPUT_BYTES}",
        f"-rss_limit_mb={_MEMORY_MB}",
        f"-artifact_prefix={findings}/{name}-",
        "-timeout=20",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], corpus, *options], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
