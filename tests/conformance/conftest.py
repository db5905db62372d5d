"""The conformance table: which test shows which requirement, printed when the tests are done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.bundles import Bundle, Bundles
from tests.conformance.requirements import REQUIREMENTS
from tests.support.traces import Root

_shown: dict[str, dict[str, str]] = {}
"""By requirement: tests and what became of them."""
_ORDER = ("failed", "skipped", "passed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    for mark in item.iter_markers("requirement"):
        for number in mark.args:
            tests = _shown.setdefault(number, {})
            before = tests.get(item.name, "passed" if report.when == "setup" and report.passed else "")
            ranked = [name for name in _ORDER if name in (before, report.outcome)]
            tests[item.name] = ranked[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if len(_shown) < 5:  # a test or two were chosen by hand
        return
    release = f"Linux {os.uname().release}"
    terminalreporter.section(f"conformance with runtime-spec 1.2, {release}")
    for requirement in REQUIREMENTS:
        tests = _shown.get(requirement.id, {})
        outcomes = set(tests.values())
        result = next((name for name in _ORDER if name in outcomes), "not run")
        if result == "skipped" and "passed" in outcomes:
            result = "passed"
        names = sorted({name.partition("[")[0] for name in tests})
        terminalreporter.write_line(
            f"{requirement.id:<17} {result:<8} {requirement.text} [{', '.join(names)}]"
        )


@pytest.fixture(scope="session")
def bundles(starter_root: Root) -> Bundles:
    return Bundles(starter_root)


@pytest.fixture
def bundle(root: Root, bundles: Bundles) -> Iterator[Bundle]:
    """A bundle whose config.json is a plain container's, and the runtime that runs it."""
    made = bundles.bundle(root)
    try:
        yield made
    finally:
        made.remove()
