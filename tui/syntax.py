"""Syntax colours for single lines: a lexer by file name, its tokens as roles.

A line is lexed alone, without what stands before it: only visible lines cost anything, and a string or
comment over several lines is coloured as if each were code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from pygments.lexer import Lexer
from pygments.lexers import find_lexer_class_for_filename, get_lexer_by_name
from pygments.token import Token, _TokenType
from pygments.util import ClassNotFound

from tui.theme import Line, Role, Span

LONGEST = 400
"""Characters of a line that are lexed; what comes after is plain."""
_ROLES: Mapping[_TokenType, Role] = MappingProxyType(
    {
        Token.Keyword: "keyword",
        Token.Operator.Word: "keyword",
        Token.Name.Function: "id",
        Token.Name.Class: "id",
        Token.Name.Builtin: "id",
        Token.Name.Decorator: "id",
        Token.Name.Tag: "id",
        Token.Name.Attribute: "id",
        Token.Name.Variable: "id",
        Token.Literal.String: "good",
        Token.Literal: "number",
        Token.Keyword.Constant: "number",
        Token.Comment: "muted",
        Token.Generic.Heading: "title",
    }
)
_OPTIONS = {"stripnl": False, "ensurenl": False}


@lru_cache(maxsize=64)
def lexer_for(name: str) -> Lexer | None:
    """The lexer that goes with a file's name; None where none is known."""
    found = find_lexer_class_for_filename(name.rpartition("/")[2])
    return found(**_OPTIONS) if found is not None else None


@lru_cache(maxsize=8)
def lexer_named(name: str) -> Lexer | None:
    """The lexer of a language: `json`, `sh`."""
    try:
        return get_lexer_by_name(name, **_OPTIONS)
    except ClassNotFound:
        return None


def spans(lexer: Lexer | None, text: str) -> Line:
    """One line in its language's colours."""
    if lexer is None or not text:
        return (Span(text),)
    head, tail = text[:LONGEST], text[LONGEST:]
    found: list[Span] = []
    for token, part in lexer.get_tokens(head):
        if not part:
            continue
        role = role_of(token)
        if found and found[-1].role == role:
            found[-1] = Span(found[-1].text + part, role)
        else:
            found.append(Span(part, role))
    return (*found, Span(tail)) if tail else tuple(found)


@lru_cache(maxsize=512)
def role_of(token: _TokenType) -> Role:
    """The role of the nearest ancestor that has one."""
    kind: _TokenType | None = token
    while kind is not None:
        if kind in _ROLES:
            return _ROLES[kind]
        kind = kind.parent
    return "text"
