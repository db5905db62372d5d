"""Figures keep to their cells, and what is shown can be read back as about the same number."""

from __future__ import annotations

import re
import shlex
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui import format as fmt

UNIT = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
MOST = 999 << 60


def number(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d)?)([BKMGTPE]?)", text)
    assert found, text
    return float(found[1]) * UNIT[found[2]]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1, "1B"),
        (999, "999B"),
        (1000, "1.0K"),
        (1024, "1.0K"),
        (78_433_485, "74.8M"),
        (612 << 10, "612K"),
        (1023 << 10, "1.0M"),
        (int(1.1 * (1 << 30)), "1.1G"),
    ],
)
def test_sizes_read_as_people_write_them(count: int, text: str) -> None:
    assert fmt.size(count) == text


@given(st.integers(0, MOST))
def test_a_size_fits_five_cells_and_is_about_right(count: int) -> None:
    text = fmt.size(count)
    assert len(text) <= 5
    assert number(text) == pytest.approx(count, rel=0.05)


@given(st.integers(0, MOST))
def test_a_short_size_fits_four_cells_and_is_about_right(count: int) -> None:
    text = fmt.short_size(count)
    assert len(text) <= 4
    assert number(text) == pytest.approx(count, rel=0.06)


@given(st.integers(0, MOST), st.integers(0, MOST))
def test_larger_numbers_never_look_smaller(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert number(fmt.size(small)) <= number(fmt.size(large))


@given(st.integers(-MOST, MOST))
def test_a_difference_always_has_its_sign(count: int) -> None:
    text = fmt.signed(count)
    assert text[0] == ("−" if count < 0 else "+")
    assert len(text) <= 6


@given(st.floats(0, 1e5))
def test_a_percentage_fits_six_cells(value: float) -> None:
    assert len(fmt.percent(value)) <= 6
    assert float(fmt.percent(value)) == pytest.approx(value, abs=0.5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (9, "9s"),
        (59.9, "59s"),
        (60, "1m"),
        (7260, "2h"),
        (86400, "1d"),
        (41 * 86400, "41d"),
        (4e8, "12y"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert fmt.elapsed(seconds) == text


@given(st.floats(0, 1e10))
def test_an_age_fits_four_cells(seconds: float) -> None:
    assert len(fmt.elapsed(seconds)) <= 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0314, "31ms"),
        (0.9996, "1.0s"),
        (4.24, "4.2s"),
        (59.96, "1m00s"),
        (125, "2m05s"),
        (3599.6, "1h00m"),
        (3725, "1h02m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert fmt.duration(seconds) == text


def test_times_of_any_precision_and_offset_mean_the_same_moment() -> None:
    texts = (
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:00.000000000Z",
        "2026-01-01T14:00:00+02:00",
        "2026-01-01 12:00:00",
    )
    assert {fmt.seconds(text) for text in texts} == {1767268800.0}
    assert fmt.age(texts[1], now=1767268800.0 + 7260) == "2h"


@pytest.mark.parametrize("text", ["", None, "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T12:00:00.Z"])
def test_what_is_no_time_has_no_age(text: str | None) -> None:
    assert fmt.seconds(text) is None
    assert fmt.age(text) == ""
    assert fmt.clock(text or "") == " " * 12


def test_the_clock_is_local_and_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EET-2")
    time.tzset()
    try:
        assert fmt.clock("2026-01-01T10:04:31.118999999Z") == "12:04:31.118"
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(st.characters(), max_size=60))
def test_nothing_of_a_container_reaches_the_terminal_raw(text: str) -> None:
    shown = fmt.safe(text)
    assert len(shown) == len(text)
    shown.encode()
    assert not any(ord(sign) < 0x20 or 0x7F <= ord(sign) < 0xA0 for sign in shown)


def test_bytes_that_are_not_utf8_and_overrides_become_signs() -> None:
    assert fmt.safe(b"a\xff".decode(errors="surrogateescape")) == "a�"
    assert fmt.safe("a\x1b[2J\u202eb\x7f") == "a␛[2J�b␡"


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40), st.integers(0, 30))
def test_fitting_takes_exactly_the_cells(text: str, cells: int) -> None:
    assert cell_len(fmt.fit(text, cells)) == cells
    assert cell_len(fmt.fit_right(text, cells)) == cells
    assert cell_len(fmt.clip(text, cells)) <= cells
    if cell_len(text) <= cells:
        assert fmt.clip(text, cells) == text


def test_what_is_cut_says_so() -> None:
    assert fmt.clip("ubuntu:14.04", 8) == "ubuntu:…"
    assert fmt.clip("日本語", 4) == "日…"


def test_identifiers_are_shortened_without_their_algorithm() -> None:
    assert fmt.short_id("sha256:8a1f03c2deadbeef") == "8a1f03c2"
    assert fmt.short_id("8a1f03c2deadbeef") == "8a1f03c2"


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))))
def test_a_command_line_is_read_back_by_a_shell(words: list[str]) -> None:
    assert shlex.split(fmt.command_line(words)) == words
