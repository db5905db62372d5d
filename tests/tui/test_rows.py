"""Records become lines: nothing is lost, order and sums hold, whatever the records are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.model import Change, Container, Node
from tests.tui import records
from tui import change_rows, forest_rows
from tui.change_rows import change_entries, change_line, folded_at_first, summary, summary_text
from tui.forest_rows import forest_entries, forest_line, in_order, total, total_text
from tui.format import seconds
from tui.theme import Line, Span
from tui.widgets.containers import container_line, image_name
from tui.widgets.flatlist import clip_spans, justify

NOW = seconds(records.LATER) or 0.0


def text(line: Line) -> str:
    return "".join(span.text for span in line)


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[Node], list[Container]]:
    parents = draw(st.lists(st.integers(-1, 20), max_size=20))
    nodes = []
    for number, parent in enumerate(parents):
        above = str(parent % number) if parent >= 0 and number else None
        nodes.append(records.node(str(number), above, ("a:1",) if number % 3 == 0 else ()))
    on = draw(st.lists(st.integers(0, 20), max_size=10))
    containers = [records.container(f"c{n}", str(node % len(nodes))) for n, node in enumerate(on) if nodes]
    return nodes, containers


@given(forests())
def test_every_node_and_container_has_one_line_under_what_it_stands_on(
    forest: tuple[list[Node], list[Container]],
) -> None:
    nodes, containers = forest
    entries = forest_entries(nodes, containers)
    assert len({entry.key for entry in entries}) == len(entries) == len(nodes) + len(containers)
    path: list[str] = []
    for entry in entries:
        del path[entry.depth :]
        assert len(path) == entry.depth
        below = entry.item.parent if isinstance(entry.item, Node) else entry.item.chain_id
        assert (path[-1] if path else None) == below
        path.append(entry.item.chain_id if isinstance(entry.item, Node) else "")


def test_a_chain_of_twelve_hundred_layers_is_a_forest_too() -> None:
    nodes = [records.node(str(n), str(n - 1) if n else None) for n in range(1200)]
    assert [entry.depth for entry in forest_entries(nodes, [])] == list(range(1200))


def test_a_node_whose_parent_is_unknown_stands_as_a_root() -> None:
    entries = forest_entries([records.node("b", "missing")], [])
    assert [entry.depth for entry in entries] == [0]


def test_the_figure_of_the_source_document() -> None:
    nodes, containers = records.figure()
    lines = [
        f"{'  ' * entry.depth}{text(forest_line(entry.item, {}, NOW)[0]).rstrip()}"
        for entry in forest_entries(nodes, containers)
    ]
    assert lines[2:8] == [
        "     ubuntu:12.04",
        "       ubuntu:14.04",
        "        ● api 2h",
        "        ◐ worker paused",
        "         api:v3",
        f"{nodes[5].chain_id[7:15]} ADD alpine.tar",
    ]
    assert any(" py:3.11   py:latest" in line for line in lines)
    assert "          ○ notebook" not in lines


def test_tags_are_highlighted_and_sizes_stand_right() -> None:
    left, right = forest_line(records.node("x", tags=("ubuntu:14.04",), size=19_300_000), {}, NOW)
    assert left[0] == Span(" ubuntu:14.04 ", "tag")
    assert text(right) == "18.4M"
    api = records.container("api", "x")
    assert text(forest_line(api, {api.id: 3_355_443}, NOW)[1]) == "+3.2M"
    assert forest_line(api, {}, NOW)[1] == ()


def test_what_two_images_stand_on_is_shared() -> None:
    nodes, _ = records.figure()
    counted = total(nodes)
    assert counted.nodes == 11
    assert counted.size == sum(node.size for node in nodes)
    shared = {"0", "1", "2", "3", "5", "6", "8"}
    assert counted.shared == sum(n.size for n in nodes if n.chain_id in {records.digest(s) for s in shared})
    assert total_text(counted) == "11 nodes · 168M, 143M shared"


def test_states_are_told_in_words_as_well_as_in_colour() -> None:
    def line(one: Container) -> str:
        left, right = container_line(one, 8, NOW)
        return f"{text(left)} | {text(right)}"

    assert line(records.container("api", "3")) == "● api       ubuntu:14.04 | up 2h"
    assert line(records.container("worker", "3", "paused")) == "◐ worker    ubuntu:14.04 | paused"
    assert line(records.container("cache", "3", "exited", exit_code=3)).endswith("| exit 3")
    lost = records.container("lost", "3")._replace(monitored=False)
    assert line(lost).endswith("| up 2h, no monitor")
    killed = records.container("big", "3", "exited", exit_code=137)._replace(oom_killed=True)
    assert line(killed).endswith("| out of memory")


def test_names_of_containers_cannot_control_the_terminal() -> None:
    left, _ = container_line(records.container("a\x1b[31mb", "3", image="x\x07y"), 12, NOW)
    assert "\x1b" not in text(left)
    assert "\x07" not in text(left)


def test_running_ones_come_first() -> None:
    ordered = in_order(
        [
            records.container("a", "1", "exited"),
            records.container("b", "1"),
            records.container("c", "1", "paused"),
        ]
    )
    assert [each.name for each in ordered] == ["b", "c", "a"]


def test_image_names_are_short() -> None:
    assert image_name("starter:latest") == "starter"
    assert image_name(f"app@sha256:{'ab' * 32}") == "app@abababab"
    assert image_name("ab" * 32) == "abababab"


paths = st.lists(st.sampled_from(["a", "b", "c", "d.e", "long name"]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(
    st.dictionaries(paths, st.tuples(st.sampled_from(["added", "modified", "deleted"]), st.integers(0, 99)))
)
def test_every_change_has_one_line_and_the_sums_hold(spec: dict[str, tuple[str, int]]) -> None:
    changes: list[Change] = []
    for path, (kind, size) in spec.items():
        directory = any(other != path and other.startswith(f"{path}/") for other in spec)
        now, before = (0, size) if kind == "deleted" else (size, 0)
        what = "directory" if directory else "file"
        changes.append(records.change(path, kind, now, before, what))  # type: ignore[arg-type]
    entries = change_entries(changes)
    shown = {entry.item.path: entry.item.change for entry in entries if entry.item.change is not None}
    assert shown == {change.path: change for change in changes}
    for position, entry in enumerate(entries):
        inside = [c for c in changes if c.path == entry.key or c.path.startswith(f"{entry.key}/")]
        assert entry.item.paths == len(inside)
        assert entry.item.delta == sum(c.size - c.old_size for c in inside)
        assert entry.depth <= (entries[position - 1].depth + 1 if position else 0)
    roots = [entry for entry in entries if entry.depth == 0]
    assert sum(entry.item.paths for entry in roots) == len(changes)
    assert summary(changes).delta == sum(entry.item.delta for entry in roots)


def test_the_tree_of_changes() -> None:
    lines = []
    for entry in change_entries(records.changes()):
        left, right = change_line(entry.item)
        letter = change_rows.LETTERS[entry.item.change.kind] if entry.item.change else " "
        if ".bin" not in entry.key:
            lines.append(f"{letter} {'  ' * entry.depth}{text(left)} | {text(right)}")
    assert lines == [
        "  etc | 13.3K",
        "A   nginx/  2 inside | 13.3K",
        "A     api.conf | 12.1K",
        "A     nginx.conf | 1.2K",
        "M   passwd  mode | ",
        "  srv/app | 281K",
        "A   cache/  120 inside | 281K",
        "M   run.sh  mode, owner | ",
        "M   settings.py | +1B",
        "  var/log | −1.7M",
        "A   api.log | 309K",
        "D   old.log | −2.0M",
    ]


def test_a_lone_change_is_one_line() -> None:
    entries = change_entries([records.change("/a/b/c/d", size=5)])
    assert [(entry.depth, entry.item.label) for entry in entries] == [(0, "a/b/c/d")]


def test_big_added_directories_are_folded_at_first() -> None:
    assert folded_at_first(change_entries(records.changes())) == {"/srv/app/cache"}


def test_summary_in_words() -> None:
    assert summary_text(summary(records.changes())) == "125 A · 3 M · 1 D · −1.4M"
    assert summary_text(summary([])) == ""


spans = st.lists(st.builds(Span, st.text("ab漢字…", max_size=8)), max_size=5)


@given(spans, spans, st.integers(0, 40))
def test_a_line_is_exactly_as_wide_as_asked(left: list[Span], right: list[Span], width: int) -> None:
    from rich.cells import cell_len

    assert sum(cell_len(span.text) for span in justify(left, right, width)) == width
    assert sum(cell_len(span.text) for span in clip_spans(left, width)) <= width


def test_cut_text_says_so() -> None:
    assert text(justify([Span("a long name")], [Span("1M")], 10)) == "a long… 1M"
    assert forest_rows.GLYPHS["paused"] == "◐"
