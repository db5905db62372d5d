"""How far layers are, as people see it."""

from __future__ import annotations

import re

import pytest

from engine.cli.layerlines import LayerLines, line
from engine.model import Progress

STEP = "downloading 3f2a1b4c5d6e"


def test_a_line_has_its_place_on_a_narrow_terminal() -> None:
    shown = line(STEP, 11_100_000, 28_600_000, 6.5)
    assert shown == f"{STEP}    10.6M of   27.3M   38%     1.6M/s  11 s left"
    assert len(shown) < 80
    assert len(line(STEP, 1023 << 30, 1023 << 30, 1e5)) < 80


def test_rate_and_time_left_are_of_this_attempt() -> None:
    assert "1.0M/s  1 s left" in line(STEP, 51 << 20, (51 << 20) + 900_000, 1.0, 50 << 20)
    assert "left" not in line(STEP, 50 << 20, 60 << 20, 1.0, 50 << 20)


def test_one_line_at_the_end_counts_what_came(capsys: pytest.CaptureFixture[str]) -> None:
    with LayerLines("pull") as progress:
        for done in (10 << 20, 11 << 20, 12 << 20):
            progress(Progress(STEP, done, 12 << 20))
        progress(Progress("unpacking 3f2a1b4c5d6e", 5, 5))
    assert re.fullmatch(r"pull: 1 layer, 2\.0M in \d+\.\d s\n", capsys.readouterr().err)
    with LayerLines("pull"):
        pass
    assert "nothing to transfer" in capsys.readouterr().err
