"""Standard streams that are closed, full, or that nobody reads any more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.roots import Run, environment
from tests.support.traces import Root

pytestmark = pytest.mark.kernel


def shell(root: Root, line: str) -> subprocess.CompletedProcess[str]:
    """Run *line*, in which $cowl is the command, with bash."""
    return subprocess.run(
        ["bash", "-c", f'cowl() {{ "$0" -m engine.cli "$@"; }}; {line}', sys.executable],
        env=environment(root),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("way", [">&-", ">/dev/full"])
@pytest.mark.parametrize(("command", "code"), [("images", 1), ("run --rm starter echo hi", 125)])
def test_output_that_goes_nowhere_is_told_of(
    starter_images: Root, cowl: Run, way: str, command: str, code: int
) -> None:
    done = shell(starter_images, f"cowl {command} {way}")
    assert done.returncode == code
    [line] = done.stderr.splitlines()
    assert line.startswith("cowl: error: ")
    assert cowl("ps", "-a", "-q").stdout == ""


def test_input_that_is_closed_is_at_its_end(starter_images: Root, cowl: Run) -> None:
    done = shell(starter_images, "cowl run --rm -i starter sh -c 'cat; echo end; exit 3' <&-")
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 3)
    cowl("run", "-d", "--name", "box", "starter", "sleep", "1000", check=True)
    done = shell(starter_images, "cowl exec -i box sh -c 'cat; echo end; exit 4' <&-")
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 4)
    assert shell(starter_images, "cowl load <&-").returncode == 1


def test_without_stderr_the_code_alone_tells(starter_images: Root) -> None:
    assert shell(starter_images, "cowl images 2>&- | grep -c starter").stdout == "2\n"
    assert shell(starter_images, "cowl run nowhere 2>&-").returncode == 125


def test_a_removed_container_ends_with_its_reader(starter_images: Root, cowl: Run) -> None:
    done = shell(starter_images, "cowl run --rm starter yes | head -n 1; echo ${PIPESTATUS[0]}")
    assert done.stdout == "y\n141\n"
    assert cowl("ps", "-a", "-q").stdout == ""


def test_a_kept_container_ends_by_itself_on_a_full_disk(starter_images: Root, cowl: Run) -> None:
    done = shell(starter_images, "cowl run --name kept starter sh -c 'echo a; sleep 0.2; echo b' >/dev/full")
    assert done.returncode == 125
    assert "No space left" in done.stderr
    assert cowl("logs", "kept", check=True).stdout == "a\nb\n"


def test_a_command_that_is_not_utf8_can_be_committed(starter_images: Root, cowl: Run) -> None:
    cowl("run", "--name", "odd", "starter", "echo", "\udcff", check=True)
    cowl("commit", "odd", "odd:1", check=True)
    assert "echo" in cowl("history", "odd:1", check=True).stdout


def test_a_stop_signal_that_is_none_is_refused_at_once(starter_images: Root, cowl: Run) -> None:
    done = cowl("create", "--stop-signal", "FOO", "starter", "true")
    assert (done.returncode, cowl("ps", "-a", "-q").stdout) == (2, "")
