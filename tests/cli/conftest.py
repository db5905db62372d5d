"""Command lines carried out both ways: by the process that is started, and by a server for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support import roots, served
from tests.support.roots import Run
from tests.support.traces import Root

TWICE = ("test_containers", "test_limits", "test_listing", "test_mounts", "test_sampling", "test_streams")
"""Modules whose command lines are. ``SERVED=yes`` has those of all modules here carried out by a server."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cowl" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in TWICE:
        metafunc.parametrize("cowl", ["alone", "served"], indirect=True)


@pytest.fixture
def cowl(root: Root, request: pytest.FixtureRequest) -> Iterator[Run]:
    """`cowl` of all tests; or, *served*, carried out by a server as if the process that is started did it."""
    usual = "served" if os.environ.get("SERVED") else "alone"
    if getattr(request, "param", usual) == "alone":
        yield roots.command_line(root)
        return
    with served.line(root) as run:
        yield run
