"""Templates say what Go's do, as far as they are known here, and refuse the rest in a sentence."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.templates import Known, Template
from engine.errors import UsageError

DOCUMENT = Known(
    ID="abc",
    exit_code=3,
    State=Known(Running=True, Health=None),
    Names=["a", "b"],
    Labels={"x.y": "1", "z": "2"},
    Mounts=[{"Source": "/a"}, {"Source": "/b"}],
    Empty=[],
)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.ID}}", "abc"),
        ("<{{ .ExitCode }}>\\t{{.id}}", "<3>\tabc"),
        ("{{.State.Running}} {{.State.Health}} {{.State.Health.Status}}", "true <no value> <no value>"),
        ("{{json .Labels}}", '{"x.y":"1","z":"2"}'),
        ("{{json .Names}} {{.Names}} {{.Labels}}", '["a","b"] [a b] map[x.y:1 z:2]'),
        ('{{join .Names ", "}}|{{upper .ID}}|{{.ID | upper | lower}}', "a, b|ABC|abc"),
        ('{{index .Labels "x.y"}}{{index .Names 1}}{{len .Names}}', "1b2"),
        ('{{index .Labels "none"}}', "<no value>"),
        ("{{range .Mounts}}{{.Source}}:{{$.ID}} {{end}}", "/a:abc /b:abc "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Health}}a{{else if eq .ID `abc`}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Running}}{{end}}{{with .State.Health}}x{{end}}", "true"),
        (
            '{{if and .ID (gt .ExitCode 2) (not .Empty)}}{{printf "%s=%d %q" .ID .ExitCode "x"}}{{end}}',
            'abc=3 "x"',
        ),
        ("a {{- .ID -}} b{{/* no */}}", "aabcb"),
        ('{{println "x" 1}}', "x 1\n"),
        ('{{slice .ID 1}}{{slice .ID 0 1}}{{truncate .ID 2}}{{pad "x" 1 1}}', "bcaab x "),
        ("{{range .Labels}}{{.}}{{end}}", "12"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "x.y=1;z=2;"),
        (
            "{{range $i, $name := .Names}}{{$i}}{{$name}}{{end}}{{range $each := .Names}}{{$each}}{{end}}",
            "0a1bab",
        ),
        (
            "{{$x := .State}}{{$x.Running}}{{with $y := .Names}}{{$y}}{{.}}{{len $.Names}}{{end}}",
            "true[a b][a b]2",
        ),
        ("{{$n := 0}}{{range .Names}}{{$n = .}}{{end}}{{$n}}", "b"),
        ("{{$n := 0}}{{range .Names}}{{$n := .}}{{$n}}{{end}}{{$n}}", "ab0"),
        ("{{(index .Mounts 1).Source}} {{(.State).Running}}", "/b true"),
        ("{{if $x := .ID}}{{$x}}{{else}}none{{end}}", "abc"),
        (
            '{{printf "%5s|%-4d|%.1f|%t|%%|%v|%x" .ID .ExitCode 1.25 true .Names 255}}',
            "  abc|3   |1.2|true|%|[a b]|ff",
        ),
        (r'{{join .Names "\n"}}', "a\nb"),
        ("no template", "no template"),
        ("", ""),
    ],
)
def test_what_is_filled_in(template: str, text: str) -> None:
    assert Template(template).fill(DOCUMENT) == text


@pytest.mark.parametrize(
    "template",
    [
        *("{{.Nothing}}", "{{.ID.More}}", "{{", "{{.ID", "{{end}}", "{{if .ID}}", "{{nothing .ID}}"),
        *(
            "{{.ID .ID}}",
            "{{(.ID}}",
            "{{)}}",
            "{{}}",
            "{{$x}}",
            "{{$x = 1}}",
            "{{$x, $y := .Names}}",
            "{{if .ID}}{{$x := 1}}{{end}}{{$x}}",
            "{{(.State) .Running}}",
            "{{index .Names 7}}",
            "{{template `x`}}",
        ),
        *(
            "{{else}}",
            "{{len 1}}",
            "{{.ID | }}",
            '{{printf "%s"}}',
            '{{printf "%s" 1 2}}',
            '{{printf "%y" 1}}',
            '{{printf "%d" .ID}}',
            "{{range .ExitCode}}{{end}}",
            "{{json}}",
        ),
        r'{{print "\x41"}}',
    ],
)
def test_what_is_refused(template: str) -> None:
    with pytest.raises(UsageError):
        Template(template).fill(DOCUMENT)


PARTS = st.sampled_from(
    [
        "{{",
        "}}",
        ".ID",
        "$x",
        ":=",
        "=",
        ",",
        " ",
        "|",
        "(",
        ")",
        "if",
        "end",
        "else",
        "range",
        "json",
        ".Names",
        '"',
        "x",
        "1",
        "-",
    ]
)


@given(st.lists(PARTS, max_size=12).map("".join) | st.text(max_size=20))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        Template(text).fill(DOCUMENT)
