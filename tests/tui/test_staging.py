"""What is staged is what the engine then takes, whatever is turned in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.model import Change
from tui.staging import Staged

TREE = tuple(
    Change(path, "added", "file", 1, 0, ())
    for path in ("/a", "/a/b", "/a/b/c", "/a/b/d", "/a/e", "/a-b", "/f", "/f/g")
)
PATHS = st.sampled_from(["/", *(change.path for change in TREE)])


def below(path: str) -> set[str]:
    return {each.path for each in TREE if path in ("/", each.path) or each.path.startswith(f"{path}/")}


def paths(staged: Staged) -> set[str]:
    return {change.path for change in staged.chosen(TREE)}


@given(st.lists(PATHS, max_size=8))
def test_turning_a_line_turns_all_that_is_below_it_and_nothing_else(turned: list[str]) -> None:
    staged, model = Staged(), set[str]()
    for path in turned:
        whole = below(path) <= model
        model = model - below(path) if whole else model | below(path)
        staged = staged.turned(path, goes_in=not whole)
        counts = staged.counts(TREE)
        if model:
            assert all(counts[each] == len(below(each) & model) for each in ("/", *below("/")))
    assert paths(staged) == (model or {each.path for each in TREE})
    assert bool(staged.only) == bool(model)


def test_what_has_gone_is_staged_no_longer() -> None:
    staged = Staged().turned("/a", goes_in=True).turned("/a/b", goes_in=False).turned("/f/g", goes_in=True)
    assert staged == Staged(frozenset({"/a", "/f/g"}), frozenset({"/a/b"}))
    left = [change for change in TREE if not change.path.startswith(("/a", "/f/g"))]
    assert staged.pruned(TREE) == staged
    assert staged.pruned(left) == Staged()
    assert staged.pruned([*left, TREE[1]]) == Staged(frozenset({"/a"}), frozenset({"/a/b"}))
