"""What commands print: JSON for programs, aligned lines for people.

A line is a sequence of pieces, each a text with the style that it has on a terminal. Off a terminal, and with
NO_COLOR set, there is text alone and rich is not even imported.
"""

from __future__ import annotations

import os
import sys
import time

from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

UNITS = "KMGTPE"
_AGES = ((60, "seconds"), (60, "minutes"), (24, "hours"), (365, "days"))


class Piece(Record):
    """A text and its style (rich's words: ``bold red``)."""

    text: str
    style: str = ""


class Column(Record):
    """A column of a table."""

    title: str
    right: bool = False


def plain(value: Any) -> Any:
    """*value* with its records as objects: what JSON can say."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    return value


def emit(document: Any) -> None:
    """One JSON document; a list has each of its items on a line of its own."""
    import json

    document = plain(document)
    if isinstance(document, list):
        lines = ",\n".join(json.dumps(item) for item in document)
        print(f"[\n{lines}\n]" if lines else "[]")
    else:
        print(json.dumps(document))


def emit_line(document: Any) -> None:
    """One line of JSON Lines, sent at once: somebody follows."""
    import json

    print(json.dumps(plain(document)), flush=True)


def emit_indented(document: Any) -> None:
    """One JSON document for both programs and people."""
    import json

    print(json.dumps(plain(document), indent=2))


def on_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def _is_styled() -> bool:
    """Whether what is printed has styles, and an end at the terminal's width."""
    return on_terminal() and os.environ.get("TERM") != "dumb"


def write_lines(lines: Iterable[Sequence[Piece]], *, whole: bool = False) -> None:
    """Print *lines*: styled and cut at the terminal's width, or as text, whole, when nobody looks.

    With *whole*, the terminal breaks what is longer than itself: paths can be copied from it.
    """
    if not _is_styled():
        for line in lines:
            print("".join(visible(piece.text) for piece in line).rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        pieces = [(visible(piece.text), piece.style) for piece in line]
        text = Text.assemble(*pieces)
        if whole:
            console.print(text, soft_wrap=True)
        else:
            console.print(text, no_wrap=True, overflow="ellipsis", crop=True)


def write_table(columns: Sequence[Column], rows: Sequence[Sequence[Piece | str]]) -> None:
    """Print *rows* under the titles of *columns*, aligned."""
    if not _is_styled():
        _write_plain(columns, rows)
        return
    cells = [[_clean(cell) for cell in row] for row in rows]
    widths = [
        max(width(column.title), *(width(row[index].text) for row in cells)) if cells else width(column.title)
        for index, column in enumerate(columns)
    ]
    titles = [Piece(column.title, "bold") for column in columns]
    write_lines(_aligned(row, columns, widths) for row in [titles, *cells])


def _write_plain(columns: Sequence[Column], rows: Sequence[Sequence[Piece | str]]) -> None:
    """The same as text, column by column and without a record for each cell: there may be thousands."""
    places = []
    for index, column in enumerate(columns):
        cells = [row[index] for row in rows]
        texts = [column.title, *(cell if isinstance(cell, str) else cell.text for cell in cells)]
        together = "".join(texts)
        if not together.isprintable():
            texts = [visible(text) for text in texts]
        if together.isascii():
            widest = max(map(len, texts))
            places.append([text.rjust(widest) if column.right else text.ljust(widest) for text in texts])
        else:
            widths = [width(text) for text in texts]
            spaces = [" " * (max(widths) - taken) for taken in widths]
            pairs = zip(spaces, texts, strict=True) if column.right else zip(texts, spaces, strict=True)
            places.append(["".join(pair) for pair in pairs])
    print("\n".join("   ".join(line).rstrip() for line in zip(*places, strict=True)))


def _clean(cell: Piece | str) -> Piece:
    return Piece(visible(cell)) if isinstance(cell, str) else Piece(visible(cell.text), cell.style)


def _aligned(row: Sequence[Piece], columns: Sequence[Column], widths: Sequence[int]) -> list[Piece]:
    line = []
    for index, (piece, column) in enumerate(zip(row, columns, strict=True)):
        space = " " * (widths[index] - width(piece.text))
        is_last = index == len(columns) - 1
        gap = "" if is_last else "   "
        if column.right:
            line += [Piece(space), piece, Piece(gap)]
        else:
            line += [piece] if is_last else [piece, Piece(space + gap)]
    return line


def width(text: str) -> int:
    """Cells that *text* takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def visible(text: str) -> str:
    """*text* with everything that could steer a terminal or break a line shown as an escape."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def path_text(path: str) -> str:
    """A path as `ls` shows it: its bytes as they are for a program, harmless for a terminal."""
    return visible(path) if on_terminal() else path


def size_text(count: float) -> str:
    """Bytes in powers of 1024, in at most five cells: ``987B``, ``74.8M``."""
    value = float(max(count, 0))
    if value < 1000:
        return f"{value:.0f}B"
    unit = -1
    while value >= 999.5 and unit < len(UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.1f}{UNITS[unit]}" if value < 99.95 else f"{value:.0f}{UNITS[unit]}"


def age_text(moment: str | None) -> str:
    """How long ago an RFC 3339 time was, in docker's words; empty for what is none: others wrote it."""
    from datetime import UTC, datetime

    if not isinstance(moment, str):
        return ""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return ""
    value = max(0.0, time.time() - (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    unit = "years"
    for length, name in _AGES:
        if value < length:
            unit = name
            break
        value /= length
    return f"{int(value)} {unit if int(value) != 1 else unit[:-1]}"


def short(digest: str) -> str:
    """The first twelve digits of a digest or ID."""
    return digest.removeprefix("sha256:")[:12]
