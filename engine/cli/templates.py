"""``--format``: the part of Go's templates (https://pkg.go.dev/text/template) that people type for docker.

Fields, functions, pipelines, `if`, `range` and `with`; no variables, definitions or methods. A field is found
whatever its case and without its underscores, so that ``.ExitCode`` is ``exit_code`` too.
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
    | (?P<field>\$?(?:\.\w+)+|\.|\$) | (?P<name>[A-Za-z_]\w*) | (?P<mark>[()|]))""",
    re.VERBOSE,
)
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
        return "".join(_written(self._nodes, document, document))


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


def _written(nodes: Sequence[Node], here: Any, top: Any) -> Iterator[str]:
    """The text of *nodes*; *here* is what the dot is, *top* what ``$`` is."""
    for node in nodes:
        if isinstance(node, Piece):
            yield node.text if node.kind == "text" else _shown(_evaluate(node.text, here, top))
            continue
        about = _evaluate(node.about, here, top)
        if not about:
            yield from _written(node.otherwise, here, top)
        elif node.kind == "range":
            if not isinstance(about, dict | list | tuple):
                raise _wrong(f"{_shown(about)} has no parts")
            for item in about.values() if isinstance(about, dict) else about:
                yield from _written(node.body, item, top)
        else:
            yield from _written(node.body, about if node.kind == "with" else here, top)


def _evaluate(text: str, here: Any, top: Any) -> Any:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text.rstrip()):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _wrong(f"it says {text[position:].strip()!r}")
        tokens.append((str(found.lastgroup), found[found.lastgroup or 0]))
        position = found.end()
    value = _pipeline(tokens, here, top)
    if tokens:
        raise _wrong(f"{tokens[0][1]!r} does not belong there")
    return value


def _pipeline(tokens: list[tuple[str, str]], here: Any, top: Any) -> Any:
    """Commands with bars between them, each getting the value of the one before as its last argument."""
    value = _command(tokens, here, top, [])
    while tokens and tokens[0][1] == "|":
        tokens.pop(0)
        value = _command(tokens, here, top, [value])
    return value


def _command(tokens: list[tuple[str, str]], here: Any, top: Any, piped: list[Any]) -> Any:
    if not tokens:
        raise _wrong("something is missing")
    name = tokens.pop(0)[1] if tokens[0][0] == "name" and tokens[0][1] not in _CONSTANTS else ""
    arguments = []
    while tokens and tokens[0][1] not in ("|", ")"):
        arguments.append(_operand(tokens, here, top))
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


def _operand(tokens: list[tuple[str, str]], here: Any, top: Any) -> Any:
    kind, text = tokens.pop(0)
    if kind == "string":
        try:
            return text[1:-1] if text[0] == "`" else json.loads(text, strict=False)
        except ValueError as error:
            raise _wrong(f"{text} is no text") from error
    if kind == "number":
        return float(text) if "." in text else int(text)
    if kind == "field":
        return _field(top if text[0] == "$" else here, text.removeprefix("$").strip("."))
    if text == "(":
        value = _pipeline(tokens, here, top)
        if not tokens or tokens.pop(0)[1] != ")":
            raise _wrong("a parenthesis is not closed")
        return value
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return _command([(kind, text)], here, top, [])


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
    return re.sub(r"%[vsd]", "%s", text).replace("%q", '"%s"') % tuple(map(_shown, values))


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
