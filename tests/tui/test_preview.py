"""The preview: diffs are numbered as the files are, only visible lines are coloured, nothing comes raw."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import ComposeResult

from engine.model import FileDiff
from tests.support.steps import steps
from tests.tui.samples import ThemedApp, title
from tui import difftext, syntax
from tui.theme import Line, Span
from tui.widgets.preview import Preview, dump_line, emphasise

TEXTS = st.lists(
    st.sampled_from(["", "a", "b", "-a", "+b", "--- x", "@@ -1 +1 @@", "    if x:", "\\ y"]), max_size=25
)


def unified(old: list[str], new: list[str]) -> str:
    return "".join(f"{line}\n" for line in difflib.unified_diff(old, new, "a/x", "b/x", lineterm=""))


@given(TEXTS, TEXTS)
def test_a_parsed_diff_has_the_files_lines_at_their_numbers(old: list[str], new: list[str]) -> None:
    lines = difftext.parse(unified(old, new))
    for line in lines:
        if line.kind == "removed":
            assert old[line.number - 1] == line.text
        elif line.kind in ("added", "same"):
            assert new[line.number - 1] == line.text
    kept = [line.text for line in lines if line.kind == "removed"]
    gained = [line.text for line in lines if line.kind == "added"]
    assert len(old) - len(kept) == len(new) - len(gained)


@given(TEXTS, TEXTS)
def test_mates_are_of_opposite_kinds_and_of_one_mind(old: list[str], new: list[str]) -> None:
    lines = difftext.parse(unified(old, new))
    for index, line in enumerate(lines):
        if line.mate >= 0:
            assert {line.kind, lines[line.mate].kind} == {"added", "removed"}
            assert lines[line.mate].mate == index


@given(st.text("ab_ =", max_size=12), st.text("ab_ =", max_size=12))
def test_what_is_outside_the_changed_parts_is_equal(one: str, other: str) -> None:
    start, stop = difftext.changed_part(one, other)
    mate_start, mate_stop = difftext.changed_part(other, one)
    assert 0 <= start <= stop <= len(one)
    if (start, stop) != (0, 0) and (mate_start, mate_stop) != (0, 0):
        assert one[:start] == other[:mate_start]
        assert one[stop:] == other[mate_stop:]


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("DEBUG = True", "DEBUG = False", "True"),
        ("port = 8080", "port = 8081", "8080"),
        ("a, b", "a, c, b", ""),
        ("completely", "different thing", ""),
    ],
)
def test_changed_words_are_marked_whole(old: str, new: str, part: str) -> None:
    start, stop = difftext.changed_part(old, new)
    assert old[start:stop] == part


@given(st.lists(st.text("xyz", max_size=4), max_size=5), st.integers(0, 20), st.integers(0, 20))
def test_emphasis_changes_no_text(parts: list[str], start: int, stop: int) -> None:
    line: Line = tuple(Span(part, "keyword") for part in parts)
    whole = "".join(parts)
    marked = emphasise(line, start, stop, "added_word")
    assert "".join(span.text for span in marked) == whole
    assert "".join(span.text for span in marked if span.role == "added_word") == whole[start:stop]


@given(st.text(max_size=300))
def test_colours_change_no_text(text: str) -> None:
    line = text.replace("\n", " ").replace("\r", " ")
    for name in ("x.py", "x.c", "x.json", "x.sh", "Makefile", "passwd"):
        assert "".join(span.text for span in syntax.spans(syntax.lexer_for(name), line)) == line


def test_a_language_is_told_by_the_name() -> None:
    roles = {span.text: span.role for span in syntax.spans(syntax.lexer_for("/srv/app.py"), "return 'x' # y")}
    assert roles["return"] == "keyword"
    assert roles["'x'"] == "good"
    assert roles["# y"] == "muted"
    assert syntax.lexer_for("/etc/passwd") is None


def test_a_dump_tells_offset_bytes_and_text_apart() -> None:
    line = dump_line("00000010  7f 45 00 00  00 01 41 42  |.E....AB|")
    assert "".join(span.text for span in line) == "00000010  7f 45 00 00  00 01 41 42  |.E....AB|"
    assert [span.role for span in line if span.text.strip()] == ["muted", "text", "faint", "text", "good"]


class PreviewApp(ThemedApp):
    def compose(self) -> ComposeResult:
        yield Preview(classes="pane")

    @property
    def preview(self) -> Preview:
        return self.query_one(Preview)

    def lines(self) -> list[str]:
        preview = self.preview
        return [preview.render_line(y).text.rstrip() for y in range(preview.scrollable_content_region.height)]


@pytest.fixture
def app() -> Iterator[PreviewApp]:
    yield PreviewApp()


DIFF = """--- a/x
+++ b/x
@@ -9,3 +9,3 @@ def load():
 a
-b = 1
+b = 2
 c\x1b[2J
\\ No newline at end of file
"""


async def test_a_diff_shows_path_counts_numbers_and_signs(app: PreviewApp) -> None:
    async with app.run_test(size=(60, 20)) as pilot:
        app.preview.show_diff(FileDiff("/srv/x.py", "modified", False, DIFF, 1, 1, True))
        await pilot.pause()
        assert app.lines()[:7] == [
            "M srv/x.py  +1 −1",
            "@@ -9,3 +9,3 @@ def load():",
            " 9  a",
            "10 -b = 1",
            "10 +b = 2",
            "11  c␛[2J",
            "     No newline at end of file",
        ]
        assert title(app.preview) == "Diff"
        assert app.preview.border_subtitle == "only the beginning is shown"
        assert app.preview.text == DIFF


async def test_signs_have_colour_and_changed_words_more_of_it(app: PreviewApp) -> None:
    async with app.run_test(size=(60, 20)):
        app.preview.show_diff(FileDiff("/srv/x.py", "modified", False, DIFF, 1, 1, False))
        removed, ground = app.preview.line(3)
        assert ground == "deleted_line"
        assert [span.text for span in removed if span.role == "deleted_word"] == ["1"]


async def test_a_binary_is_a_dump_and_a_mode_change_a_sentence(app: PreviewApp) -> None:
    async with app.run_test(size=(40, 20)) as pilot:
        app.preview.show_diff(FileDiff("/bin/x", "added", True, "00000000  7f 45  |.E|\n", 0, 0, False))
        assert app.lines()[:2] == ["A bin/x", "00000000  7f 45  |.E|"]
        sentence = "Only its mode changed, from 644 to 755, and nothing of its content did."
        app.preview.show_diff(FileDiff("/run.sh", "modified", False, sentence, 0, 0, False))
        await pilot.pause()
        lines = [line for line in app.lines() if line]
        assert lines[0] == "M run.sh"
        assert " ".join(lines[1:]) == sentence
        assert len(lines) > 2, "wrapped to the pane"


async def test_titles_and_paths_are_no_markup(app: PreviewApp) -> None:
    async with app.run_test(size=(60, 20)):
        app.preview.show_text("[red]x[/red] [", '{"a": 1}')
        assert title(app.preview) == "[red]x[/red] ["
        assert app.lines()[0] == '{"a": 1}'
        app.preview.show_lines("api", [(Span("image", "muted"), Span("  [bold]"))])
        assert app.lines()[0] == "image  [bold]"
        assert app.preview.text == "image  [bold]"


async def test_the_same_path_again_keeps_the_place_another_begins_at_its_top(app: PreviewApp) -> None:
    async with app.run_test(size=(60, 20)) as pilot:
        text = "@@ -1,60 +1,60 @@\n" + "".join(f" line {n}\n" for n in range(60))
        app.preview.show_diff(FileDiff("/a", "modified", False, text, 0, 0, False))
        app.preview.focus()
        await pilot.pause()
        await pilot.press("j", "j", "j")
        assert app.preview.scroll_offset.y == 3
        app.preview.show_diff(FileDiff("/a", "modified", False, text + "+more\n", 1, 0, False))
        await pilot.pause()
        assert app.preview.scroll_offset.y == 3
        app.preview.show_diff(FileDiff("/b", "modified", False, text, 0, 0, False))
        await pilot.pause()
        assert app.preview.scroll_offset.y == 0
        await pilot.press("G")
        assert app.lines()[-1].endswith("line 59")
        await pilot.press("g", "right")
        assert app.preview.scroll_offset == (0, 0), "nothing is wider than the pane"


async def test_a_megabyte_is_shown_at_once(app: PreviewApp, monkeypatch: pytest.MonkeyPatch) -> None:
    lexed: list[str] = []
    spans = syntax.spans

    def counted(lexer: syntax.Lexer | None, text: str) -> Line:
        lexed.append(text)
        return spans(lexer, text)

    monkeypatch.setattr(syntax, "spans", counted)
    text = "@@ -1 +1,40000 @@\n" + "+x = 'something to colour'\n" * 40_000
    async with app.run_test(size=(120, 40)) as pilot:
        app.preview.show_diff(FileDiff("/small.py", "added", False, text[:1000], 37, 0, False))
        app.lines()  # what is loaded once
        lexed.clear()
        big = FileDiff("/big.py", "added", False, text, 40_000, 0, False)
        assert steps(lambda: app.preview.show_diff(big)) < 20 * 40_000
        assert steps(app.lines) < 2500 * 40
        await pilot.pause()
        assert len(lexed) <= 2 * 40, "only what can be seen is coloured"
