"""The flat tree: folding, filtering and guides hold for any tree, and long or deep ones stay quick."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.steps import steps
from tui.outline import Entry, Outline

Numbers = Entry[int]


@st.composite
def trees(draw: st.DrawFn) -> list[Numbers]:
    """Entries of any forest in preorder."""
    entries: list[Numbers] = []
    depth = -1
    for number, step in enumerate(draw(st.lists(st.integers(-4, 1), max_size=40))):
        depth = max(0, depth + step)
        entries.append(Entry(str(number), depth, f"name{number}", number))
    return entries


def ancestors(entries: list[Numbers], index: int) -> list[int]:
    """By the definition of preorder: the nearest earlier entry of each smaller depth."""
    found = []
    depth = entries[index].depth
    for earlier in range(index - 1, -1, -1):
        if entries[earlier].depth < depth:
            depth = entries[earlier].depth
            found.append(earlier)
    return found


def expected_visible(entries: list[Numbers], folded: set[str]) -> list[str]:
    return [
        entry.key
        for index, entry in enumerate(entries)
        if not any(entries[above].key in folded for above in ancestors(entries, index))
    ]


@given(trees(), st.lists(st.tuples(st.booleans(), st.integers(0, 100)), max_size=30))
def test_folding_in_any_order_shows_what_no_folded_ancestor_hides(
    entries: list[Numbers], steps: list[tuple[bool, int]]
) -> None:
    outline = Outline(entries)
    for fold, number in steps:
        if not len(outline):
            break
        position = number % len(outline)
        before = set(outline.folded)
        changed = outline.fold(position) if fold else outline.unfold(position)
        assert changed == (before != outline.folded)
        assert outline.shown() == expected_visible(entries, outline.folded)


@given(trees(), st.sets(st.integers(0, 40)), st.integers(0, 40))
def test_revealing_shows_the_entry_and_finding_shows_what_hides_it(
    entries: list[Numbers], folded: set[int], wanted: int
) -> None:
    outline = Outline(entries, {str(number) for number in folded})
    key = str(wanted)
    found = outline.find(key)
    revealed = outline.reveal(key)
    if wanted >= len(entries):
        assert found is None
        assert revealed is None
        return
    assert found is not None
    assert revealed is not None
    assert outline.at(revealed).key == key
    assert outline.shown() == expected_visible(entries, outline.folded)


@given(trees(), st.integers(0, 9))
def test_a_filter_shows_matches_with_their_ancestors_only(entries: list[Numbers], digit: int) -> None:
    outline = Outline(entries, {entry.key for entry in entries})
    outline.filter(f"E{digit}")
    expected = set()
    for index, entry in enumerate(entries):
        if f"e{digit}" in entry.text:
            expected |= {index, *ancestors(entries, index)}
    assert outline.visible == sorted(expected)
    outline.filter("")
    assert outline.shown() == expected_visible(entries, outline.folded)


@given(trees(), st.integers(2, 30))
def test_guides_connect_and_keep_to_their_width(entries: list[Numbers], columns: int) -> None:
    outline = Outline(entries)
    for position, entry in enumerate(entries):
        guide = outline.guide(position, columns)
        assert len(guide) <= columns
        if entry.depth == 0:
            assert guide == ""
        elif entry.depth <= columns // 2:
            later = entries[position + 1 :]
            nearest = next((other for other in later if other.depth <= entry.depth), None)
            sibling = nearest is not None and nearest.depth == entry.depth
            assert guide[-1] == ("├" if sibling else "└")
            assert len(guide) == 2 * entry.depth - 1


def test_guides_of_a_small_tree() -> None:
    depths = [0, 1, 2, 2, 1, 2, 0]
    outline = Outline([Entry(str(number), depth, "", number) for number, depth in enumerate(depths)])
    assert [outline.guide(position, 20) for position in range(7)] == ["", "├", "│ ├", "│ └", "└", "  └", ""]


def test_replacing_keeps_what_is_folded() -> None:
    outline = Outline([Entry("a", 0, "a", 0), Entry("b", 1, "b", 1), Entry("c", 0, "c", 2)], {"a"})
    outline.replace([Entry("new", 0, "new", 9), *outline.entries])
    assert outline.shown() == ["new", "a", "c"]


def test_fifty_thousand_entries_and_a_chain_of_twelve_hundred_are_quick() -> None:
    chain = [Entry(f"c{number}", number, f"c{number}", number) for number in range(1200)]
    wide = [Entry(f"w{number}", 1 if number else 0, f"w{number}", number) for number in range(50_000)]
    entries = [*chain, *wide]
    assert steps(lambda: Outline(entries)) < 25 * len(entries)
    outline = Outline(entries)
    assert steps(lambda: (outline.fold(1200), outline.unfold(1200), outline.fold(0))) < 200
    assert len(outline) == 50_001
    assert steps(lambda: outline.reveal("c1199")) < 10 * len(entries)
    assert outline.find("c1199") == 1199
    assert steps(lambda: outline.guide(1199, 30)) < 200
    assert len(outline.guide(1199, 30)) <= 30
