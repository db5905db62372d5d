"""The last samples, from one process to the next: what is kept, what is lost, and what is not believed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers import lastsamples
from engine.containers.lastsamples import LastSamples, Point

SECOND = 1_000_000_000
NUMBER = st.integers(0, (1 << 64) - 1)
POINT = st.builds(Point, NUMBER, NUMBER)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/samples"


def left(path: str, *points: tuple[str, Point]) -> LastSamples:
    """What a process has that kept *points*, one after the other, and left them."""
    made = LastSamples(path)
    for name, point in points:
        made.keep(name, point)
        made.write({each for each, _ in points})
    return made


def test_of_two_looks_at_once_both_have_something_to_compare_with(path: str) -> None:
    left(path, ("a", Point(1 * SECOND, 10)), ("a", Point(2 * SECOND, 20)))
    second = LastSamples(path)
    now = Point(2 * SECOND + SECOND // 20, 21)
    assert second.earlier("a", now, None) == Point(1 * SECOND, 10)
    assert second.earlier("a", Point(3 * SECOND, 30), None) == Point(2 * SECOND, 20)
    assert second.earlier("a", Point(3 * SECOND, 30), Point(2 * SECOND + 1, 0)) is None
    assert second.earlier("a", Point(3 * SECOND, 5), None) is None
    assert second.earlier("b", Point(3 * SECOND, 30), None) is None


def test_a_look_soon_after_another_takes_its_place(path: str) -> None:
    made = left(path, *(("a", Point(each * SECOND // 10, each)) for each in (10, 20, 24, 40)))
    assert made.earlier("a", Point(9 * SECOND, 99), None) == Point(4 * SECOND, 40)
    assert made.earlier("a", Point(4 * SECOND, 40), None) == Point(2 * SECOND, 20)


def test_a_clock_that_begins_anew_keeps_nothing_of_before(path: str) -> None:
    made = left(path, ("a", Point(9 * SECOND, 90)), ("a", Point(SECOND, 1)))
    assert made.earlier("a", Point(2 * SECOND, 20), None) == Point(SECOND, 1)
    assert made.earlier("a", Point(SECOND, 20), None) is None


def test_what_others_have_kept_stays(path: str) -> None:
    old = LastSamples(path)
    left(path, ("a", Point(SECOND, 1)), ("b", Point(SECOND, 2)))
    old.keep("b", Point(3 * SECOND, 3))
    old.write(("a", "b", "c"))
    for each in (old, LastSamples(path)):
        assert each.earlier("a", Point(9 * SECOND, 9), None) == Point(SECOND, 1)
        assert each.earlier("b", Point(9 * SECOND, 9), None) == Point(3 * SECOND, 3)


def test_those_that_are_no_more_are_forgotten(path: str) -> None:
    left(path, ("a", Point(SECOND, 1)), ("b", Point(SECOND, 2)), ("c", Point(SECOND, 3)))
    size = os.path.getsize(path)
    made = LastSamples(path)
    made.keep("b", Point(3 * SECOND, 3))
    made.write(("b",))
    assert os.path.getsize(path) == size // 3
    assert LastSamples(path).earlier("a", Point(9 * SECOND, 9), None) is None
    assert LastSamples(path).earlier("b", Point(9 * SECOND, 9), None) == Point(3 * SECOND, 3)


def test_without_a_file_they_are_this_process_s(tmp_path: Path) -> None:
    made = left("", ("a", Point(SECOND, 1)))
    assert made.earlier("a", Point(9 * SECOND, 9), None) == Point(SECOND, 1)
    gone = left(f"{tmp_path}/gone/samples", ("a", Point(SECOND, 1)))
    assert gone.error is None
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_kept_is_known(path: str) -> None:
    os.symlink("/dev/full", path)
    assert LastSamples(path).error is None
    error = left(path, ("a", Point(1, 1))).error
    assert error is not None and error.errno == errno.ENOSPC


@given(st.dictionaries(st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.tuples(POINT, POINT), max_size=5))
def test_what_is_packed_comes_back(points: dict[str, tuple[Point, Point]]) -> None:
    found = dict(lastsamples.unpack(lastsamples.pack(points)))
    assert found == {name: pair for name, pair in points.items() if pair[0][0] <= pair[1][0]}


@given(st.binary(max_size=400))
def test_any_bytes_in_the_file_are_survived(data: bytes) -> None:
    for _, (first, last) in lastsamples.unpack(data):
        assert first.monotonic_ns <= last.monotonic_ns


@given(st.tuples(POINT, POINT), st.integers(64, 95), st.integers(1, 255))
def test_one_that_does_not_add_up_is_not_believed(pair: tuple[Point, Point], place: int, change: int) -> None:
    data = bytearray(lastsamples.pack({"a": pair}))
    data[place] ^= change
    assert dict(lastsamples.unpack(bytes(data))) == {}
