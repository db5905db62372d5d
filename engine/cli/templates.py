"""``--format``: the part of Go's templates (https://pkg.go.dev/text/template) that people type for docker.

Fields, functions, pipelines, variables, `if`, `range` and `with`; no definitions or methods. A field is
found whatever its case and without its underscores, so that ``.ExitCode`` is ``exit_code`` too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from engine.errors import UsageError

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`) | (?P<number>-?\d+(?:\.\d+)?(?!\w))
    | (?P<field>\$\w*(?:\.\w+)*|(?:\.\w+)+|\.) | (?P<name>[A-Za-z_]\w*) | (?P<mark>[()|]))""",
    re.VERBOSE,
)
_DECLARATION = re.compile(r"(?:(\$\w+)\s*,\s*)?(\$\w+)\s*:=\s*(.*)", re.DOTALL)
_SETTING = re.compile(r"(\$\w+)\s*=\s*(.*)", re.DOTALL)
_VERB = re.compile(r"%([-+# 0]*\d*(?:\.\d+)?)([vsqdtfgexX%])")
_BLOCKS = ("if", "range", "with")
_ESCAPES = {r"\n": "\n", r"\t": "\t"}
_NOTHING = "<no value>"


class Known(dict[str, Any]):
    """A document all of whose fields are known: to ask for another is a mistake.

    One that is a function is given what stands behind it: ``.Label "name"``.
    """


class Piece(NamedTuple):
    """One part of a template."""

    kind: str
    """text, value, end, else, or the word that begins a block."""
    text: str


class Block(NamedTuple):
    """``if``, ``range`` or ``with``: what it is about, and what follows if that is something, and if not."""

    kind: str
    about: str
    body: list[Node]
    otherwise: list[Node]


Node: TypeAlias = "Piece | Block"


class Template:
    """A template, read once and filled with each of several documents."""

    def __init__(self, text: str) -> None:
        """Raises UsageError for what is no template."""
        for escape, meant in _ESCAPES.items():
            text = text.replace(escape, meant)
        self._nodes, closing = _block(_pieces(text))
        if closing is not None:
            raise _wrong(f"its {closing.kind} closes nothing")

    def fill(self, document: Any) -> str:
        """The text for *document*. Raises UsageError for a field that it does not have."""
        return "".join(_written(self._nodes, _Scope(document, {"$": [document]})))


def _pieces(text: str) -> Iterator[Piece]:
    """Its parts in their order; ``{{-`` and ``-}}`` take the white space beside them."""
    position, trimmed = 0, False
    for found in _ACTION.finditer(text):
        before = text[position : found.start()]
        before = before.lstrip() if trimmed else before
        yield Piece("text", before.rstrip() if found[1] else before)
        position, trimmed = found.end(), bool(found[3])
        if not found[2].startswith("/*"):
            yield _classified(found[2])
    rest = text[position:]
    if "{{" in rest:
        raise _wrong("a {{ is not closed")
    yield Piece("text", rest.lstrip() if trimmed else rest)


def _classified(text: str) -> Piece:
    word, _, rest = text.partition(" ")
    if word in ("end", "else", *_BLOCKS):
        return Piece(word, rest.strip())
    return Piece("value", text)


def _block(pieces: Iterator[Piece]) -> tuple[list[Node], Piece | None]:
    """Nodes up to what closes the block they are in, and that."""
    found: list[Node] = []
    for piece in pieces:
        if piece.kind in ("end", "else"):
            return found, piece
        found.append(_opened(piece, pieces) if piece.kind in _BLOCKS else piece)
    return found, None


def _opened(piece: Piece, pieces: Iterator[Piece]) -> Block:
    body, closing = _block(pieces)
    otherwise: list[Node] = []
    if closing is not None and closing.kind == "else" and closing.text:
        return Block(piece.kind, piece.text, body, [_opened(_classified(closing.text), pieces)])
    if closing is not None and closing.kind == "else":
        otherwise, closing = _block(pieces)
    if closing is None:
        raise _wrong(f"its {piece.kind} has no end")
    return Block(piece.kind, piece.text, body, otherwise)


class _Scope(NamedTuple):
    """Where something is evaluated."""

    here: Any
    """What the dot is."""
    variables: dict[str, list[Any]]
    """By name, ``$`` included: each in a list, as an inner block may set an outer one's."""

    def inner(self, here: Any) -> _Scope:
        """That of a block: what is declared in there ends with it."""
        return _Scope(here, dict(self.variables))

    def declare(self, name: str, value: Any) -> None:
        self.variables[name] = [value]

    def cell(self, name: str) -> list[Any]:
        """Where the variable *name* is. Raises UsageError."""
        if name not in self.variables:
            raise _wrong(f"there is no variable {name}")
        return self.variables[name]


def _written(nodes: Sequence[Node], scope: _Scope) -> Iterator[str]:
    """The text of *nodes*."""
    for node in nodes:
        if isinstance(node, Piece):
            yield node.text if node.kind == "text" else _of_action(node.text, scope)
            continue
        inner = scope.inner(scope.here)
        names, about = _declaring(node.about, inner)
        if not about:
            yield from _written(node.otherwise, inner)
        elif node.kind == "range":
            yield from _repeated(node, names, about, inner)
        else:
            yield from _written(node.body, inner._replace(here=about) if node.kind == "with" else inner)


def _repeated(node: Block, names: Sequence[str], about: Any, scope: _Scope) -> Iterator[str]:
    """The body of a ``range``, once for each part of *about*: by number, or by key in the order of these."""
    if not isinstance(about, dict | list | tuple):
        raise _wrong(f"{_shown(about)} has no parts")
    parts = (
        sorted(about.items(), key=lambda item: str(item[0])) if isinstance(about, dict) else enumerate(about)
    )
    for key, item in parts:
        inner = scope.inner(item)
        for name, value in zip(names, (key, item)[-len(names) :], strict=False):
            inner.declare(name, value)
        yield from _written(node.body, inner)


def _of_action(text: str, scope: _Scope) -> str:
    """What an action prints: nothing, if it sets a variable."""
    if set_ := _SETTING.fullmatch(text):
        scope.cell(set_[1])[0] = _evaluate(set_[2], scope)
        return ""
    names, value = _declaring(text, scope)
    if len(names) > 1:
        raise _wrong("only a range has two variables")
    return "" if names else _shown(value)


def _declaring(text: str, scope: _Scope) -> tuple[list[str], Any]:
    """The value of *text*, and the names of the variables that it declares in *scope*."""
    found = _DECLARATION.fullmatch(text)
    if found is None:
        return [], _evaluate(text, scope)
    names = [name for name in (found[1], found[2]) if name]
    value = _evaluate(found[3], scope)
    scope.declare(names[-1], value)
    return names, value


def _evaluate(text: str, scope: _Scope) -> Any:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text.rstrip()):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _wrong(f"it says {text[position:].strip()!r}")
        kind = str(found.lastgroup)
        word = found[kind]
        if kind == "field" and tokens and tokens[-1][1] == ")" and found.start(kind) == position:
            kind = "of that"
        tokens.append((kind, word))
        position = found.end()
    value = _pipeline(tokens, scope)
    if tokens:
        raise _wrong(f"{tokens[0][1]!r} does not belong there")
    return value


def _pipeline(tokens: list[tuple[str, str]], scope: _Scope) -> Any:
    """Commands with bars between them, each getting the value of the one before as its last argument."""
    value = _command(tokens, scope, [])
    while tokens and tokens[0][1] == "|":
        tokens.pop(0)
        value = _command(tokens, scope, [value])
    return value


def _command(tokens: list[tuple[str, str]], scope: _Scope, piped: list[Any]) -> Any:
    if not tokens:
        raise _wrong("something is missing")
    name = tokens.pop(0)[1] if tokens[0][0] == "name" and tokens[0][1] not in _CONSTANTS else ""
    arguments = []
    while tokens and tokens[0][1] not in ("|", ")"):
        arguments.append(_operand(tokens, scope))
    if not name:
        if len(arguments) == 1 and not piped:
            return arguments[0]
        if len(arguments) == 2 and callable(arguments[0]):
            return arguments[0](arguments[1])
        raise _wrong("values stand beside each other")
    if name not in _FUNCTIONS:
        raise _wrong(f"there is no function {name}", f"there are {', '.join(sorted(_FUNCTIONS))}")
    try:
        return _FUNCTIONS[name](*arguments, *piped)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise _wrong(f"{name} cannot be done with these values") from error


def _operand(tokens: list[tuple[str, str]], scope: _Scope) -> Any:
    kind, text = tokens.pop(0)
    if kind == "string":
        try:
            return text[1:-1] if text[0] == "`" else json.loads(text, strict=False)
        except ValueError as error:
            raise _wrong(f"{text} is no text") from error
    if kind == "number":
        return float(text) if "." in text else int(text)
    if kind == "field":
        name, _, path = text.partition(".")
        return _field(scope.cell(name)[0] if name else scope.here, path)
    if text == "(":
        value = _pipeline(tokens, scope)
        if not tokens or tokens.pop(0)[1] != ")":
            raise _wrong("a parenthesis is not closed")
        while tokens and tokens[0][0] == "of that":
            value = _field(value, tokens.pop(0)[1].strip("."))
        return value
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return _command([(kind, text)], scope, [])


def _field(value: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        if value is None:
            return None
        found = {_folded(key): item for key, item in value.items()} if isinstance(value, dict) else {}
        exact = value.get(name, found.get(_folded(name), found)) if isinstance(value, dict) else found
        if exact is not found:
            value = exact
        elif isinstance(value, dict) and not isinstance(value, Known):
            return None
        else:
            known = f"there are {', '.join(value)}" if isinstance(value, dict) else "it is a plain value"
            raise UsageError(f"there is no field {name}", known, "--format '{{json .}}' shows all of it")
    return value


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _shown(value: Any) -> str:
    """As Go prints it."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_shown(item)}' for key, item in sorted(value.items()))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_shown, value))}]"
    return str(value)


def _json(value: Any) -> str:
    if isinstance(value, dict):
        value = {name: item for name, item in value.items() if not callable(item)}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else value[key]
    return value


def _printf(text: str, *values: Any) -> str:
    """Go's verbs that say the same in Python. Raises ValueError for too few values or too many."""
    rest = list(values)

    def verb(found: re.Match[str]) -> str:
        how, kind = found[1], found[2]
        if kind == "%":
            return "%"
        if not rest:
            raise ValueError("there are too few values")
        value = rest.pop(0)
        if kind in "vst":
            return f"%{how}s" % _shown(value)
        return f"%{how}s" % json.dumps(_shown(value)) if kind == "q" else f"%{how}{kind}" % value

    filled = _VERB.sub(verb, text)
    if rest or "%" in _VERB.sub("", text):
        raise ValueError("there are too many values, or a verb is not known")
    return filled


_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "nil": None}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "join": lambda values, separator: separator.join(map(_shown, values)),
    "split": lambda text, separator: text.split(separator),
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "len": len,
    "index": _index,
    "slice": lambda value, *ends: value[slice(*ends)] if len(ends) > 1 else value[ends[0] :],
    "truncate": lambda text, length: text[:length],
    "pad": lambda text, before, after: " " * before + text + " " * after,
    "print": lambda *values: "".join(map(_shown, values)),
    "println": lambda *values: " ".join(map(_shown, values)) + "\n",
    "printf": _printf,
    "eq": lambda value, *others: value in others,
    "ne": lambda value, other: value != other,
    "lt": lambda value, other: value < other,
    "le": lambda value, other: value <= other,
    "gt": lambda value, other: value > other,
    "ge": lambda value, other: value >= other,
    "not": lambda value: not value,
    "and": lambda *values: next((each for each in values if not each), values[-1]),
    "or": lambda *values: next((each for each in values if each), values[-1]),
}


def _wrong(why: str, hint: str = "write it like '{{.ID}} {{json .}}'") -> UsageError:
    return UsageError("bad template", why, hint)
