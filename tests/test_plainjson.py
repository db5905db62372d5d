"""`plainjson` reads and writes what `json` does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import plainjson

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_it_writes_and_reads_what_json_does(value: Any) -> None:
    text = plainjson.dumps(value)
    assert text == json.dumps(value)
    assert plainjson.loads(text) == plainjson.loads(f" \n{text}\t".encode()) == value


@given(st.text(alphabet='{}[]",:\\u0123456789.eE+-truefalsn \n\0'))
@example('{"a": 1, "a": 2}')
@example("[" * 100_000)
@example("1" * 5000)
@example('"\\ud800"')
def test_it_refuses_what_json_refuses(text: str) -> None:
    try:
        expected = json.loads(text)
    except (ValueError, RecursionError):
        with pytest.raises((ValueError, RecursionError)):
            plainjson.loads(text)
    else:
        assert plainjson.loads(text) == expected


def test_bytes_that_are_not_utf_8_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        plainjson.loads(b'"\xff"')


def test_an_object_with_a_line_for_each_member() -> None:
    document = {"a": 1, "b": {"c": "d"}, "e": []}
    assert json.loads(plainjson.indented(document)) == document
    assert len(plainjson.indented(document).splitlines()) == 5


def test_what_json_has_no_word_for_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        plainjson.dumps({"a": object()})
