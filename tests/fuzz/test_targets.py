"""The fuzzer's targets under hypothesis: honest inputs, damaged ones, noise, and all that was ever found."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

REGRESSIONS = Path(__file__).parent / "regressions"
"""Inputs that once failed, each named after its target: ``target-what``."""

pytestmark = pytest.mark.kernel
honest = cache(seeds)


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """An honest input of the target *name* with a few bytes replaced, taken out, put in or repeated."""
    whole = bytearray(draw(st.sampled_from(honest(name))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(whole)))
        length = draw(st.sampled_from([0, 1, 1, 2, 8, 12, 512]))
        copied = bytes(whole[(start := draw(st.integers(0, len(whole)))) : start + length])
        whole[at : at + length] = draw(st.one_of(st.binary(max_size=12), st.just(copied)))
    return bytes(whole)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_bytes_are_taken_or_refused(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(st.one_of(damaged(name), damaged(name), st.binary(max_size=2000))))


@pytest.mark.parametrize("name", TARGETS)
def test_honest_inputs_are_taken(name: str) -> None:
    for seed in honest(name):
        TARGETS[name](seed)


@pytest.mark.parametrize("path", sorted(REGRESSIONS.iterdir()), ids=lambda path: path.name)
def test_what_was_found_stays_fixed(path: Path) -> None:
    TARGETS[path.name.partition("-")[0]](path.read_bytes())
