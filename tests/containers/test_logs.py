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
from engine.model import Volume
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


def test_a_line_comes_as_far_as_it_goes_when_there_is_no_more(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path))
    log.write(b"stdout", b"whole\nhalf")
    answers = iter([True, True, True, False])
    lines = logs.read(str(path), follow=True, active=lambda: next(answers))
    found = [next(lines), next(lines)]
    log.write(b"stderr", b"between\n")
    log.write(b"stdout", b" and half\nlast")
    found += [next(lines), next(lines), next(lines)]
    log.close()
    found += list(lines)
    assert [(line.stream, line.text, line.ended) for line in found] == [
        ("stdout", "whole", True),
        ("stdout", "half", False),
        ("stderr", "between", True),
        ("stdout", " and half", True),
        ("stdout", "last", False),
    ]
    assert found[1].time == found[3].time
    assert [(line.text, line.ended) for line in logs.read(str(path))][-1] == ("last", False)


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
    reader.join(60)
    assert found == ["1", "2", "3", "last"]


@pytest.mark.kernel
def test_much_output_is_all_there(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "seq 1 100000")
    engine.containers.wait(name)
    assert [line.text for line in engine.containers.logs(name)] == [str(n) for n in range(1, 100001)]


def written(log: LogFile, first: int, last: int) -> None:
    for number in range(first, last):
        log.write(b"stderr" if number % 5 == 0 else b"stdout", b"line %d\n" % number)


def test_files_are_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), 4096, 3)
    written(log, 0, 1000)
    log.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(each.stat().st_size <= 4096 for each in tmp_path.iterdir())
    found = [text for _, text in texts(path)]
    assert found == [f"line {number}" for number in range(1000 - len(found), 1000)]
    assert logs.size(str(path)) == sum(each.stat().st_size for each in tmp_path.iterdir())
    assert len(found) > 150


@pytest.mark.parametrize("tail", [0, 1, 70, 150, 160, 10_000])
def test_the_tail_of_several_files(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), 4096, 4)
    written(log, 0, 300)
    log.close()
    assert [text for _, text in texts(path, tail=tail)] == [
        f"line {number}" for number in range(max(0, 300 - tail), 300)
    ]


def test_one_file_alone_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), 4096, 1)
    written(log, 0, 500)
    log.close()
    assert [each.name for each in tmp_path.iterdir()] == ["log"]
    assert [text for _, text in texts(path)][-1] == "line 499"


def test_a_line_in_pieces_goes_over_the_end_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), 4096, 5)
    for _ in range(100):
        log.write(b"stdout", b"x" * 100)
    log.write(b"stdout", b"\n")
    log.close()
    assert (tmp_path / "log.2").exists()
    assert [text for _, text in texts(path)] == ["x" * 10_000]


def test_a_reader_that_is_slow_loses_nothing_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), 4096, 3)
    written(log, 0, 50)
    answers = iter([True, False, False, False, False, False])
    lines = logs.read(str(path), follow=True, active=lambda: next(answers))
    found = [next(lines).text]
    written(log, 50, 2000)
    log.close()
    found += [line.text for line in lines]
    # Files that came and went while it slept are gone; the one that it held is whole, and so is what is left.
    assert found[:50] == [f"line {number}" for number in range(50)]
    assert found[-100:] == [f"line {number}" for number in range(1900, 2000)]
    assert len(set(found)) == len(found)


@pytest.mark.kernel
def test_following_goes_through_rotation(engine: Engine, tmp_path: Path) -> None:
    """Whoever is that far behind that a file has gone misses lines: it waits for the reader."""
    name = start(
        engine,
        "sh",
        "-c",
        "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i;"
        " [ $((i % 50)) != 0 ] || until test -e /read/$i; do sleep 0.02; done; done",
        log_max_size=4096,
        log_max_files=2,
        volumes=(Volume(str(tmp_path), "/read"),),
    )
    found: list[str] = []

    def read() -> None:
        for line in engine.containers.logs(name, follow=True):
            found.append(line.text)
            (tmp_path / line.text).touch()

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(60)
    assert found == [str(number) for number in range(1, 401)]
    log = Path(engine.containers.inspect(name)["log"])
    assert sorted(each.name for each in log.parent.glob("log*")) == ["log", "log.1"]
    assert engine.containers.removal_effect(name).size >= log.stat().st_size


@pytest.mark.kernel
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_monitor_killed_between_two_names_loses_no_line(engine: Engine, times: int) -> None:
    """The container runs on without a log then; what it had said until then is there."""
    name = start(engine, "sh", "-c", "seq 1 2000; sleep 100", log_max_size=4096, log_max_files=100)
    log = Path(engine.containers.inspect(name)["log"])
    wait_for(lambda: [line for line in engine.containers.logs(name, tail=1) if line.text == "2000"])
    engine.containers.kill(name)
    # As a crash between two renames leaves it.
    for number in range(30, 30 - times, -1):
        older = log.with_name(f"log.{number}")
        if older.exists():
            older.rename(log.with_name(f"log.{number + 1}"))
    assert [line.text for line in engine.containers.logs(name)] == [str(n) for n in range(1, 2001)]


def test_a_look_ends_though_the_writer_is_faster(tmp_path: Path) -> None:
    """Whoever reads a line sees twenty more written: without a bound that never ends."""
    path = tmp_path / "log"
    log = LogFile(str(path))
    written(log, 0, 3000)
    found = []
    for line in logs.read(str(path)):
        found.append(line.text)
        written(log, 0, 20)
        assert len(found) <= 3000
    assert found == [f"line {number}" for number in range(3000)]
    assert len(list(logs.read(str(path), tail=2))) == 2
    log.close()


def test_the_end_of_a_long_line_is_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is looked at a few times, however many blocks a line has."""
    log = LogFile(str(tmp_path / "log"))
    log.write(b"stdout", b"first\n" + b"x" * (4 << 20) + b"\nlast\n")
    log.close()
    looked_at = 0
    is_whole = logs._is_whole

    def counting(raw: bytes) -> bool:
        nonlocal looked_at
        looked_at += len(raw)
        return is_whole(raw)

    monkeypatch.setattr(logs, "_is_whole", counting)
    assert [len(text) for _, text in texts(tmp_path / "log", tail=2)] == [4 << 20, 4]
    assert looked_at < 2 * (tmp_path / "log").stat().st_size


def looked(follower: logs.LogFollower) -> tuple[list[str], list[str], bool]:
    found = follower.look()
    return [line.text for line in found.lines], [line.text for line in found.begun], found.left_out


def test_looking_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "log"
    follower = logs.LogFollower(str(path), tail=3)
    assert looked(follower) == ([], [], False)
    log = LogFile(str(path), 2048, 3)
    log.write(b"stdout", b"same\nsame\nsame\n")
    assert looked(follower)[0] == ["same"] * 3
    assert looked(follower)[0] == []
    log.write(b"stdout", b"half")
    log.write(b"stderr", b"whole\n")
    lines, begun, _ = looked(follower)
    assert (lines, begun) == (["whole"], ["half"])
    log.write(b"stdout", b" and half\n")
    lines, begun, _ = looked(follower)
    assert (lines, begun) == (["half and half"], [])
    found = []
    for first in range(0, 200, 20):  # through several files
        written(log, first, first + 20)
        found += looked(follower)[0]
    assert found == [f"line {number}" for number in range(200)]
    follower.close()
    late = logs.LogFollower(str(path), tail=3)
    assert looked(late)[0] == ["line 197", "line 198", "line 199"]
    late.close()
    log.close()


def test_too_much_for_a_look_is_left_out(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    follower = logs.LogFollower(str(tmp_path / "log"), tail=5, most=4096)
    follower.look()
    written(log, 0, 1000)
    lines, _, left_out = looked(follower)
    assert left_out
    assert lines == [f"line {number}" for number in range(995, 1000)]
    written(log, 1000, 1002)
    lines, _, left_out = looked(follower)
    assert not left_out
    assert lines == ["line 1000", "line 1001"]
    follower.close()
    log.close()
