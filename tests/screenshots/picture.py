"""From what Textual exports to a file that looks alike everywhere."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

FONTS = '"Fira Code", "DejaVu Sans Mono", "Noto Sans Mono", monospace'


CELL = 12.2
"""Width of a character in Textual's pictures, in their units."""
DOTTED = re.compile(
    r'<text class="([^"]+)" x="([\d.]+)"([^>]*?) textLength="[^"]+"([^>]*)>([^<]*[\u2801-\u28ff][^<]*)<'
)


def _apart(found: re.Match[str]) -> str:
    """Graphs character by character: few fonts have braille as wide as their letters."""
    look, left, before, after, drawn = found.groups()
    pieces = [
        f'<text class="{look}" x="{float(left) + CELL * column:g}"{before}{after}>{character}<'
        for column, character in enumerate(html.unescape(drawn))
        if character not in "\u2800\xa0 "
    ]
    return "/text>".join(pieces)


def tidy(svg: str) -> str:
    """*svg* with this machine's fonts only, nothing fetched, and the same names for the same picture."""
    svg = re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("font-family: Fira Code, monospace", f"font-family: {FONTS}")
    # Without this, renderers trim the blanks at both ends of each run of text.
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    svg = DOTTED.sub(_apart, svg)
    if found := re.search(r"\bterminal-\d+\b", svg):
        svg = svg.replace(found[0], "cowl")
    return svg


def text(svg: str) -> str:
    """What can be read in *svg*, without the order of lines."""
    drawn = re.sub(r"<style>.*?</style>", "", svg, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "\n", drawn)).replace("\xa0", " ")


def write(svg: str, path: Path) -> None:
    """Write *svg* to *path*, and a PNG beside it where rsvg-convert is at hand."""
    path.write_text(tidy(svg), encoding="utf-8")
    if shutil.which("rsvg-convert"):
        command = ["rsvg-convert", "--zoom", "1.2", "-o", str(path.with_suffix(".png")), str(path)]
        subprocess.run(command, check=True)
