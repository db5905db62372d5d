"""``python -m tests.uml [PYTEST ARGUMENTS]``: run the kernel tests under User Mode Linux.

The guest's root is this machine's tree through hostfs, read-only, so that it has the same interpreter
and checkout; nothing is mounted on the host. Ends with pytest's exit code, or with 0 and a sentence
where there is no User Mode Linux.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

KERNEL = "linux.uml"
CHECKOUT = Path(__file__).resolve().parents[2]
MEMORY = os.environ.get("UML_MEMORY", "2G")
LIMIT_SECONDS = float(os.environ.get("UML_SECONDS", "2700"))
LABEL = os.environ.get("UML_LABEL", "")
"""What each line of output begins with, where several guests run side by side."""
ALIKE = ("copying", "crowd", "health", "logs", "moments", "restarting", "standing", "unfinished", "volumes")
"""Tests of containers that ask the kernel nothing that the others do not ask: files and processes of ours."""
SHARES = (
    (
        *("tests/kernel", "tests/launch", "tests/containers", "tests/layers/test_overlay.py"),
        *(f"--ignore=tests/containers/test_{name}.py" for name in ALIKE),
    ),
    ("tests/conformance", "tests/escapes", "tests/uml"),
)
"""Tests that a second kernel may answer differently; a guest has one processor, so that there are two."""

MARKERS = "kernel and not peers and not session"


class Guest(NamedTuple):
    """One run of the second kernel."""

    exchange: Path
    """A directory of the host that the guest may write: the command goes in, the exit code comes out."""
    arguments: list[str]


def unavailable() -> str:
    """Why there can be no guest here; empty when there can."""
    if os.geteuid() != 0:
        return "not root"
    if shutil.which(KERNEL) is None:
        hint = "apt-get install user-mode-linux" if platform.machine() == "x86_64" else "it is for x86"
        return f"{KERNEL} is not here: {hint}"
    if shutil.which("insmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        return "insmod is not here: apt-get install kmod"
    return ""


def prepare(exchange: Path, tests: Sequence[str]) -> Guest:
    """Write what the guest is to run."""
    command = [
        "/usr/bin/env",
        "PYTHONDONTWRITEBYTECODE=1",
        "HOME=/tmp",
        "COLUMNS=120",
        f"COWL_UML={platform.release()}",
        os.path.abspath(sys.executable),
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-m",
        MARKERS,
        "-q",
        "--timeout=240",
        f"--color={'yes' if sys.stdout.isatty() else 'no'}",
        *tests,
    ]
    (exchange / "command").write_text("\n".join(command) + "\n")
    return Guest(
        exchange,
        [
            KERNEL,
            f"mem={MEMORY}",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"init={CHECKOUT}/tests/uml/init",
            f"uml_exchange={exchange}",
            f"uml_checkout={CHECKOUT}",
            "quiet",
            "loglevel=1",
            "con=null",
            "con0=null,fd:1",
        ],
    )


def boot(guest: Guest) -> int:
    """Run *guest* to its end, its console on our output; the exit code of its command."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    process = subprocess.Popen(
        guest.arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "TMPDIR": memory, "HOME": str(guest.exchange)},
    )
    try:
        relay(process, time.monotonic() + LIMIT_SECONDS)
    finally:
        # The kernel and every process of the guest are processes of one group here.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int((guest.exchange / "code").read_text())
    return 1


def relay(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Copy the console to our output until the guest is off, or past *deadline* (monotonic seconds)."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    pending = b""
    while True:
        chunk = process.stdout.read()
        if chunk:
            lines = (pending + chunk).replace(b"\r", b"").split(b"\n")
            pending = lines.pop()
            for line in lines:
                show(line)
        elif process.poll() is not None:
            break
        elif time.monotonic() > deadline:
            print(f"uml: not done after {LIMIT_SECONDS:.0f} s, ended", file=sys.stderr)
            break
        else:
            time.sleep(0.05)
    show(pending)


def show(line: bytes) -> None:
    """Print one line of the console; not the few that the kernel writes about itself at its start and end."""
    if not re.match(rb"(Core dump limits|Checking |reboot: |sysrq: )", line) and line:
        print(LABEL + line.decode(errors="replace"), flush=True)


def main() -> int:
    """Boot, run, report; without arguments one process a share does that."""
    if reason := unavailable():
        print(f"uml: skipped, {reason}")
        return 0
    if len(sys.argv) == 1:
        return share_out()
    with tempfile.TemporaryDirectory(prefix="cowl-uml-") as directory:
        started = time.monotonic()
        code = boot(prepare(Path(directory), sys.argv[1:]))
        print(f"{LABEL}uml: ended with {code} after {time.monotonic() - started:.0f} s", flush=True)
    return code


def share_out() -> int:
    """Run every share, side by side; the exit code of one that failed, if one did.

    An interrupt reaches each of them by itself.
    """
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.uml", *tests], env={**os.environ, "UML_LABEL": f"{number}: "}
        )
        for number, tests in enumerate(SHARES, 1)
    ]
    try:
        codes = [process.wait() for process in running]
        return next(filter(None, codes), 0)
    except KeyboardInterrupt:
        for process in running:
            process.wait()
        return 130


if __name__ == "__main__":
    sys.exit(main())
