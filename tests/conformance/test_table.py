"""Every requirement has a test that shows it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator

import pytest

from tests.conformance.requirements import REQUIREMENTS


def marks_of(function: object) -> Iterator[pytest.Mark]:
    """Its marks, and those of the values that it is given."""
    for mark in getattr(function, "pytestmark", ()):
        yield mark
        if mark.name == "parametrize":
            for value in mark.args[1]:
                for inner in getattr(value, "marks", ()):
                    yield inner.mark if isinstance(inner, pytest.MarkDecorator) else inner


def shown() -> set[str]:
    """The requirements that tests in this directory name."""
    found: set[str] = set()
    for name in sorted(os.listdir(os.path.dirname(__file__))):
        if name.startswith("test_") and name.endswith(".py") and name != "test_table.py":
            module = importlib.import_module(f"tests.conformance.{name.removesuffix('.py')}")
            for function in vars(module).values():
                for mark in marks_of(function):
                    if mark.name == "requirement":
                        found.update(mark.args)
    return found


def test_every_requirement_has_a_test() -> None:
    known = [requirement.id for requirement in REQUIREMENTS]
    assert len(known) == len(set(known))
    assert [number for number in known if number not in shown()] == []
    assert shown() <= set(known)
