"""The benchmark's own arithmetic."""

from __future__ import annotations

import subprocess
import sys

from tests.bench.measure import Case, Figure, Figures, Goal, Result, measure, report, wait_for_quiet


def test_cases_take_turns_and_the_first_round_does_not_count() -> None:
    seen: list[str] = []
    cases = [
        Case("a", lambda: seen.append("a"), before=lambda: seen.append("before a")),
        Case("b", lambda: seen.append("b"), after=lambda: seen.append("after b")),
    ]
    result = measure("turns", cases, (), rounds=2, quiet_seconds=0)
    assert seen == ["before a", "a", "b", "after b"] * 3
    assert [len(times) for times in result.times.values()] == [2, 2]


def test_a_ratio_is_told_in_the_direction_of_its_goal() -> None:
    times = {"ours": [0.010, 0.012, 0.5], "theirs": [0.1, 0.048, 0.01], "floor": [0.008]}
    goals = (Goal("ours", "theirs", 1 / 3), Goal("ours", "floor", 1.3), Goal("ours", "absent", 1))
    text = report(Result("a title", times, goals))
    assert text.startswith("a title\n")
    assert "ours is 4.0x as fast as theirs (goal 3x: met)" in text
    assert "ours takes 1.50x the time of floor (goal at most 1.3x: missed)" in text
    assert "absent" not in text


def test_figures_are_judged_where_there_is_a_goal() -> None:
    text = report(Figures("app", (Figure("paint", 900, "ms", 1000), Figure("median", 3, "ms"))))
    assert "900.0 ms (goal below 1000: met)" in text
    assert text.endswith("3.0 ms")


def test_a_busy_machine_is_not_quiet() -> None:
    loop = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", loop], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            assert not wait_for_quiet(0.3)
        finally:
            busy.kill()
