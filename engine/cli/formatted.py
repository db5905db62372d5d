"""``--format`` of `ps` and `stats`: a line for each row of a template, of JSON, or of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from engine.cli import output, templates
from engine.cli.output import Column
from engine.cli.templates import Known

TABLE = "table"
_ACTION = re.compile(r"\{\{[^}]*?\.(\w+)[^}]*\}\}")


class Form:
    """What follows ``--format``: read once, written for each of several looks."""

    def __init__(self, text: str, titles: Mapping[str, str]) -> None:
        """*titles* are those that are not the field's name. Raises UsageError for what is no template."""
        begins, _, rest = text.partition(" ")
        self._is_table = begins == TABLE
        self._template = templates.Template(
            "{{json .}}" if text == "json" else rest if self._is_table else text
        )
        columns = rest.replace("\\t", "\t").split("\t")
        self._titles = [
            _ACTION.sub(lambda action: titles.get(action[1], action[1].upper()), column) for column in columns
        ]

    def write(self, rows: Sequence[Known]) -> None:
        """Print *rows*. Raises UsageError for a field that they do not have."""
        lines = [self._template.fill(row) for row in rows]
        if not self._is_table:
            for line in lines:
                print(output.visible(line) if output.on_terminal() else line)
            return
        width = len(self._titles)
        cells = [[*line.split("\t"), *[""] * width][:width] for line in lines]
        output.write_table([Column(title) for title in self._titles], cells)
