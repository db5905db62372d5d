"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import subprocess
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

HOUSE = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path for room in ("engine", "tui", "tests") for path in (HOUSE / room).rglob("*.py") if path.is_file()
)
LOCKS = ("requirements.lock", "requirements-dev.lock")
MARKS = r"\b(T[O]DO|FIXM[E]|X{3}|HAC[K])\b"
"""Spelled so that this file does not find itself."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500, "would a reader thank you for a split?"
    assert not re.search(MARKS, text), "what is unfinished is not for here"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_package_by_hash_and_names_no_index(lock: str) -> None:
    text = (HOUSE / lock).read_text(encoding="utf-8")
    assert "://" not in text
    pins = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert all(re.match(r"[\w.-]+==\S+", pin) and "--hash=sha256:" in pin for pin in pins)


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for lock, wanted in zip(LOCKS, (project["dependencies"], extras["dev"]), strict=True):
        text = (HOUSE / lock).read_text(encoding="utf-8")
        for requirement in wanted:
            name = re.match(r"[\w.-]+", requirement)
            assert name
            assert re.search(rf"^{name[0]}==", text, re.MULTILINE | re.IGNORECASE), f"make lock: {name[0]}"


def test_what_the_papers_say_to_make_can_be_made() -> None:
    listed = subprocess.run(["make", "help"], cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"make ([a-z-]+)", listed))
    for paper in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        text = (HOUSE / paper).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^ {4}|sudo |exec )make ([a-z-]+)", text, re.MULTILINE))
        assert named, paper
        assert named <= targets, paper


def test_the_pictures_that_the_readme_shows_are_there() -> None:
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (HOUSE / "README.md").read_text(encoding="utf-8"))
    assert shown
    assert [picture for picture in shown if not (HOUSE / picture).exists()] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Wherever in them, and be it for their types alone."""
    imports = grimp.build_graph("engine", "tui")
    wanted = {module: imports.find_modules_directly_imported_by(module) for module in imports.modules}
    try:
        TopologicalSorter(wanted).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
