"""Logs: nothing is lost, whatever the lines look like and whoever is killed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.containers import logs
from engine.containers.logfile import MAX_PIECE, LogFile
from engine.engine import Engine
from tests.containers.test_crashes import monitor_of
from tests.support.captures import start, wait_for


def texts(path: Path, **options: int | str) -> list[tuple[str, str]]:
    return [(line.stream, line.text) for line in logs.read(str(path), **options)]  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"stdout", b"stderr"]), st.binary(min_size=1, max_size=60))))
def test_what_is_written_is_read(pieces: list[tuple[bytes, bytes]]) -> None:
    path = Path(f"/tmp/cowl-log-{os.getpid()}")
    path.unlink(missing_ok=True)
    log = LogFile(str(path))
    for stream, data in pieces:
        log.write(stream, data)
    log.close()
    try:
        for stream in (b"stdout", b"stderr"):
            whole = b"".join(data for kind, data in pieces if kind == stream).decode(
                "utf-8", "surrogateescape"
            )
            lines = whole.split("\n")
            if lines[-1] == "":
                lines.pop()
            assert [text for kind, text in texts(path) if kind == stream.decode()] == lines
    finally:
        path.unlink()


def test_long_lines_are_cut_and_joined(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.write(b"stdout", b"x" * (3 * MAX_PIECE + 7) + b"\nshort\n")
    log.close()
    raw = (tmp_path / "log").read_bytes().split(b"\n")
    assert max(map(len, raw)) < MAX_PIECE + 60
    assert [len(text) for _, text in texts(tmp_path / "log")] == [3 * MAX_PIECE + 7, 5]


@pytest.mark.parametrize("tail", [0, 1, 3, 500, 5000])
def test_tail(tmp_path: Path, tail: int) -> None:
    log = LogFile(str(tmp_path / "log"))
    for number in range(2000):
        log.write(b"stdout" if number % 3 else b"stderr", b"line %d\n" % number)
    log.close()
    expected = [f"line {number}" for number in range(2000)]
    expected = expected[-tail:] if tail else []
    assert [text for _, text in texts(tmp_path / "log", tail=tail)] == expected


def test_a_full_disk_does_not_raise(tmp_path: Path) -> None:
    log = LogFile("/dev/full")
    log.write(b"stdout", b"x\n")
    assert log.failed is not None
    log.close()


@pytest.mark.kernel
def test_the_last_line_without_newline(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "echo one; printf two; printf three >&2")
    engine.containers.wait(name)
    assert sorted((line.stream, line.text) for line in engine.containers.logs(name)) == [
        ("stderr", "three"),
        ("stdout", "one"),
        ("stdout", "two"),
    ]


@pytest.mark.kernel
def test_a_partial_line_outlives_the_monitor(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "printf 'half a'; sleep 100")
    wait_for(lambda: list(engine.containers.logs(name)))
    os.kill(monitor_of(engine, name), signal.SIGKILL)
    assert [line.text for line in engine.containers.logs(name)] == ["half a"]


@pytest.mark.kernel
def test_following_ends_with_the_container(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; printf last")
    found: list[str] = []
    reader = threading.Thread(
        target=lambda: found.extend(line.text for line in engine.containers.logs(name, follow=True))
    )
    reader.start()
    reader.join(20)
    assert found == ["1", "2", "3", "last"]


@pytest.mark.kernel
def test_much_output_is_all_there(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "seq 1 100000")
    engine.containers.wait(name)
    assert [line.text for line in engine.containers.logs(name)] == [str(n) for n in range(1, 100001)]
